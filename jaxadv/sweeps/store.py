"""Where a sweep's records are kept: append-only while it runs, one Parquet file in the end.

    DIR/plan.json             the cells, by their digests
    DIR/records/WRITER.jsonl  a line a record; every process writes files of its own
    DIR/pictures/             adversarial pictures, where they are wanted
    DIR/records.parquet       all of it, in order, once every attack is recorded

A line counts once it ends: what a kill cut off is read by nobody, and its attack is made again. A
folder may be moved, and the records of several may be put together. The same attack recorded twice
(by processes that shared no work list) counts once.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.errors import InputError
from jaxadv.sweeps.plan import Cell

PARQUET = "records.parquet"
ROWS_AT_ONCE = 5_000  # of a Parquet row group, and in memory while it is written

Key = tuple[str, int]
"""A cell's digest and the attack's number in it."""


class StoreError(InputError):
    """A folder of records that cannot be written or read."""


class Writer:
    """Appends records to a file of its own; what `append` has written outlasts a kill."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`; the file is made with the first record."""
        self._path = folder / "records" / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._file: int | None = None

    def append(self, row: dict[str, Any]) -> None:
        """Write a record.

        Raises:
          StoreError: the folder cannot be written; what was written before is whole.
        """
        left = memoryview((json.dumps(row, allow_nan=False) + "\n").encode())
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY
                self._file = os.open(self._path, flags, 0o644)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as problem:
            raise _unwritable(self._path, problem) from None

    def close(self) -> None:
        """Close the file, once it is on the disk."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _unwritable(path: Path, problem: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be written ({problem.strerror}); what was recorded is whole, and the same "
        "command goes on from there"
    )


def write_plan(folder: Path, cells: Sequence[tuple[Cell, str, str]]) -> None:
    """Write down what the cells are, each with the digests of its victim's weights and its attacks.

    A folder may come to hold more cells, never other ones.

    Raises:
      StoreError: the folder cannot be written, or holds records of a victim's other weights, or of
        other attacks: what a file of requests or a folder of pictures holds has changed.
    """
    path = folder / "plan.json"
    new = {
        cell.digest: {**cell.columns, "weights": weights, "attacks": attacks}
        for cell, weights, attacks in cells
    }
    known = read_cells(folder) if path.exists() else {}
    for digest in known.keys() & new.keys():
        if known[digest]["weights"] != new[digest]["weights"]:
            name = new[digest]["victim"]
            raise StoreError(
                f"{folder}: holds records of victim {name!r} with other weights; use a new folder"
            )
        if known[digest]["attacks"] != new[digest]["attacks"]:
            raise StoreError(
                f"{folder}: holds records of other attacks on {new[digest]['victim']!r}: the "
                "requests or the pictures have changed; use a new folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _move_into_place(path, json.dumps({**known, **new}, indent=1) + "\n")
    except OSError as problem:
        raise StoreError(f"{folder}: cannot be written ({problem.strerror})") from None


def _move_into_place(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


def read_cells(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the cells of a folder are, by digest.

    Raises:
      StoreError: the folder holds no sweep.
    """
    path = folder / "plan.json"
    try:
        cells: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{folder}: holds no sweep (no plan.json)") from None
    except ValueError as problem:
        raise StoreError(f"{path}: damaged ({problem})") from None
    return cells


class _Place(NamedTuple):
    file: Path
    offset: int


def _places(folder: Path) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """Walk through all whole records, with where they are."""
    for path in sorted((folder / "records").glob("*.jsonl")):
        with path.open("rb") as file:
            offset = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break  # cut off by a kill, or being written
                try:
                    row: dict[str, Any] = json.loads(line)
                except ValueError:
                    raise StoreError(f"{path}: damaged at byte {offset}") from None
                yield _Place(path, offset), row
                offset += len(line)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Walk through the records, each attack once, with its cell's columns; in no special order."""
    cells = read_cells(folder)
    seen: set[Key] = set()
    for _, row in _places(folder):
        key = (row["cell"], row["id"])
        if key not in seen:
            seen.add(key)
            yield {**cells[row["cell"]], **row}


