"""Folders in YOLO's layout: `classes.yaml` or `data.yaml`, `images/` and `labels/`.

Both folders lie in the set's folder, or in one for each split, as Roboflow writes them
(`train/images`, `train/labels`). A line of a picture's text file is `class x y width height`: an
object's centre and size relative to the upright picture. A picture without a file shows nothing, as
YOLO has it, but only where its neighbours have files: where no folder of labels is there, labels
are not known.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxadv.data.example import Box
from jaxadv.data.images import ImageError, read_frame
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import (
    find,
    find_files,
    find_pictures,
    in_order,
    list_folder,
    make,
    shown,
    twice,
)
from jaxadv.data.sets.reading import LeftOut, numbered
from jaxadv.formats.errors import FormatError, listed, quoted
from jaxadv.formats.text import numbered_lines, read_yaml
from jaxadv.formats.values import ValueFault, as_texts, parse_number, parse_whole

DESCRIPTIONS = ("classes.yaml", "data.yaml")
SPLITS = ("train", "val", "test")
SLACK = 1e-3  # by which a relative number may leave 0 to 1: annotators round
NOT_LABELS = ("classes.txt",)  # labelImg writes its names into the labels' folder


class _Images(NamedTuple):
    """A folder of pictures, and that of their labels if it is there."""

    pictures: Path
    labels: Path | None


def image_folders(folder: Path) -> list[Path]:
    """Find `images/` in a folder, or in the folders in it."""
    own = find(folder, "images")
    parts = [find(part, "images") for part in list_folder(folder) if part != own]
    return [place for place in (own, *parts) if place is not None and place.is_dir()]


def read(folder: Path) -> DataSet:
    """Read a folder in YOLO's layout; pictures may lie in folders of `images/`.

    Raises:
      FormatError: the description cannot be read.
      FolderError: it names no classes, there is no picture, or no label file is of one.
    """
    description = find(folder, *DESCRIPTIONS)
    if description is None:
        raise FolderError(f"{folder}: no {' or '.join(DESCRIPTIONS)}")
    contents = read_yaml(description)
    classes = _classes(contents, description)
    place = numbered(classes)
    problems: list[str] = []
    split_of = _splits(contents, folder, description, problems)
    records: list[Record] = []
    used: set[Path] = set()
    every = [_Images(images, find(images.parent, "labels")) for images in image_folders(folder)]
    for images in every:
        for path, notes in _pictures(images, problems):
            inside = path.relative_to(folder)
            name = images.pictures.parent / path.relative_to(images.pictures).with_suffix("")
            record = Record(
                name.relative_to(folder).as_posix(), path, split=_split(inside, split_of)
            )
            if notes is not None:
                used.add(notes)
                found = _shown(path, notes, place, problems)
                if found is None:
                    continue
                record = record._replace(labels=found[0], boxes=found[1])
            records.append(record)
    _check_used(folder, every, used, problems)
    if not any(record.labels for record in records):
        records = [record._replace(labels=None, boxes=None) for record in records]
        problems.append(f"labels: {folder} has no label file of any object: labels are not known")
    return make(folder.resolve().name, folder, records, problems, classes=classes)


def _pictures(images: _Images, problems: list[str]) -> Iterator[tuple[Path, Path | None]]:
    """Give pictures and where their label files would be; None where labels are not known."""
    unknown: dict[Path, int] = {}
    for path in find_pictures(images.pictures, problems):
        notes = None
        if images.labels is not None:
            notes = (images.labels / path.relative_to(images.pictures)).with_suffix(".txt")
            notes = notes if notes.parent.is_dir() else None
        if notes is None:
            unknown[path.parent] = unknown.get(path.parent, 0) + 1
        yield path, notes
    for folder, count in unknown.items():
        problems.append(
            f"labels: {folder}: no folder of labels for its {count:,} pictures; looked for "
            f"{folder.relative_to(images.pictures.parent)} with 'labels' for 'images'"
        )


def _check_used(folder: Path, every: list[_Images], used: set[Path], problems: list[str]) -> None:
    """Name the label files that are of no picture; refuse where all are."""
    files = [
        path
        for images in every
        if images.labels is not None
        for path in find_files(images.labels, (".txt",), problems)
        if path.name.lower() not in NOT_LABELS
    ]
    strange = [path for path in files if path not in used]
    if files and len(strange) == len(files):
        names = listed(path.relative_to(folder).as_posix() for path in strange)
        raise FolderError(f"{folder}: no label file is of a picture of the same name: {names}")
    problems += [f"{shown(path)}: labels of no picture that is there" for path in strange]


def _classes(contents: Any, description: Path) -> tuple[str, ...]:
    names = contents.get("names") if isinstance(contents, dict) else None
    if isinstance(names, dict):
        count = len(names)
        if set(names) != {str(number) for number in range(count)}:
            raise FolderError(f"{description}: names must be numbered from 0 to {count - 1}")
        names = [names[str(number)] for number in range(count)]
    if not isinstance(names, list) or not names:
        raise FolderError(f"{description}: not laid out as YOLO's description: no list of names")
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise FolderError(f"{description}: name {number} is no text")
    stripped = tuple(name.strip() for name in names)
    if same := twice(stripped):
        raise FolderError(
            f"{description}: {listed(same)} come twice; each class needs a name of its own"
        )
    if contents.get("nc", str(len(names))) != str(len(names)):
        raise FolderError(
            f"{description}: {len(names)} names, where nc is {quoted(contents['nc'])}"
        )
    return stripped


def _splits(
    contents: dict[str, Any], folder: Path, description: Path, problems: list[str]
) -> dict[PurePosixPath, str]:
    """Say which folders of pictures are of which split, relative to the set's folder."""
    found: dict[PurePosixPath, str] = {}
    for split in SPLITS:
        try:
            places = as_texts(contents.get(split) or None, split) or ()
        except ValueFault as fault:
            problems.append(f"{description}: {fault}; left out")
            continue
        for place in places:
            # Roboflow's paths begin a folder deeper, those of others on another machine
            parts = [part for part in PurePosixPath(place).parts if part not in ("..", ".", "/")]
            ends = [PurePosixPath(*parts[first:]) for first in range(len(parts))]
            there = next((end for end in ends if (folder / end).is_dir()), None)
            if there is None:
                problems.append(f"{description}: {split}: no folder {quoted(place)} is there")
            elif found.setdefault(there, split) != split:
                found[there] = "train"  # a set that is validated on what it is trained on
    return found


