"""Folders in YOLO's layout: `classes.yaml` or `data.yaml`, `images/`, `labels/`.

A line of a picture's text file is `class x y width height`: an object's centre and size relative to
the picture. A picture without a file shows nothing, as YOLO has it.
"""

import math
from pathlib import Path

import yaml
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.images import SUFFIXES
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import find, laid_out_as, make

DESCRIPTIONS = ("classes.yaml", "data.yaml")


def read(folder: Path) -> DataSet:
    """Read a folder in YOLO's layout; pictures may lie in folders of `images/`.

    Raises:
      FolderError: files are missing or broken.
    """
    description = find(folder, *DESCRIPTIONS)
    if description is None:
        raise FolderError(f"{folder}: no {' or '.join(DESCRIPTIONS)}")
    classes = _classes(description)
    pictures = folder / "images"
    records = []
    for path in sorted(p for p in pictures.rglob("*") if p.suffix.lower() in SUFFIXES):
        inside = path.relative_to(pictures)
        boxes = _boxes(path, (folder / "labels" / inside).with_suffix(".txt"), classes)
        there = {box.label for box in boxes}
        labels = tuple(name for name in classes if name in there)
        records.append(Record(str(inside.with_suffix("")), path, labels=labels, boxes=boxes))
    return make(folder.resolve().name, folder, records, classes=classes)


def _classes(description: Path) -> tuple[str, ...]:
    with laid_out_as("YOLO's description", description):
        try:
            names = yaml.safe_load(description.read_text(encoding="utf-8"))["names"]
        except yaml.YAMLError as problem:
            raise ValueError(problem) from None
        numbered = dict(enumerate(names)) if isinstance(names, list) else names
        if sorted(numbered) != list(range(len(numbered))):
            raise FolderError(
                f"{description}: names must be numbered from 0 to {len(numbered) - 1}"
            )
        return tuple(str(numbered[number]) for number in range(len(numbered)))


def _boxes(picture: Path, path: Path, classes: tuple[str, ...]) -> tuple[Box, ...]:
    if not path.is_file():
        return ()
    try:
        with Image.open(picture) as file:
            width, height = file.size
    except (OSError, Image.DecompressionBombError):
        raise FolderError(f"{picture}: not a picture") from None
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            which, *place = line.split()
            x, y, w, h = map(float, place)
            if not 0 <= int(which) < len(classes) or not math.isfinite(x + y + w + h):
                raise ValueError
        except ValueError:
            raise FolderError(
                f"{path}, line {number}: give a class from 0 to {len(classes) - 1} and a box's "
                f"centre and size (4 numbers), not {line.strip()[:60]!r}"
            ) from None
        left, right = (x - w / 2) * width, (x + w / 2) * width
        top, bottom = (y - h / 2) * height, (y + h / 2) * height
        boxes.append(Box(classes[int(which)], left, top, right, bottom))
    return tuple(boxes)
