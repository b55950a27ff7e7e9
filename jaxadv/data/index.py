"""What is known of a prepared set's pictures, a line of JSON each, and of the set, in a file.

The records on disk hold the same beside their pictures, for whoever reads them with
`tensorflow_datasets`; this opens a set of 100,000 pictures without reading them.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.data.example import Box
from jaxadv.data.records import DataSet, FolderError, Picture, Record

RECORDS, ABOUT = "jaxadv-records.jsonl", "jaxadv-set.json"
_DESCRIBED = ("classes", "tags", "vocabulary", "problems")


def write_index(folder: Path, data: DataSet, more: dict[str, Any]) -> None:
    """Write both files, each under a temporary name first."""
    about = {
        **more,
        "name": data.name,
        **{key: getattr(data, key) for key in _DESCRIBED},
        "selections": dict(data.selections),
        "expected": dict(data.expected),
    }
    lines = "".join(f"{line}\n" for line in record_lines(data, data.records))
    for name, text in ((RECORDS, lines), (ABOUT, json.dumps(about, indent=1) + "\n")):
        scratch = folder / f".{name}.part"
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, folder / name)


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


def read_index(folder: Path, picture: Callable[[str, str, int], Picture]) -> DataSet:
    """Read both files.

    Args:
      folder: where they are.
      picture: gives the picture of an id, a split, and the record's number in that split.

    Raises:
      FolderError: they are broken.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        described = {k: None if about[k] is None else tuple(about[k]) for k in _DESCRIBED}
        selections = {name: tuple(ids) for name, ids in about["selections"].items()}
        records: list[Record] = []
        seen: dict[str, int] = {}
        with (folder / RECORDS).open(encoding="utf-8") as file:
            for line in file:
                known = json.loads(line)
                split = known["split"]
                number = seen[split] = seen.get(split, -1) + 1
                there = picture(known["id"], split, number)
                records.append(_record(known, there, described["classes"], described["tags"]))
        name, expected = str(about["name"]), dict(about["expected"])
    except (OSError, KeyError, TypeError, ValueError, IndexError) as problem:
        reason = " ".join(repr(problem).split())[:120]
        raise FolderError(f"{folder}: a broken prepared set ({reason}); prepare it anew") from None
    return DataSet(name, tuple(records), selections=selections, expected=expected, **described)  # type: ignore[arg-type]


def _record(
    known: dict[str, Any],
    picture: Picture,
    classes: Sequence[str] | None,
    tags: Sequence[str] | None,
) -> Record:
    said = known.get("captions")
    weights = known.get("weights")
    return Record(
        known["id"],
        picture,
        None if said is None else tuple(said),
        _named(known.get("labels"), classes),
        _named(known.get("tags"), tags) if weights is None else np.array(weights, np.float32),
        None if "boxes" not in known else tuple(Box(*box) for box in known["boxes"]),
        known["split"],
    )


def _named(numbers: Sequence[int] | None, names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if numbers is None else tuple((names or ())[number] for number in numbers)


def _numbers(names: Sequence[str] | None) -> dict[str, int]:
    return {name: number for number, name in enumerate(names or ())}
