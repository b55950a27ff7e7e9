"""Any folder of pictures, with what is known of them in a table or in JSON.

- CSV (`captions.txt` counts, too): a line of column names, of them `image`; and any of `caption`,
  `labels` and `tags` (several with `;` between), `split`, and `label`, `left`, `top`, `right`,
  `bottom` for a box. Lines of the same picture add up.
- JSON, a list of objects, or JSON lines: `image`; any of `captions` (or `caption`), `labels`,
  `tags`, `boxes` (objects of the five names above) and `split`.

A picture is looked for in the folder itself, `images/` and `Images/`. What no line speaks of, a
picture does not have; what is null or NaN, none speaks of. Boxes are of the upright picture.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.example import Box
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import (
    find_pictures,
    in_order,
    list_folder,
    make,
    names_in,
    picture_name,
    there,
)
from jaxadv.data.sets.reading import LeftOut, fields, numbered
from jaxadv.formats.errors import FormatError, listed, quoted
from jaxadv.formats.text import Row, numbered_lines, parse_json, read_csv, read_json
from jaxadv.formats.values import ValueFault, as_names, as_number, as_text, is_absent, parse_number

SIDES = ("left", "top", "right", "bottom")
COLUMNS = ("image", "caption", "labels", "tags", "split", "label", *SIDES)
NAMES = ("image", "caption", "captions", "labels", "tags", "boxes", "split")
TABLE = "captions.txt"

Entry = dict[str, Any]
"""What is known of a picture, of `captions`, `labels`, `tags`, `boxes` and `split`."""


def annotations(folder: Path) -> Path | None:
    """Find the one file of annotations of a folder.

    Raises:
      FolderError: there are several.
    """
    if os.path.lexists(folder / TABLE):
        return folder / TABLE
    found = [
        path
        for path in list_folder(folder)
        if path.suffix.lower() in (".csv", ".json", ".jsonl") and not path.is_dir()
    ]
    if len(found) > 1:
        names = listed(path.name for path in found)
        raise FolderError(f"{folder}: several files of annotations: {names}")
    return found[0] if found else None


def pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder that has no file of annotations."""
    return find_pictures(folder, [])


def read(folder: Path) -> DataSet:
    """Read a folder of pictures; without a file of annotations, they are all that is known.

    Raises:
      FormatError: the file of annotations cannot be read.
      FolderError: it is not laid out so, or there is no picture.
    """
    path = annotations(folder)
    name = folder.resolve().name
    problems: list[str] = []
    if path is None:
        found = find_pictures(folder, problems)
        records = [Record(_id(picture.relative_to(folder)), picture) for picture in found]
        return make(name, folder, records, problems)
    left_out = LeftOut(path, problems)
    is_table = path.suffix.lower() in (".csv", ".txt")
    entries = _table(path, left_out, problems) if is_table else _objects(path, left_out)
    classes, tags = (_order(entries.values(), what) for what in ("labels", "tags"))
    for what, names in (("labels", classes), ("tags", tags)):
        if not names and any(what in entry for entry in entries.values()):
            problems.append(f"{what}: {path} names none at all, so that {what} are not known")
    places = numbered(classes), numbered(tags)
    parts = [part for part in (folder, folder / "images", folder / "Images") if part.is_dir()]
    within = {part: names_in(part) for part in parts}
    records = there((_record(within, *entry, *places) for entry in entries.items()), problems)
    return make(name, folder, records, problems, classes=classes or None, tags=tags or None)


def _table(path: Path, left_out: LeftOut, problems: list[str]) -> dict[str, Entry]:
    """Gather the lines of each picture."""
    columns, rows, short = read_csv(path)
    problems += short
    boxed = {"label", *SIDES} & set(columns)
    if "image" not in columns or set(columns) - set(COLUMNS) or len(boxed) not in (0, 5):
        raise FolderError(
            f"{path}: columns {listed(columns)}; give image, and any of caption, labels, tags, "
            "split, and for boxes label, left, top, right, bottom (all five)"
        )
    entries: dict[str, Entry] = {}
    for row in rows:
        which = f"line {row.line}"
        try:
            image = picture_name(as_text(row.fields["image"].strip(), "image"))
            entry = entries.setdefault(image, {})
            _add(entry, row, which, left_out)
        except ValueFault as fault:
            left_out.add(which, fault)
    return entries


