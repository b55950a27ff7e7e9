"""PASCAL VOC 2007 and 2012, from the owner's archives: `VOCdevkit/VOC2012/` or what is in it.

A class counts as a label where an object of it is not marked `difficult`, which is VOC's own rule
for its classification task. Boxes are those of all objects. VOC counts pixels from 1 and includes
the last; boxes here begin at 0 and end behind it.

A picture whose annotation cannot be used is left out and named.
"""

import os
from pathlib import Path
from xml.etree.ElementTree import Element

from jaxadv.data.example import Box
from jaxadv.data.frames import boxes_upright
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, find, make, need, picture_name, shown
from jaxadv.data.sets.reading import read_xml
from jaxadv.errors import InputError
from jaxadv.formats.errors import listed, quoted
from jaxadv.formats.text import numbered_lines
from jaxadv.formats.values import ValueFault, parse_number

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
OWNER = "http://host.robots.ox.ac.uk/pascal/VOC/"
ARCHIVES = {2007: "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar",
            2012: "VOCtrainval_11-May-2012.tar"}  # fmt: skip
PARTS = ("train", "val", "test")

# The TkMIA paper's appendix gives 5,011 and 4,952 pictures for "VOC 2012": these are VOC 2007's.
EXPECTED = {
    2007: {"train": 2_501, "val": 2_510, "test": 4_952, "trainval": 5_011},
    2012: {"train": 5_717, "val": 5_823, "trainval": 11_540},
}


def needs(year: int) -> tuple[Download, ...]:
    """List what the set consists of."""
    where = f"{OWNER}voc{year}/"
    return tuple(
        Download(f"VOCdevkit/VOC{year}/{part}", ARCHIVES[year], where)
        for part in ("ImageSets/Main", "Annotations", "JPEGImages")
    )


def read_year(folder: Path, year: int) -> DataSet:
    """Read VOC 2007 or 2012.

    Raises:
      FolderError: files are missing or broken.
    """
    lists, annotations, pictures = (
        need(folder, d, d.path.removeprefix("VOCdevkit/"), d.path.split(f"VOC{year}/")[1])
        for d in needs(year)
    )
    records: list[Record] = []
    problems: list[str] = []
    for part in PARTS:
        list_of_part = find(lists, f"{part}.txt")
        for number, name in numbered_lines(list_of_part) if list_of_part else ():
            try:
                picture_name(name)
            except ValueFault as fault:
                problems.append(f"{list_of_part}, line {number}: {fault}; left out")
                continue
            picture, notes = pictures / f"{name}.jpg", annotations / f"{name}.xml"
            if not os.path.isfile(picture):
                problems.append(f"{shown(picture)}: no such picture")
            elif not os.path.lexists(notes):
                problems.append(f"{shown(notes)}: no such annotation")
            else:
                try:
                    labels, boxes = _read(notes, name, picture)
                except InputError as problem:
                    problems.append(f"{problem}; the picture is left out")
                    continue
                records.append(Record(name, picture, labels=labels, boxes=boxes, split=part))
    ids = tuple(sorted(r.id for r in records if r.split in ("train", "val")))
    return make(
        f"voc{year}",
        folder,
        records,
        problems,
        classes=CLASSES,
        selections={"trainval": ids},
        expected=EXPECTED[year],
    )


def _read(path: Path, name: str, picture: Path) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    """Read the labels and boxes of a picture.

    Raises:
      InputError: the annotation cannot be used, or the picture is none.
    """
    notes = read_xml(path)
    try:
        file = _text(notes, "filename")
        if Path(file).stem != name:
            raise ValueFault(f"is of {quoted(file)}, not of {name}.jpg")
        objects = notes.findall("object")
        boxes = [_box(thing) for thing in objects]
        clear = {_text(o, "name") for o in objects if o.findtext("difficult", "0").strip() != "1"}
        if unknown := {box.label for box in boxes} - set(CLASSES):
            raise ValueFault(f"{listed(sorted(unknown))}: none of VOC's 20 classes")
        if size := _size(notes):
            boxes = boxes_upright(boxes, picture, size)
    except ValueFault as fault:
        raise FolderError(f"{path}: {fault}") from None
    return tuple(label for label in CLASSES if label in clear), tuple(boxes)


def _size(notes: Element) -> tuple[int, int] | None:
    """The width and height of the picture that the boxes are of, where they are given."""
    size = notes.find("size")
    if size is None:
        return None
    width, height = (parse_number(size.findtext(side) or "0", side) for side in ("width", "height"))
    return (int(width), int(height)) if width > 0 and height > 0 else None


def _box(thing: Element) -> Box:
    place = thing.find("bndbox")
    if place is None:
        raise ValueFault("an object without bndbox")
    left, top, right, bottom = (
        parse_number(_text(place, side), side) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    if right < left or bottom < top:
        raise ValueFault(f"a box from {left:g}, {top:g} to {right:g}, {bottom:g}")
    return Box(_text(thing, "name"), left - 1, top - 1, right, bottom)


def _text(element: Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise ValueFault(f"no {name!r}: not laid out as VOC's annotations")
    return text.strip()
