"""COCO's two annotation files of a split: `captions_*.json` and `instances_*.json`.

Both list `images` and `annotations`; the second also `categories`. Numbers are keys: none may come
twice. An annotation that cannot be used is left out and named by its id; a label needs no box.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.data.example import Box
from jaxadv.data.frames import boxes_upright
from jaxadv.data.images import ImageError
from jaxadv.data.records import FolderError
from jaxadv.data.sets.layout import in_order, picture_name, twice
from jaxadv.data.sets.reading import LeftOut, fields, listing, numbered
from jaxadv.formats.errors import listed, quoted
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_number, as_text, as_whole

WHAT = "COCO's annotations"
Size = tuple[int, int]


class Captions(NamedTuple):
    """What is said of pictures: files by number, and captions of those that have some."""

    files: Mapping[int, str]
    captions: Mapping[int, tuple[str, ...]]


class Instances(NamedTuple):
    """What pictures show.

    Attributes:
      files: by the pictures' numbers.
      classes: the categories in the order of their numbers.
      labels: of each picture; none at all where the file has no annotation.
      boxes: of each picture, in pixels of the upright picture.
      unread: numbers of what is there and is no picture.
    """

    files: Mapping[int, str]
    classes: tuple[str, ...]
    labels: Mapping[int, tuple[str, ...]]
    boxes: Mapping[int, tuple[Box, ...]]
    unread: frozenset[int]


def read_captions(path: Path, problems: list[str]) -> Captions:
    """Read `captions_*.json`.

    Raises:
      FormatError: it cannot be read, or is no JSON.
      FolderError: it is not laid out so, or lists a picture twice.
    """
    contents = read_json(path)
    left_out = LeftOut(path, problems)
    files, _ = _images(contents, left_out)
    said: dict[int, list[str]] = defaultdict(list)
    for which, entry in _annotations(contents, left_out):
        try:
            number = _listed_picture(entry, files)
            said[number] += left_out.captions(entry.get("caption"), which) or ()
        except ValueFault as fault:
            left_out.add(which, fault)
    return Captions(files, {number: tuple(texts) for number, texts in said.items()})


def read_instances(path: Path, pictures: Path, problems: list[str]) -> Instances:
    """Read `instances_*.json`.

    A picture's `width` and `height` say whether its boxes are of the file as it is stored or of the
    upright picture (`jaxadv.data.frames`); where they are not given, of the upright one.

    Args:
      path: the file.
      pictures: the folder of the split's pictures.
      problems: takes a line for each thing that is left out.

    Raises:
      FormatError: it cannot be read, or is no JSON.
      FolderError: it is not laid out so, or lists a picture or a category twice.
    """
    contents = read_json(path)
    left_out = LeftOut(path, problems)
    categories = _categories(contents, path)
    classes = tuple(categories.values())
    files, sizes = _images(contents, left_out)
    present: dict[int, set[str]] = defaultdict(set)
    boxes: dict[int, list[Box]] = defaultdict(list)
    for which, entry in _annotations(contents, left_out):
        try:
            number = _listed_picture(entry, files)
            category = as_whole(entry.get("category_id"), "category_id")
            if category not in categories:
                raise ValueFault(f"no category has the number {category}")
        except ValueFault as fault:
            left_out.add(which, fault)
            continue
        present[number].add(categories[category])
        try:
            if not _is_crowd(entry):
                boxes[number].append(read_box(entry, categories[category]))
        except ValueFault as fault:
            left_out.add(f"the box of {which}", fault)
    if not present:
        problems.append(f"labels: {path} has no annotation of any picture: labels are not known")
        return Instances(files, classes, {}, {}, frozenset())
    unread = set()
    for number, found in boxes.items():
        picture = pictures / files[number]
        if number in sizes and os.path.isfile(picture):  # what is absent is named later
            try:
                boxes[number] = boxes_upright(found, picture, sizes[number])
            except ValueFault as fault:
                left_out.add(f"the boxes of picture {number}", fault)
                boxes[number] = []
            except ImageError as fault:
                problems.append(str(fault))
                unread.add(number)
    place = numbered(classes)
    return Instances(
        files,
        classes,
        {number: in_order(present.get(number, ()), place) for number in files},
        {number: tuple(boxes.get(number, ())) for number in files},
        frozenset(unread),
    )


def read_box(entry: Mapping[str, Any], label: str) -> Box:
    """Read `bbox`, which is left, top, width and height.

    Raises:
      ValueFault: it is absent, not four numbers, or of no size.
    """
    place = entry.get("bbox")
    if not isinstance(place, list) or len(place) != 4:
        raise ValueFault("bbox must be 4 numbers: left, top, width and height")
    left, top, width, height = (as_number(value, "bbox") for value in place)
    if width <= 0 or height <= 0:
        raise ValueFault(f"bbox of width {width:g} and height {height:g}")
    return Box(label, left, top, left + width, top + height)


def _categories(contents: Any, path: Path) -> dict[int, str]:
    """Names by number, in the order of numbers.

    Raises:
      FolderError: there is none, one has no number or name, or a number or name comes twice.
    """
    found: list[tuple[int, str]] = []
    for number, entry in enumerate(listing(contents, "categories", path, WHAT), 1):
        try:
            name = as_text(fields(entry).get("name"), "name").strip()
            if not name:
                raise ValueFault("an empty name")
            found.append((as_whole(entry.get("id"), "id"), name))
        except ValueFault as fault:
            raise FolderError(
                f"{path}: not laid out as {WHAT}: category {number}: {fault}"
            ) from None
    if not found:
        raise FolderError(f"{path}: not laid out as {WHAT}: no categories")
    for what, values in (("number", [n for n, _ in found]), ("name", [name for _, name in found])):
        if same := twice(values):
            raise FolderError(f"{path}: two categories of one {what}: {listed(same)} (duplicate)")
    return dict(sorted(found))


def _images(contents: Any, left_out: LeftOut) -> tuple[dict[int, str], dict[int, Size]]:
    """Files, and the sizes of those whose size is given, by number."""
    path = left_out.path
    files: dict[int, str] = {}
    sizes: dict[int, Size] = {}
    for place, entry in enumerate(listing(contents, "images", path, WHAT), 1):
        try:
            number = as_whole(fields(entry).get("id"), "id")
            file = picture_name(as_text(entry.get("file_name"), "file_name"))
        except ValueFault as fault:
            left_out.add(f"entry {place} of images", fault)
            continue
        if number in files:
            raise FolderError(f"{path}: lists picture {number} twice (duplicate id)")
        files[number] = file
        size = entry.get("width"), entry.get("height")
        try:
            if any(size):  # 0 and null say nothing
                sizes[number] = as_whole(size[0], "width", 1), as_whole(size[1], "height", 1)
        except ValueFault as fault:
            left_out.add(f"the size of picture {number}", fault)
    return files, sizes


def _annotations(contents: Any, left_out: LeftOut) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the annotations that are objects, and what messages call each: by its id."""
    for place, entry in enumerate(listing(contents, "annotations", left_out.path, WHAT), 1):
        if not isinstance(entry, dict):
            left_out.add(f"entry {place} of annotations", "must be an object")
            continue
        own = entry.get("id", place)
        yield f"annotation {own if isinstance(own, int) else quoted(own)}"[:100], entry


def _listed_picture(entry: Mapping[str, Any], files: Mapping[int, str]) -> int:
    number = as_whole(entry.get("image_id"), "image_id")
    if number not in files:
        raise ValueFault(f"it is of picture {number}, which is not listed")
    return number


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    crowd = entry.get("iscrowd")
    if crowd not in (None, 0, 1) or isinstance(crowd, float):
        raise ValueFault("iscrowd must be 0 or 1")
    return bool(crowd)
