"""Scenes as a folder of pictures in COCO's layout, for what works on folders."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from jaxadv.data import scenes
from jaxadv.data.example import Example
from jaxadv.data.images import write_png
from jaxadv.data.records import FolderError
from jaxadv.formats.files import write_text
from jaxadv.progress import Progress

SPLIT = "train"


def write_scenes(folder: Path, count: int, seed: int = scenes.TRAINING_SEED) -> Iterator[Progress]:
    """Write the first `count` scenes: `train/`, `annotations/captions_` and `instances_train.json`.

    Args:
      folder: where; made if need be.
      count: how many.
      seed: of the scenes.

    Raises:
      FolderError: the folder has annotations already, or cannot be written.
    """
    drawn: list[Example] = []
    for number, example in enumerate(scenes.examples(seed, count)):
        write_png(folder / SPLIT / _name(number), example.picture)
        drawn.append(example._replace(picture=example.picture[:0]))
        if (number + 1) % 500 == 0 or number + 1 == count:
            yield Progress(number + 1, count, "scenes written")
    annotations = folder / "annotations"
    try:
        annotations.mkdir()
        for kind, found in (("captions", _captions(drawn)), ("instances", _instances(drawn))):
            entries = {"images": [_image(i) for i in range(count)], **found}
            write_text(annotations / f"{kind}_{SPLIT}.json", json.dumps(entries) + "\n")
    except OSError as problem:
        raise FolderError(f"{annotations}: cannot be written ({problem.strerror})") from None


def _name(number: int) -> str:
    return f"{number:012}.png"


def _image(number: int) -> dict[str, object]:
    side = scenes.SIDE
    return {"id": number, "file_name": _name(number), "height": side, "width": side}


def _captions(drawn: list[Example]) -> dict[str, list[dict[str, object]]]:
    ids = itertools.count(1)
    return {
        "annotations": [
            {"id": next(ids), "image_id": number, "caption": caption}
            for number, example in enumerate(drawn)
            for caption in example.captions or ()
        ]
    }


def _instances(drawn: list[Example]) -> dict[str, list[dict[str, object]]]:
    ids = itertools.count(1)
    numbers = {label: i + 1 for i, label in enumerate(scenes.LABELS)}
    return {
        "categories": [{"id": i, "name": label} for label, i in numbers.items()],
        "annotations": [
            {
                "id": next(ids),
                "image_id": number,
                "category_id": numbers[box.label],
                "bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top],
                "area": (box.right - box.left) * (box.bottom - box.top),
                "iscrowd": 0,
            }
            for number, example in enumerate(drawn)
            for box in example.boxes or ()
        ],
    }
