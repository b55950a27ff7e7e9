"""Data sets before their pictures are decoded: records, splits and named selections.

Whatever opens a data set, a folder as its owner distributes it or one that was prepared, gives the
same `DataSet`; whatever uses one turns its records into `Example`s with `example`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.data.example import Box, Example
from jaxadv.data.images import Stored, read_image
from jaxadv.errors import InputError

SHOWN_PROBLEMS = 5

Tags = tuple[str, ...] | np.ndarray


class FolderError(InputError):
    """A data set that is missing, not in a known layout, or lacks what is asked of it."""


Picture = Path | Stored | np.ndarray


class Record(NamedTuple):
    """A picture, not yet decoded, and what is known of it; what a data set lacks is None.

    Attributes:
      id: unique in its data set.
      picture: a file, something stored elsewhere, or f32[d] where only features are published.
      captions: what people say of it.
      labels: the classes that are there, in the order of the data set's.
      tags: the words that describe it, in the order of the data set's vocabulary, or f32[w] where
        only the weights of topics are published.
      boxes: one an object, in pixels of the upright picture (`jaxadv.data.frames`).
      split: the part of the data set as its owner divides it.
    """

    id: str
    picture: Picture
    captions: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    tags: Tags | None = None
    boxes: tuple[Box, ...] | None = None
    split: str = "data"


class DataSet(NamedTuple):
    """Records with what they are described in.

    Attributes:
      name: what the data set is called.
      records: in the order of their ids, or in that of a selection.
      classes: all classes that labels are of, in the order of a label vector.
      tags: the tag vocabulary, in the order of a tag vector.
      vocabulary: the words of the captioners that were trained on it.
      selections: lists of ids by name; they may overlap, and repeat an id.
      expected: how many records its owner or the papers count, by split and selection.
      problems: what was left out, a line each.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    selections: Mapping[str, tuple[str, ...]] = {}
    expected: Mapping[str, int] = {}
    problems: tuple[str, ...] = ()


def counts(data: DataSet) -> dict[str, int]:
    """Count the records in all, of each split, and of each selection."""
    found = {"all": len(data.records)}
    for record in data.records:
        found[record.split] = found.get(record.split, 0) + 1
    return found | {name: len(ids) for name, ids in data.selections.items()}


def left_out(problems: Sequence[str]) -> list[str]:
    """Say what was left out of a data set: the first five lines, and how many there are.

    >>> left_out(["a.jpg: no such picture"])
    ['left out: a.jpg: no such picture']
    >>> left_out(["a.jpg: no such picture"] * 3000)[4:]
    ['left out: a.jpg: no such picture', 'left out: 2,995 more, 3,000 in all']
    """
    lines = [f"left out: {line}" for line in problems[:SHOWN_PROBLEMS]]
    more = len(problems) - SHOWN_PROBLEMS
    return [*lines, f"left out: {more:,} more, {len(problems):,} in all"] if more > 0 else lines


def differences(data: DataSet) -> list[str]:
    """Say where the counts are not those that the owner or the papers give; a line each."""
    found = counts(data)
    found |= {"classes": len(data.classes or ()), "tags": len(data.tags or ())}
    found["vocabulary"] = len(data.vocabulary or ())
    return [
        f"{name}: {found.get(name, 0):,}, where {count:,} are expected "
        f"({found.get(name, 0) - count:+,})"
        for name, count in data.expected.items()
        if found.get(name, 0) != count
    ]


def select(data: DataSet, name: str) -> DataSet:
    """Keep the records of a split or of a selection, these in its own order.

    Raises:
      FolderError: there is none of that name.
    """
    if name in data.selections:
        by_id = {record.id: record for record in data.records}
        kept = tuple(by_id[i] for i in data.selections[name])
    else:
        kept = tuple(record for record in data.records if record.split == name)
    if not kept:
        there = sorted({record.split for record in data.records} | set(data.selections))
        raise FolderError(
            f"{data.name}: no split or selection {name!r}; there is {', '.join(there)}"
        )
    return data._replace(name=f"{data.name}:{name}", records=kept, selections={}, expected={})


def load(record: Record) -> np.ndarray:
    """Decode a record's picture: f32[H, W, 3] in [0, 1], or its features as they are.

    Raises:
      ImageError: it cannot be read.
    """
    picture = record.picture
    return picture if isinstance(picture, np.ndarray) else read_image(picture)


