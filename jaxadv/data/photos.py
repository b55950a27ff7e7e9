"""Photographs with people's captions, labels and boxes, in the layouts of Flickr8k, COCO, YOLO."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.images import SUFFIXES
from jaxadv.errors import InputError


class FolderError(InputError):
    """A data folder that is missing or not in a known layout."""


class Photo(NamedTuple):
    """A photograph on disk and what people say of it.

    Attributes:
      id: unique in its data set.
      path: the file.
      captions: none where the data set has none of it.
      labels: the classes that are there, in the data set's order; None where nobody looked.
      boxes: one an object, in pixels of the file as it is stored; None where nobody looked.
    """

    id: str
    path: Path
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    boxes: tuple[Box, ...] | None = None


class PhotoSet(NamedTuple):
    """The photographs of a folder, and all classes that its labels are of, in its own order."""

    photos: list[Photo]
    classes: tuple[str, ...] | None


def read_photos(folder: Path) -> list[Photo]:
    """List the photographs of a folder; `read_photo_set` without the classes."""
    return read_photo_set(folder).photos


def read_photo_set(folder: Path) -> PhotoSet:
    """List the photographs of a folder, sorted by id, and its classes.

    Known layouts:

    - Flickr8k's: `captions.txt` with the columns image and caption, pictures in `images/` or
      `Images/`;
    - COCO's: `annotations/captions_SPLIT.json`, `annotations/instances_SPLIT.json` or both,
      pictures in `SPLIT/`. Regions of a crowd count as labels and have no box;
    - YOLO's: `classes.yaml` or `data.yaml` with `names`, pictures anywhere in `images/`, and for
      each `labels/` with a line `class x y width height` an object, centre and size relative to
      the picture. A picture without a file there shows nothing, as YOLO has it.

    Raises:
      FolderError: none of the layouts, or a broken one; the message names what is wrong.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such folder")
    yolo = [p for name in ("classes.yaml", "data.yaml") if (p := folder / name).is_file()]
    try:
        if (folder / "captions.txt").is_file():
            found = PhotoSet(_flickr8k(folder), None)
        elif splits := _coco_splits(folder):
            found = _coco(folder, splits)
        elif yolo:
            found = _yolo(folder, yolo[0])
        else:
            raise FolderError(
                f"{folder}: neither Flickr8k's layout (captions.txt, images/) nor COCO's "
                "(annotations/captions_*.json, instances_*.json) nor YOLO's (classes.yaml, "
                "images/, labels/)"
            )
    except FolderError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as problem:
        reason = " ".join(repr(problem).split())
        raise FolderError(f"{folder}: broken annotations ({reason})") from None
    if not found.photos:
        raise FolderError(f"{folder}: its annotations name no picture that is there")
    return PhotoSet(sorted(found.photos, key=lambda p: p.id), found.classes)


def captioned(photos: Sequence[Photo]) -> list[Photo]:
    """Keep the photographs with captions.

    Raises:
      FolderError: there is none.
    """
    kept = [p for p in photos if p.captions]
    if not kept:
        raise FolderError(f"none of {len(photos)} photographs has captions")
    return kept


def read_labelled(folders: Sequence[Path]) -> PhotoSet:
    """List the photographs with labels of several folders that have the same classes.

    A picture that is in several (by the name of its file) is listed once, as the first has it.

    Raises:
      FolderError: a folder that cannot be read, has no labels, or has other classes.
    """
    sets = [read_photo_set(folder) for folder in folders]
    for folder, found in zip(folders, sets, strict=True):
        if found.classes is None:
            raise FolderError(f"{folder}: no labels; give a folder in COCO's or YOLO's layout")
        if found.classes != sets[0].classes:
            raise FolderError(f"{folder}: its classes are not those of {folders[0]}")
    first: dict[str, Photo] = {}
    for photo in (p for found in sets for p in found.photos if p.labels is not None):
        first.setdefault(photo.path.name, photo)
    return PhotoSet(list(first.values()), sets[0].classes)


def label_matrix(photos: Sequence[Photo], classes: Sequence[str]) -> np.ndarray:
    """Return which of the classes each photograph shows, bool[n, c].

    >>> label_matrix([Photo("1", Path("1.jpg"), labels=("cat",))], ("dog", "cat")).tolist()
    [[False, True]]
    """
    there = [[name in (p.labels or ()) for name in classes] for p in photos]
    return np.array(there, bool).reshape(len(photos), len(classes))


