"""The parts of a set that is prepared, each in a file of its own until all are there.

A part is under a temporary name until it is whole, and what is noted of it is under a digest: a job
that was killed or ran out of disk continues from the parts that are there.
"""

import contextlib
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.images import ImageError, decode_image, read_bytes
from jaxadv.data.index import record_lines
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.formats.errors import FormatError
from jaxadv.formats.files import check_file, replacing, write_text
from jaxadv.formats.text import read_json

PART = 256  # records
SLACK = 1.0  # pixels by which a box may leave its picture: annotators round


class Part(NamedTuple):
    """Records that are written into one file, and the number of it."""

    split: str
    number: int
    records: tuple[Record, ...]


def divide(data: DataSet) -> list[Part]:
    """Divide a set's splits into parts."""
    parts = []
    for split in dict.fromkeys(record.split for record in data.records):
        some = tuple(record for record in data.records if record.split == split)
        for number, start in enumerate(range(0, len(some), PART)):
            parts.append(Part(split, number, some[start : start + PART]))
    return parts


def staged_path(staging: Path, part: Part) -> Path:
    """Return where a part is written."""
    return staging / f"{part.split}-{part.number:05d}"


def _notes_of(staging: Path, part: Part) -> dict[str, Any] | None:
    """What was noted of a staged part; None where either is not as it was written."""
    path = staged_path(staging, part)
    try:
        noted: dict[str, Any] = read_json(path.with_suffix(".json"))
        notes: dict[str, Any] = noted["notes"]
        whole = noted["sha256"] == _digest(notes) and notes["size"] == check_file(path)
    except (FormatError, KeyError, TypeError):
        return None
    return notes if whole else None


def _digest(notes: Any) -> str:
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()


def read_notes(staging: Path, part: Part) -> dict[str, Any]:
    """Read what was noted of a part: which records it has, and what was left out.

    Raises:
      FolderError: the part or its notes are not as they were written.
    """
    notes = _notes_of(staging, part)
    if notes is None:
        raise FolderError(
            f"{staged_path(staging, part)}: damaged while it was prepared; prepare again"
        )
    return notes


def begin(staging: Path, fingerprint: str) -> None:
    """Continue what is staged if it is of the same pictures and annotations, else begin again."""
    mark = staging / "of"
    if mark.is_file() and mark.read_bytes() == fingerprint.encode():
        return
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_text(mark, fingerprint)


def fingerprint(data: DataSet) -> str:
    """Digest a set's annotations, and the sizes and times of its pictures."""
    digest = hashlib.sha256(repr((data.name, data.classes, data.tags, PART)).encode())
    for record, line in zip(data.records, record_lines(data, data.records), strict=True):
        digest.update(line.encode())
        if isinstance(record.picture, Path):
            with contextlib.suppress(OSError):  # reading it says what is wrong
                status = record.picture.stat()
                digest.update(f"{record.picture} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


class _Stopped(Exception):
    """The job was stopped within a part, which is then not kept."""


def stage(described: Any, data: DataSet, part: Part, staging: Path, stop: threading.Event) -> None:
    """Write a part, unless it is there; with it, which records it has, and what is wrong."""
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    if _notes_of(staging, part) is not None:
        return
    serializer = ExampleSerializer(described.get_serialized_info())
    kept: list[int] = []
    problems: list[str] = []
    changed: dict[int, list[Box]] = {}

    def records() -> Iterator[bytes]:
        for number, record in enumerate(part.records):
            if stop.is_set():
                raise _Stopped
            try:
                encoded, size = _encode(record)
            except (ImageError, FolderError) as problem:
                problems.append(str(problem))
                continue
            inside = _inside(record, size, problems)
            if inside != record:
                changed[number] = list(inside.boxes or ())
            example = described.encode_example(_fields(described, data, inside, encoded))
            # in one order of fields, so that a set is the same on every machine
            yield serializer.get_tf_example(example).SerializeToString(deterministic=True)
            kept.append(number)

    path = staged_path(staging, part)
    _write_part(path, records())
    size = path.stat().st_size
    notes = {"kept": kept, "problems": problems, "boxes": changed, "size": size}
    notes = json.loads(json.dumps(notes))  # with the keys that are read
    write_text(path.with_suffix(".json"), json.dumps({"notes": notes, "sha256": _digest(notes)}))


def _write_part(path: Path, records: Iterator[bytes]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    with replacing(path) as scratch:
        try:
            writer = ArrayRecordWriter(str(scratch), "group_size:1,uncompressed")
            try:
                for record in records:
                    writer.write(record)
            finally:
                writer.close()
        except RuntimeError:  # array_record's own, of a full disk
            raise OSError from None


def _encode(record: Record) -> tuple[Any, tuple[int, int] | None]:
    """A record's picture as it is stored, checked to be whole, and its width and height upright."""
    picture = record.picture
    if isinstance(picture, np.ndarray):
        return picture, None
    if isinstance(picture, Path):
        name, contents = str(picture), read_bytes(picture)
    else:
        name, given = picture.name, picture.read()
        contents = given if isinstance(given, bytes) else _png(given)
    height, width, _ = decode_image(contents, name).shape
    return contents, (width, height)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _inside(record: Record, size: tuple[int, int] | None, problems: list[str]) -> Record:
    """Leave out boxes that are not in the picture; name them."""
    if record.boxes is None or size is None:
        return record
    width, height = size
    kept = []
    for box in record.boxes:
        if (
            -SLACK <= box.left < box.right <= width + SLACK
            and -SLACK <= box.top < box.bottom <= height + SLACK
        ):
            kept.append(box)
        else:
            place = ", ".join(f"{side:g}" for side in box[1:])
            problems.append(
                f"{record.id}: a box of {box.label} at {place} is outside of its {width} x {height}"
            )
    return record if len(kept) == len(record.boxes) else record._replace(boxes=tuple(kept))


def _fields(described: Any, data: DataSet, record: Record, encoded: Any) -> dict[str, Any]:
    """A record as the builder's features want it; `known` says what is absent, not empty."""
    values: dict[str, Any] = {
        "captions": record.captions,
        "labels": record.labels,
        "tags": record.tags,
        "boxes": record.boxes,
    }
    known = [key for key, value in values.items() if value is not None]
    fields: dict[str, Any] = {"id": record.id, "known": known}
    fields["features" if "features" in described else "image"] = encoded
    if "captions" in described:
        fields["captions"] = list(record.captions or ())
    if "labels" in described:
        fields["labels"] = list(record.labels or ())
    if "weights" in described:
        fields["weights"] = record.tags
    elif "tags" in described:
        fields["tags"] = [] if record.tags is None else [str(tag) for tag in record.tags]
    if "boxes" in described:
        fields["boxes"] = [box._asdict() for box in record.boxes or ()]
    return fields


def what_is_kept(data: DataSet, parts: list[Part], staging: Path) -> DataSet:
    """The set as it is prepared: without what could not be used."""
    kept: dict[str, Record] = {}
    problems = list(data.problems)
    for part in parts:
        notes = read_notes(staging, part)
        problems += notes["problems"]
        changed = {int(n): tuple(Box(*b) for b in boxes) for n, boxes in notes["boxes"].items()}
        for n in notes["kept"]:
            record = part.records[n]
            kept[record.id] = record._replace(boxes=changed[n]) if n in changed else record
    records = [kept[record.id] for record in data.records if record.id in kept]
    selections = {
        name: left
        for name, ids in data.selections.items()
        if (left := tuple(i for i in ids if i in kept))
    }
    return data._replace(
        records=tuple(records), selections=selections, problems=tuple(dict.fromkeys(problems))
    )
