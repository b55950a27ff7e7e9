"""The annotations of a poisoned folder: those of the clean one, with what the poison changes.

Every column and entry that the poison does not change stays: splits, labels, boxes, categories.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from jaxadv.data.example import Box
from jaxadv.data.frames import Frame, is_stored, turn_upright
from jaxadv.data.images import read_frame
from jaxadv.data.sets.annotated import TABLE
from jaxadv.data.sets.coco_files import read_box
from jaxadv.formats.text import read_csv, read_json
from jaxadv.formats.values import ValueFault


def annotation_files(source: Path) -> list[Path]:
    """Return the files of a folder that say the captions."""
    table = source / TABLE
    return [table] if table.is_file() else sorted((source / "annotations").glob("captions_*.json"))


def write_annotations(source: Path, out: Path, changed: Mapping[Path, Path], caption: str) -> None:
    """Write the layout's own files, with the poisoned pictures' new names and captions.

    Args:
      source: the clean folder.
      out: the poisoned one.
      changed: the new name of each poisoned picture by its old one, relative to the folders.
      caption: what is said of each.
    """
    if (source / TABLE).is_file():
        _write_table(source, out, _new_names(changed), caption)
        return
    for path in sorted((source / "annotations").glob("*.json")):
        kind, _, split = path.stem.partition("_")
        if kind in ("captions", "instances"):
            here = {old: new for old, new in changed.items() if old.parts[0] == split}
            frames = {old: read_frame(source / old) for old in here}
            turned = {
                name: frames[old]
                for old in here
                for name in _names(old)
                if frames[old].orientation != 1
            }
            _write_coco(path, out / "annotations" / path.name, _new_names(here), turned, caption)


def _names(path: Path) -> list[str]:
    """A picture's name as annotations give it: from the top, or from the folder of pictures."""
    return [path.as_posix(), PurePosixPath(*path.parts[1:]).as_posix()]


def _new_names(changed: Mapping[Path, Path]) -> dict[str, str]:
    """New names by old ones, from the same folder."""
    return {
        old: new
        for path, other in changed.items()
        for old, new in zip(_names(path), _names(other), strict=True)
    }


def _write_table(source: Path, out: Path, changed: Mapping[str, str], caption: str) -> None:
    table = read_csv(source / TABLE)
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        for _, row in table.rows:
            new = changed.get(_plain(row["image"].strip()))
            if new is not None:
                row["image"] = new
                if row.get("caption", "").strip():
                    row["caption"] = caption
            writer.writerow(row.values())


def _plain(name: str) -> str:
    """`a.jpg` for `./a.jpg`."""
    return PurePosixPath(name).as_posix()


def _write_coco(
    path: Path, to: Path, changed: Mapping[str, str], turned: Mapping[str, Frame], caption: str
) -> None:
    """Write one of COCO's files; `turned` are frames of pictures that were not stored upright."""
    contents = read_json(path)
    poisoned: set[int] = set()
    stored: dict[int, Frame] = {}
    for image in _objects(contents["images"]):
        number, file = image.get("id"), image.get("file_name")
        if not isinstance(number, int) or not isinstance(file, str) or _plain(file) not in changed:
            continue
        poisoned.add(number)
        image["file_name"] = changed[_plain(file)]
        frame = turned.get(_plain(file))
        if frame and is_stored(frame, (image.get("width", 0), image.get("height", 0))):
            stored[number] = frame
            image["width"], image["height"] = frame.upright
    for entry in _objects(contents["annotations"]):
        number = entry.get("image_id")
        if not isinstance(number, int) or number not in poisoned:
            continue
        if entry.get("caption"):
            said = entry["caption"]
            entry["caption"] = [caption] * len(said) if isinstance(said, list) else caption
        if number in stored:
            _turn(entry, stored[number])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(contents) + "\n", encoding="utf-8")


def _objects(entries: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (entry for entry in entries if isinstance(entry, dict))


def _turn(entry: dict[str, Any], frame: Frame) -> None:
    """Turn an instance's box as its picture is turned; its outline, which is not read, goes."""
    entry.pop("segmentation", None)
    try:
        box: Box = turn_upright(read_box(entry, ""), frame)
    except ValueFault:
        return  # left out by its readers
    entry["bbox"] = [box.left, box.top, box.right - box.left, box.bottom - box.top]