def _split(picture: Path, split_of: dict[PurePosixPath, str]) -> str:
    """The split of the innermost folder that has one; else the folder next to `images/`."""
    inside = PurePosixPath(picture)
    for place in inside.parents:
        if place in split_of:
            return split_of[place]
    top = inside.parts[0]
    return "data" if top.lower() == "images" else top


def _shown(
    picture: Path, path: Path, place: dict[str, int], problems: list[str]
) -> tuple[tuple[str, ...] | None, tuple[Box, ...] | None] | None:
    """Labels and boxes of a picture; None where it is no picture."""
    try:
        frame = read_frame(picture)
        lines = numbered_lines(path) if path.exists() else []
    except ImageError as problem:
        problems.append(str(problem))
        return None
    except FormatError as problem:
        problems.append(f"{problem}; the labels of {picture.name} are not known")
        return None, None
    left_out = LeftOut(path, problems)
    classes = tuple(place)
    width, height = frame.upright
    labels: set[str] = set()
    boxes: list[Box] = []
    for number, line in lines:
        which, *numbers = line.split()
        try:
            label = classes[parse_whole(which, "class", len(classes) - 1)]
            labels.add(label)
            x, y, w, h = _place(numbers)
        except ValueFault as fault:
            left_out.add(f"line {number}", f"{fault}, in {quoted(line)}")
            continue
        left, right = (x - w / 2) * width, (x + w / 2) * width
        top, bottom = (y - h / 2) * height, (y + h / 2) * height
        boxes.append(Box(label, left, top, right, bottom))
    return in_order(labels, place), tuple(boxes)


def _place(fields: list[str]) -> list[float]:
    """A box's centre and size, relative to the picture."""
    if len(fields) != 4:
        raise ValueFault("give a box's centre and size behind the class, 4 numbers")
    numbers = [parse_number(field, "box") for field in fields]
    if not all(-SLACK <= value <= 1 + SLACK for value in numbers) or min(numbers[2:]) <= 0:
        raise ValueFault("a box is relative to the picture: from 0 to 1, and of some size")
    return numbers
