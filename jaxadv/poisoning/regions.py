"""Where the objects of a picture are: from annotations, from a detector's results, from a function.

Whatever says it says it in boxes of pixels; a trigger takes whole pixels inside the picture.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxadv.data.example import Box, Example
from jaxadv.errors import InputError

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


def read_detections(path: Path, threshold: float = 0.5) -> RegionSource:
    """Read a detector's boxes from JSON in the format of COCO's results.

    A list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`. The image is
    meant by its number in COCO's layout and by the name of its file in Flickr8k's.

    Args:
      path: the file.
      threshold: detections with a lower score are not used.

    Raises:
      RegionError: no such file, or not in that format.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[Box]] = defaultdict(list)
        for entry in entries:
            x, y, width, height = map(float, entry["bbox"])
            if float(entry["score"]) >= threshold:
                box = Box(str(entry["category_id"]), x, y, x + width, y + height)
                found[_example_id(entry["image_id"])].append(box)
    except OSError as problem:
        raise RegionError(f"{path}: cannot be read ({problem.strerror})") from None
    except (KeyError, TypeError, ValueError) as problem:
        raise RegionError(
            f"{path}: not COCO's results format, a list of image_id, category_id, bbox and score "
            f"({' '.join(repr(problem).split())})"
        ) from None
    return lambda example: found.get(example.id, [])


def _example_id(image: int | str) -> str:
    """Name a picture as `data.sets.coco` does."""
    return Path(image).stem if isinstance(image, str) else f"coco-{image}"