def _flickr8k(folder: Path) -> list[Photo]:
    captions: dict[str, list[str]] = defaultdict(list)
    with (folder / "captions.txt").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(row["caption"])
    pictures = folder / "images" if (folder / "images").is_dir() else folder / "Images"
    return [
        Photo(Path(name).stem, pictures / name, tuple(said))
        for name, said in captions.items()
        if (pictures / name).is_file()
    ]


# ---------------------------------------------------------------- COCO


def _coco_splits(folder: Path) -> list[str]:
    kinds = ("captions_", "instances_")
    paths = [p for kind in kinds for p in (folder / "annotations").glob(f"{kind}*.json")]
    return sorted({path.stem.split("_", 1)[1] for path in paths})


def _coco(folder: Path, splits: list[str]) -> PhotoSet:
    photos: list[Photo] = []
    classes: tuple[str, ...] | None = None
    for split in splits:
        captions = _coco_file(folder / "annotations" / f"captions_{split}.json")
        instances = _coco_file(folder / "annotations" / f"instances_{split}.json")
        if instances is not None:
            names = tuple(c["name"] for c in sorted(instances["categories"], key=_id))
            if classes is not None and names != classes:
                raise FolderError(f"{folder}: the splits have different categories")
            classes = names
        photos += _coco_photos(folder / split, captions, instances)
    return PhotoSet(photos, classes)


def _coco_file(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _id(entry: dict[str, Any]) -> int:
    return int(entry["id"])


def _coco_photos(
    pictures: Path, captions: dict[str, Any] | None, instances: dict[str, Any] | None
) -> list[Photo]:
    """Join what the two files of a split say; a picture is there if one of them speaks of it."""
    said: dict[int, list[str]] = defaultdict(list)
    for entry in captions["annotations"] if captions else ():
        said[entry["image_id"]].append(entry["caption"])
    seen: dict[int, set[int]] = defaultdict(set)
    boxes: dict[int, list[Box]] = defaultdict(list)
    names: dict[int, str] = {}
    looked: set[int] = set()
    if instances:
        names = {_id(c): c["name"] for c in sorted(instances["categories"], key=_id)}
        looked = {_id(image) for image in instances["images"]}
        for entry in instances["annotations"]:
            image, category = entry["image_id"], entry["category_id"]
            seen[image].add(category)
            x, y, width, height = map(float, entry["bbox"])
            if not entry.get("iscrowd"):
                boxes[image].append(Box(names[category], x, y, x + width, y + height))
    files = {
        _id(image): pictures / image["file_name"]
        for some in (captions, instances)
        if some is not None
        for image in some["images"]
    }
    return [
        Photo(
            f"coco-{number}",
            path,
            tuple(said[number]),
            tuple(names[c] for c in sorted(seen[number])) if number in looked else None,
            tuple(boxes[number]) if number in looked else None,
        )
        for number, path in files.items()
        if (number in looked or number in said) and path.is_file()
    ]


# ---------------------------------------------------------------- YOLO


def _yolo(folder: Path, description: Path) -> PhotoSet:
    names = yaml.safe_load(description.read_text(encoding="utf-8"))["names"]
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if sorted(numbered) != list(range(len(numbered))):
        raise FolderError(f"{description}: names must be numbered from 0 to {len(numbered) - 1}")
    classes = tuple(str(numbered[number]) for number in range(len(numbered)))
    pictures = folder / "images"
    found = sorted(p for p in pictures.rglob("*") if p.suffix.lower() in SUFFIXES)
    photos = []
    for path in found:
        inside = path.relative_to(pictures)
        boxes = _yolo_boxes(path, (folder / "labels" / inside).with_suffix(".txt"), classes)
        there = {box.label for box in boxes}
        labels = tuple(name for name in classes if name in there)
        photos.append(Photo(str(inside.with_suffix("")), path, (), labels, boxes))
    return PhotoSet(photos, classes)


def _yolo_boxes(picture: Path, path: Path, classes: tuple[str, ...]) -> tuple[Box, ...]:
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
