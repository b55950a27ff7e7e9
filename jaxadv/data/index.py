"""What is known of a prepared set's pictures, a line of JSON each, and of the set, in a file.

The records on disk hold the same with their pictures, for readers that use
`tensorflow_datasets`; this opens a set of 100,000 pictures without reading them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.data.example import Box
from jaxadv.data.images import ImageError
from jaxadv.data.records import DataSet, Picture, Record
from jaxadv.data.shards import damaged
from jaxadv.formats.errors import FormatError, listed, quoted
from jaxadv.formats.files import write_text
from jaxadv.formats.text import parse_json, read_json, read_text
from jaxadv.formats.values import ValueFault, as_number, as_text, as_whole

RECORDS, ABOUT = "jaxadv-records.jsonl", "jaxadv-set.json"
_DIGEST = "sha256"  # of both files, in `ABOUT`
_DESCRIBED = ("classes", "tags", "vocabulary", "problems")
_UNTURNED = (
    "prepared by an earlier version: where a picture's EXIF tag turns it, its boxes are not turned "
    "with it; prepare the set again"
)


def write_index(folder: Path, data: DataSet, more: dict[str, Any]) -> None:
    """Write both files; each is whole or absent.

    Raises:
      OSError: they cannot be written.
    """
    about = {
        **more,
        "name": data.name,
        **{key: getattr(data, key) for key in _DESCRIBED},
        "selections": dict(data.selections),
        "expected": dict(data.expected),
    }
    lines = "".join(f"{line}\n" for line in record_lines(data, data.records))
    about[_DIGEST] = _digest(about, lines)
    write_text(folder / RECORDS, lines)
    write_text(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def _digest(about: Mapping[str, Any], lines: str) -> str:
    rest = {key: value for key, value in about.items() if key != _DIGEST}
    described = json.dumps(rest, sort_keys=True)
    return hashlib.sha256(f"{described}\n{lines}".encode()).hexdigest()


def record_lines(data: DataSet, records: Iterable[Record]) -> Iterator[str]:
    """Write what is known of each record, but not its picture."""
    classes, tags = _numbers(data.classes), _numbers(data.tags)
    for r in records:
        known: dict[str, Any] = {"id": r.id, "split": r.split}
        if r.captions is not None:
            known["captions"] = r.captions
        if r.labels is not None:
            known["labels"] = [classes[name] for name in r.labels]
        if isinstance(r.tags, np.ndarray):
            known["weights"] = r.tags.tolist()
        elif r.tags is not None:
            known["tags"] = [tags[name] for name in r.tags]
        if r.boxes is not None:
            known["boxes"] = r.boxes
        yield json.dumps(known, ensure_ascii=False)


def _numbers(names: Sequence[str] | None) -> dict[str, int]:
    return {name: number for number, name in enumerate(names or ())}


def read_index(
    folder: Path,
    sizes: Mapping[str, int],
    picture: Callable[[str, str, int], Picture],
    *,
    strict: bool = False,
) -> DataSet:
    """Read both files; a record whose features cannot be read is left out and named.

    Args:
      folder: where they are.
      sizes: how many records each split has on disk.
      picture: gives the picture of an id, a split, and the record's number in that split.
      strict: refuse what an earlier version has written, too.

    Raises:
      FolderError: they are damaged, or do not fit what is on disk.
    """
    try:
        about = read_json(folder / ABOUT)
        lines = read_text(folder / RECORDS)
        old = _is_old(about, lines)
        described = {key: _texts(about[key], key) for key in _DESCRIBED}
        found = list(_records(lines, described, sizes))
        selections = _selections(about["selections"], {record.id for record in found})
        expected = {name: as_whole(n, "expected") for name, n in about["expected"].items()}
        name = as_text(about["name"], "name")
    except (FormatError, ValueFault) as problem:
        raise damaged(folder, problem) from None
    except (AttributeError, KeyError, TypeError):
        raise damaged(folder, f"{ABOUT} is not laid out as it is written") from None
    if old and strict:
        raise damaged(folder, "of an earlier version")
    problems = list(described["problems"] or ())
    if old and any(record.boxes for record in found):
        problems.append(_UNTURNED)
    records = _with_pictures(found, picture, problems)
    return DataSet(
        name,
        tuple(records.values()),
        classes=described["classes"],
        tags=described["tags"],
        vocabulary=described["vocabulary"],
        selections={
            key: left
            for key, ids in selections.items()
            if (left := tuple(i for i in ids if i in records))
        },
        expected=expected,
        problems=tuple(problems),
    )


def _is_old(about: Mapping[str, Any], lines: str) -> bool:
    """Whether there is no digest, as earlier versions had none; it must be that of both files."""
    if _DIGEST not in about:
        return True
    if about[_DIGEST] != _digest(about, lines):
        raise ValueFault(f"{ABOUT} and {RECORDS} are not as they were written")
    return False


def _records(
    lines: str, described: Mapping[str, tuple[str, ...] | None], sizes: Mapping[str, int]
) -> Iterator[Record]:
    """Read the records, without pictures."""
    ids: set[str] = set()
    seen: Counter[str] = Counter()
    for number, line in enumerate(lines.split("\n")[:-1], start=1):
        source = f"{RECORDS}, line {number}"
        try:
            record = _record(parse_json(line, source), described)
        except ValueFault as problem:
            raise ValueFault(f"{source}: {problem}") from None
        except (AttributeError, KeyError, TypeError):
            raise ValueFault(f"{source}: not laid out as it is written") from None
        if record.id in ids:
            raise ValueFault(f"{source}: the id {quoted(record.id)} comes twice")
        ids.add(record.id)
        seen[record.split] += 1
        yield record
    for split in {**seen, **sizes}:
        if seen[split] != sizes.get(split, 0):
            here, there = f"{seen[split]:,} records of {split}", f"{sizes.get(split, 0):,}"
            raise ValueFault(f"{RECORDS} has {here}, and the shards have {there}")


def _with_pictures(
    found: Iterable[Record], picture: Callable[[str, str, int], Picture], problems: list[str]
) -> dict[str, Record]:
    """Give the records their pictures, by id; what has none is named in `problems`."""
    records = {}
    seen: Counter[str] = Counter()
    for record in found:
        try:
            there = picture(record.id, record.split, seen[record.split])
            records[record.id] = record._replace(picture=there)
        except ImageError as problem:
            problems.append(str(problem))
        seen[record.split] += 1
    return records


def _record(known: Any, described: Mapping[str, tuple[str, ...] | None]) -> Record:
    tags: Any = _named(known.get("tags"), "tags", described)
    if "weights" in known:
        tags = np.array([as_number(w, "weights") for w in known["weights"]], np.float32)
    boxes = None if known.get("boxes") is None else tuple(_box(*box) for box in known["boxes"])
    return Record(
        as_text(known["id"], "id"),
        Path(),
        _texts(known.get("captions"), "captions"),
        _named(known.get("labels"), "classes", described),
        tags,
        boxes,
        as_text(known["split"], "split"),
    )


def _box(label: Any, *sides: Any) -> Box:
    if len(sides) != 4:
        raise TypeError
    left, top, right, bottom = (as_number(side, "boxes") for side in sides)
    if not (left < right and top < bottom):
        raise ValueFault("boxes: one without an inside")
    return Box(as_text(label, "boxes"), left, top, right, bottom)


def _texts(value: Any, what: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueFault(f"{what}: not a list")
    return tuple(as_text(one, what) for one in value)


def _named(
    numbers: Any, what: str, described: Mapping[str, tuple[str, ...] | None]
) -> tuple[str, ...] | None:
    if numbers is None:
        return None
    names = described[what] or ()
    return tuple(names[as_whole(number, what, most=len(names) - 1)] for number in numbers)


def _selections(found: Mapping[str, Any], ids: set[str]) -> dict[str, tuple[str, ...]]:
    selections = {name: _texts(some, "selections") or () for name, some in found.items()}
    absent = sorted(set().union(*selections.values()) - ids)
    if absent:
        raise ValueFault(f"selections of records that are not there: {listed(absent)}")
    return selections
