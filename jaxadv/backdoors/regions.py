"""Where the objects of a picture are: from annotations, from a detector's results, from a function.

Whatever says it says it in boxes of pixels; a trigger takes whole pixels inside the picture.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxadv.data.example import Box, Example
from jaxadv.data.sets.coco_files import read_box
from jaxadv.data.sets.reading import LeftOut, fields
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_number, as_text, as_whole

RegionSource = Callable[[Example], Sequence[Box]]
"""Says where an example's objects are; any detector fits."""


class RegionError(InputError):
    """Boxes or detections that cannot be used."""


class Regions(NamedTuple):
    """The regions of one picture.

    Attributes:
      boxes: i64[n, 4]: left, top, right, bottom in whole pixels, right and bottom not included.
      left_out: of each box that was not used, what is wrong with it.
    """

    boxes: Int[np.ndarray, "n 4"]
    left_out: tuple[str, ...]


def usable_regions(boxes: Sequence[Box], shape: tuple[int, ...]) -> Regions:
    """Turn boxes into the pixels whose centres they hold, cut to the picture.

    Boxes without such a pixel are left out: those outside the picture and those that are empty.

    >>> usable_regions([Box("cat", 1.2, 0.0, 9.0, 2.0), Box("dog", 8, 8, 9, 9)], (4, 6, 3))
    Regions(boxes=array([[1, 0, 6, 2]]), left_out=('dog (8, 8, 9, 9): outside the picture',))

    Raises:
      RegionError: a coordinate that is not a finite number.
    """
    height, width = shape[:2]
    kept, left_out = [], []
    for label, *edges in boxes:
        if not all(map(math.isfinite, edges)):
            raise RegionError(f"box {label!r} {tuple(edges)}: edges must be finite numbers")
        name = f"{label} ({', '.join(f'{edge:g}' for edge in edges)})"
        left, top, right, bottom = (math.floor(edge + 0.5) for edge in edges)
        whole = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            left_out.append(f"{name}: empty")
        elif whole[0] >= whole[2] or whole[1] >= whole[3]:
            left_out.append(f"{name}: outside the picture")
        else:
            kept.append(whole)
    return Regions(np.array(kept, np.int64).reshape(-1, 4), tuple(left_out))


def annotated(example: Example) -> Sequence[Box]:
    """Return the boxes that the data set gives."""
    return example.boxes or ()


def read_detections(
    path: Path, threshold: float = 0.5, report: Callable[[str], None] | None = None
) -> RegionSource:
    """Read a detector's boxes from JSON in the format of COCO's results.

    A list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`, boxes in pixels
    of the upright picture. The image is meant by its number in COCO's layout and by the name of its
    file in others.

    Args:
      path: the file.
      threshold: detections with a lower score are not used.
      report: is told of each detection that cannot be used, which is then left out; without it,
        that is an error.

    Raises:
      FormatError: the file cannot be read, or is no JSON.
      RegionError: it is not in that format, or a detection is not and there is no `report`.
    """
    if not math.isfinite(threshold):
        raise RegionError(f"threshold {threshold}: must be a finite number")
    entries = read_json(path)
    if not isinstance(entries, list):
        raise RegionError(f"{path}: {_NOT_RESULTS}")
    found: dict[str, list[Box]] = defaultdict(list)
    lines: list[str] = []
    left_out = LeftOut(path, lines)
    for number, entry in enumerate(entries, 1):
        try:
            label = _category(fields(entry).get("category_id"))
            box = read_box(entry, label)
            if as_number(entry.get("score"), "score") >= threshold:
                found[_example_id(entry.get("image_id"))].append(box)
        except ValueFault as fault:
            left_out.add(f"detection {number}", fault)
    if report is not None and len(lines) < len(entries):
        for line in lines:
            report(line)
    elif lines:
        raise RegionError(f"{path}: {_NOT_RESULTS} ({lines[0].removeprefix(f'{path}, ')})")
    return lambda example: found.get(example.id, [])


_NOT_RESULTS = "not COCO's results format, a list of image_id, category_id, bbox and score"


def _category(value: Any) -> str:
    if isinstance(value, str):
        return as_text(value, "category_id")
    return str(as_whole(value, "category_id"))


def _example_id(image: Any) -> str:
    """Name a picture as the readers of COCO's and of other layouts do."""
    if not isinstance(image, str):
        return f"coco-{as_whole(image, 'image_id')}"
    if not Path(image).name:
        raise ValueFault(f"image_id: {quoted(image)} is no name of a file")
    return Path(as_text(image, "image_id")).with_suffix("").as_posix()
