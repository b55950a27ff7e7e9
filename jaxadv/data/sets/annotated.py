"""Any folder of pictures, with what is known of them in a table or in JSON.

- CSV (`captions.txt` counts, too): a line of column names, of them `image`; and any of `caption`,
  `labels` and `tags` (several with `;` between), `split`, and `label`, `left`, `top`, `right`,
  `bottom` for a box. Lines of the same picture add up.
- JSON, a list of objects, or JSON lines: `image`; any of `captions` (or `caption`), `labels`,
  `tags`, `boxes` (objects of the five names above) and `split`.

A picture is looked for in the folder itself, `images/` and `Images/`. What no line speaks of, a
picture does not have.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxadv.data.example import Box
from jaxadv.data.images import SUFFIXES
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import laid_out_as, make, read_json, read_lines, there

KNOWN = ("image", "caption", "captions", "labels", "tags", "boxes", "split")
SIDES = ("left", "top", "right", "bottom")


def annotations(folder: Path) -> Path | None:
    """Find the one file of annotations of a folder.

    Raises:
      FolderError: there are several.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix in (".csv", ".json", ".jsonl"))
    table = folder / "captions.txt"
    found = [table] if table.is_file() else found
    if len(found) > 1:
        raise FolderError(
            f"{folder}: several files of annotations: {', '.join(p.name for p in found)}"
        )
    return found[0] if found else None


def read(folder: Path) -> DataSet:
    """Read a folder of pictures; without a file of annotations, they are all that is known.

    Raises:
      FolderError: the file of annotations is broken, or there is no picture.
    """
    path = annotations(folder)
    if path is None:
        pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        records = [Record(str(p.relative_to(folder).with_suffix("")), p) for p in pictures]
        return make(folder.resolve().name, folder, records)
    with laid_out_as("annotations of pictures", path):
        entries = _table(path) if path.suffix in (".csv", ".txt") else _objects(path)
        classes, tags = (
            _order(e[what] for e in entries.values() if what in e) for what in ("labels", "tags")
        )
        records = [_record(folder, image, e, classes, tags) for image, e in entries.items()]
    problems: list[str] = []
    return make(
        folder.resolve().name,
        folder,
        there(records, problems),
        problems,
        classes=classes or None,
        tags=tags or None,
    )


def _table(path: Path) -> dict[str, dict[str, Any]]:
    """Gather the lines of each picture."""
    entries: dict[str, dict[str, Any]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, strict=True)
        columns = rows.fieldnames or []
        unknown = set(columns) - {*KNOWN, "label", *SIDES}
        if "image" not in columns or unknown:
            raise FolderError(
                f"{path}: columns {', '.join(map(repr, columns)) or 'none'}; give image, and any "
                "of caption, labels, tags, split, label, left, top, right, bottom"
            )
        try:
            for row in rows:
                if None in row or None in row.values():
                    raise csv.Error("not as many fields as columns")
                _add(entries.setdefault(row["image"], {}), row)
        except (csv.Error, ValueError) as problem:
            raise FolderError(f"{path}, line {rows.line_num}: {problem}") from None
    return entries


def _add(entry: dict[str, Any], row: dict[str, str]) -> None:
    if row.get("caption", "").strip():
        entry.setdefault("captions", []).append(row["caption"].strip())
    for what in ("labels", "tags"):
        if what in row:
            entry.setdefault(what, []).extend(p for t in row[what].split(";") if (p := t.strip()))
    if row.get("split", "").strip():
        entry["split"] = row["split"].strip()
    if all(name in row for name in ("label", *SIDES)):
        boxes = entry.setdefault("boxes", [])
        if row["label"].strip():
            boxes.append(row)


def _objects(path: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    if path.suffix == ".json":
        objects = read_json(path)
        if not isinstance(objects, list):
            raise FolderError(f"{path}: not a list of objects with an image each")
    else:
        objects = []
        for number, line in enumerate(read_lines(path), 1):
            try:
                objects.append(json.loads(line))
            except json.JSONDecodeError as problem:
                raise FolderError(f"{path}, line {number}: not JSON ({problem.msg})") from None
    for number, entry in enumerate(objects, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise FolderError(f"{path}, entry {number}: no object with an image")
        if unknown := set(entry) - set(KNOWN):
            raise FolderError(f"{path}, entry {number}: {sorted(unknown)[0]!r} is none of {KNOWN}")
        if entry["image"] in entries:
            raise FolderError(
                f"{path}, entry {number}: {entry['image']} comes twice (duplicate id)"
            )
        said = entry.get("captions", [entry["caption"]] if "caption" in entry else None)
        entries[entry["image"]] = entry if said is None else entry | {"captions": said}
    return entries


def _order(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({str(name) for names in lists for name in names}))


def _record(
    folder: Path,
    image: str,
    entry: dict[str, Any],
    classes: tuple[str, ...],
    tags: tuple[str, ...],
) -> Record:
    places = [folder / image, folder / "images" / image, folder / "Images" / image]
    if not all(p.resolve().is_relative_to(folder.resolve()) for p in places):
        raise FolderError(f"{folder}: picture {image!r} is outside of the folder")
    labels, words = (_names(entry, what, of) for what, of in (("labels", classes), ("tags", tags)))
    return Record(
        str(Path(image).with_suffix("")),
        next((path for path in places if path.is_file()), places[0]),
        None if "captions" not in entry else tuple(map(str, entry["captions"])),
        labels,
        words,
        None if "boxes" not in entry else tuple(_box(box, image) for box in entry["boxes"]),
        str(entry.get("split", "data")),
    )


def _names(entry: dict[str, Any], what: str, order: tuple[str, ...]) -> tuple[str, ...] | None:
    if what not in entry:
        return None
    return tuple(name for name in order if name in set(map(str, entry[what])))


def _box(box: dict[str, Any], image: str) -> Box:
    try:
        return Box(str(box["label"]).strip(), *(float(box[side]) for side in SIDES))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"a box of {image} has no label and four numbers") from None