class Counts(NamedTuple):
    """How many attacks of a folder are recorded, and how many of these failed."""

    recorded: int
    failed: int
    by_cell: dict[str, int]


def count(folder: Path) -> Counts:
    """Count the records; a sweep may be running in the folder."""
    by_cell = dict.fromkeys(read_cells(folder), 0)
    failed = 0
    for row in read(folder):
        by_cell[row["cell"]] += 1
        failed += row["failed"] is not None
    return Counts(sum(by_cell.values()), failed, by_cell)


def recorded(folder: Path) -> dict[Key, bool]:
    """Return which attacks are recorded, and whether they failed."""
    return {(row["cell"], row["id"]): row["failed"] is not None for _, row in _places(folder)}


def merge(folders: Sequence[Path], out: Path) -> None:
    """Put several folders' records together in a new one.

    Raises:
      StoreError: one of them holds no sweep, or `out` exists.
    """
    if out.exists():
        raise StoreError(f"{out}: exists; merge into a new folder")
    cells: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for digest, cell in read_cells(folder).items():
            if cells.setdefault(digest, cell) != cell:
                raise StoreError(
                    f"{folder}: holds records of victim {cell['victim']!r} with other weights or "
                    "attacks than another folder's"
                )
    scratch = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        for number, folder in enumerate(folders):
            for path in sorted((folder / "records").glob("*.jsonl")):
                (scratch / "records").mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, scratch / "records" / f"{number}-{path.name}")
            for path in sorted((folder / "pictures").glob("*")):
                (scratch / "pictures").mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, scratch / "pictures" / path.name)
        scratch.mkdir(parents=True, exist_ok=True)
        _move_into_place(scratch / "plan.json", json.dumps(cells, indent=1) + "\n")
        os.replace(scratch, out)
    except OSError as problem:
        shutil.rmtree(scratch, ignore_errors=True)
        raise StoreError(f"{out}: cannot be written ({problem.strerror})") from None


def write_parquet(folder: Path) -> Path:
    """Write all records to one Parquet file, cell by cell in the plan's order, by number.

    A row is the cell's columns and the record's. Needs pyarrow (extra `sweeps`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = read_cells(folder)
    order = {digest: number for number, digest in enumerate(cells)}
    places: dict[tuple[int, int], _Place] = {}
    kinds: dict[str, set[type]] = {}
    for place, row in _places(folder):
        places.setdefault((order[row["cell"]], row["id"]), place)
        for column, value in {**cells[row["cell"]], **row}.items():
            kinds.setdefault(column, set()).add(type(value))
    schema = pa.schema([(column, _arrow_type(pa, kind)) for column, kind in sorted(kinds.items())])
    path = folder / PARQUET
    scratch = path.with_name(f"{PARQUET}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(scratch, schema) as writer:
            inorder = [places[key] for key in sorted(places)]
            for start in range(0, len(inorder), ROWS_AT_ONCE):
                rows = [_at(place, cells) for place in inorder[start : start + ROWS_AT_ONCE]]
                columns = {name: [row.get(name) for row in rows] for name in schema.names}
                writer.write_table(pa.table(columns, schema=schema))
        os.replace(scratch, path)
    except OSError as problem:
        scratch.unlink(missing_ok=True)
        raise _unwritable(path, problem) from None
    return path


def _at(place: _Place, cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    with place.file.open("rb") as file:
        file.seek(place.offset)
        row = json.loads(file.readline())
    return {**cells[row["cell"]], **row}


def _arrow_type(pa: Any, kinds: set[type]) -> Any:
    """Choose the column type that holds values of these types."""
    if float in kinds:
        return pa.float64()
    for kind, arrow in ((bool, pa.bool_()), (int, pa.int64()), (list, pa.list_(pa.string()))):
        if kind in kinds:
            return arrow
    return pa.string()