def _add(entry: Entry, row: Row, which: str, left_out: LeftOut) -> None:
    said = left_out.captions(row.fields.get("caption", "").strip(), which)
    if said:
        entry["captions"] = (*entry.get("captions", ()), *said)
    for what in ("labels", "tags"):
        if what in row.fields:
            names = (name.strip() for name in row.fields[what].split(";"))
            entry.setdefault(what, set()).update(name for name in names if name)
    split = row.fields.get("split", "").strip()
    if split and entry.setdefault("split", _split(split)) != split:
        raise ValueFault(f"split {quoted(split)}, where a line before has another")
    if "label" in row.fields:
        boxes = entry.setdefault("boxes", [])
        sides = [row.fields[side] for side in SIDES]
        if any(text.strip() for text in (row.fields["label"], *sides)):
            numbers = [parse_number(text, side) for side, text in zip(SIDES, sides, strict=True)]
            boxes.append(_box(row.fields["label"], numbers))


def _objects(path: Path, left_out: LeftOut) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for which, given in _given(path, left_out):
        try:
            image = picture_name(as_text(fields(given).get("image"), "image"))
            entry = _entry(given, which, left_out)
        except ValueFault as fault:
            left_out.add(which, fault)
            continue
        if image in entries:
            raise FolderError(f"{path}, {which}: {quoted(image)} comes twice (duplicate id)")
        entries[image] = entry
    return entries


def _given(path: Path, left_out: LeftOut) -> Iterator[tuple[str, Any]]:
    """Give what a file of JSON or of lines of it holds, and what messages call each entry."""
    if path.suffix.lower() == ".json":
        objects = read_json(path)
        if not isinstance(objects, list):
            raise FolderError(f"{path}: not a list of objects with an image each")
        yield from ((f"entry {number}", given) for number, given in enumerate(objects, 1))
        return
    for number, line in numbered_lines(path):
        try:
            yield f"line {number}", parse_json(line, "")
        except FormatError as problem:
            left_out.add(f"line {number}", str(problem).removeprefix(": "))


def _entry(given: Mapping[str, Any], which: str, left_out: LeftOut) -> Entry:
    """Check an object's values; what is absent is left away."""
    if unknown := set(given) - set(NAMES):
        raise ValueFault(f"{listed(sorted(unknown))}: none of {', '.join(NAMES)}")
    said = [left_out.captions(given.get(name), which) for name in ("captions", "caption")]
    known = [texts for texts in said if texts is not None]
    entry: Entry = {"captions": tuple(text for texts in known for text in texts)} if known else {}
    for what in ("labels", "tags"):
        names = as_names(given.get(what), what)
        if names is not None:
            entry[what] = set(names)
    if not is_absent(given.get("split")):
        entry["split"] = _split(as_text(given["split"], "split"))
    if not is_absent(given.get("boxes")):
        entry["boxes"] = _boxes(given["boxes"], which, left_out)
    return entry


def _boxes(given: Any, which: str, left_out: LeftOut) -> list[Box]:
    if not isinstance(given, list):
        raise ValueFault("boxes: must be a list")
    boxes = []
    for number, box in enumerate(given, 1):
        try:
            numbers = [as_number(fields(box).get(side), side) for side in SIDES]
            boxes.append(_box(as_text(box.get("label"), "label"), numbers))
        except ValueFault as fault:
            left_out.add(f"box {number} of {which}", fault)
    return boxes


def _box(label: str, sides: list[float]) -> Box:
    box = Box(label.strip(), *sides)
    if not box.label:
        raise ValueFault("a box without a label")
    if box.left >= box.right or box.top >= box.bottom:
        raise ValueFault("a box of no size: left and top must be below right and bottom")
    return box


def _split(name: str) -> str:
    """Check the name of a split, which prepared sets have in names of files."""
    if re.fullmatch(r"\w[\w.-]*", name) is None:
        raise ValueFault(f"split {quoted(name)}: must be of letters, digits, '_', '.' and '-'")
    return name


def _order(entries: Iterable[Entry], what: str) -> tuple[str, ...]:
    return tuple(sorted({name for entry in entries for name in entry.get(what, ())}))


def _id(picture: Path) -> str:
    return picture.with_suffix("").as_posix()


def _record(
    within: dict[Path, set[str]],
    image: str,
    entry: Entry,
    classes: dict[str, int],
    tags: dict[str, int],
) -> Record:
    first = image.split("/", 1)[0]
    # what is not listed is not there; names that are not ASCII may be listed in another form
    sure = first.isascii() and first not in ("", ".")
    likely = (part for part, names in within.items() if not sure or first in names)
    places = (os.path.join(part, image) for part in likely)
    found = next((place for place in places if os.path.isfile(place)), None)
    return Record(
        _id(Path(image)),
        Path(found) if found else next(iter(within)) / image,
        entry.get("captions"),
        in_order(entry["labels"], classes) if "labels" in entry and classes else None,
        in_order(entry["tags"], tags) if "tags" in entry and tags else None,
        tuple(entry["boxes"]) if "boxes" in entry else None,
        entry.get("split", "data"),
    )
