"""PASCAL VOC 2007 and 2012, from the owner's archives: `VOCdevkit/VOC2012/` or what is in it.

A class counts as a label where an object of it is not marked `difficult`, which is VOC's own rule
for its classification task. Boxes are those of all objects. VOC counts pixels from 1 and includes
the last; boxes here begin at 0 and end behind it.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from jaxadv.data.example import Box
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, find, laid_out_as, make, need, read_lines, read_xml

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
        listed = find(lists, f"{part}.txt")
        for name in read_lines(listed) if listed else ():
            picture, notes = pictures / f"{name}.jpg", annotations / f"{name}.xml"
            if not picture.is_file():
                problems.append(f"{picture}: no such picture")
            elif not notes.is_file():
                problems.append(f"{notes}: no such annotation")
            else:
                labels, boxes = _read(notes, name)
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


def _read(path: Path, name: str) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    notes = read_xml(path)
    with laid_out_as("VOC's annotations", path):
        if Path(_text(notes, "filename")).stem != name:
            raise FolderError(f"{path}: is of {_text(notes, 'filename')}, not of {name}.jpg")
        objects = notes.findall("object")
        boxes = tuple(_box(thing) for thing in objects)
        clear = {_text(o, "name") for o in objects if o.findtext("difficult", "0").strip() != "1"}
        if unknown := {box.label for box in boxes} - set(CLASSES):
            raise FolderError(f"{path}: {sorted(unknown)[0]!r} is none of VOC's 20 classes")
    return tuple(label for label in CLASSES if label in clear), boxes


def _box(thing: Element) -> Box:
    place = thing.find("bndbox")
    if place is None:
        raise KeyError("bndbox")
    left, top, right, bottom = (float(_text(place, k)) for k in ("xmin", "ymin", "xmax", "ymax"))
    return Box(_text(thing, "name"), left - 1, top - 1, right, bottom)


def _text(element: Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise KeyError(name)
    return text.strip()