def example(data: DataSet, record: Record) -> Example:
    """Decode a record of the data set."""
    return Example(
        record.id,
        load(record),
        record.captions,
        None if record.labels is None else _rows([record.labels], data.classes or ())[0],
        _tag_vector(record.tags, data.tags or ()),
        record.boxes,
    )


def examples(data: DataSet) -> Iterable[Example]:
    """Decode all records, one after the other."""
    return (example(data, record) for record in data.records)


def label_matrix(data: DataSet) -> np.ndarray:
    """All label vectors, bool[n, c]; of a record without labels, no class."""
    return _rows([record.labels or () for record in data.records], data.classes or ())


def tag_matrix(data: DataSet) -> np.ndarray:
    """All tag vectors, f32[n, w]; of a record without tags, zeros."""
    if any(isinstance(record.tags, np.ndarray) for record in data.records):
        return np.stack([np.asarray(record.tags, np.float32) for record in data.records])
    words = [() if isinstance(r.tags, np.ndarray) else r.tags or () for r in data.records]
    return _rows(words, data.tags or ()).astype(np.float32)


def captioned(data: DataSet) -> DataSet:
    """Keep the records with captions.

    Raises:
      FolderError: there is none.
    """
    kept = tuple(record for record in data.records if record.captions)
    if not kept:
        raise FolderError(f"{data.name}: none of {len(data.records)} pictures has captions")
    return data._replace(records=kept)


def labelled(data: DataSet) -> DataSet:
    """Keep the records whose labels are known.

    Raises:
      FolderError: there is none.
    """
    kept = tuple(record for record in data.records if record.labels is not None)
    if not kept or not data.classes:
        reason = "".join(f"; {line}" for line in data.problems if line.startswith("labels:"))
        raise FolderError(f"{data.name}: none of {len(data.records)} pictures has labels{reason}")
    return data._replace(records=kept)


def join(sets: Sequence[DataSet]) -> DataSet:
    """Put data sets together.

    A picture that is in several, by its id or by the name of its file, is kept once, as the first
    has it. Labels of different classes, and tags of different vocabularies, cannot be put together:
    they are left out, and the set's problems say so.
    """
    first, *others = sets
    if not others:
        return first  # as it is: a selection may repeat a record
    kept: dict[str, Record] = {}
    files: set[str] = set()  # of the sets before: one set may have two of a name in two folders
    for data in sets:
        new = [r for r in data.records if r.id not in kept and _file(r) not in files]
        kept |= {record.id: record for record in new}
        files |= {_file(record) for record in new}
    problems = [line for data in sets for line in data.problems]
    records = tuple(kept.values())
    classes = _common("classes", sets, problems)
    tags = _common("tags", sets, problems)
    if classes is None:
        records = tuple(record._replace(labels=None) for record in records)
    if tags is None:
        records = tuple(record._replace(tags=None) for record in records)
    name = "+".join(data.name for data in sets)
    return DataSet(name, records, classes, tags, problems=tuple(problems))


def _common(what: str, sets: Sequence[DataSet], problems: list[str]) -> tuple[str, ...] | None:
    """The classes or tags of all sets that have any; None, and a problem, where they differ."""
    known = [data for data in sets if getattr(data, what) is not None]
    odd = [data.name for data in known if getattr(data, what) != getattr(known[0], what)]
    if odd:
        problems.append(f"labels: the {what} of {odd[0]} are not those of {known[0].name}")
    names: tuple[str, ...] | None = getattr(known[0], what) if known and not odd else None
    return names


def _file(record: Record) -> str:
    return record.picture.name if isinstance(record.picture, Path) else record.id


def _rows(named: Sequence[tuple[str, ...]], order: tuple[str, ...]) -> np.ndarray:
    """Vectors of truth values, one for each record's names; bool[n, len(order)]."""
    place = {name: i for i, name in enumerate(order)}
    rows = np.zeros((len(named), len(order)), bool)
    for row, names in zip(rows, named, strict=True):
        row[[place[name] for name in names]] = True
    return rows


def _tag_vector(tags: Tags | None, order: tuple[str, ...]) -> np.ndarray | None:
    if tags is None or isinstance(tags, np.ndarray):
        return tags
    vector: np.ndarray = _rows([tags], order)[0]
    return vector
