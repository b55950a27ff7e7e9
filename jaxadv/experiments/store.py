"""Where a sweep's records are kept: append-only while it runs, one Parquet file in the end.

    DIR/plan-DIGEST.json             cells by their digests; every sweep file has one of its own
    DIR/records/WRITER.sealed.jsonl  a line a record; every process writes files of its own
    DIR/pictures/                    pictures before and after, where they are wanted
    DIR/records.parquet              all of it, in order, once every attack is recorded

Nobody writes what somebody else has written, so that any number of processes, and of sweep files,
may share a folder. It may be moved, and the records of several may be put together. The same attack
recorded twice (by processes that shared no work list) counts once. Where a sweep file has changed,
what was recorded of cells that it no longer has stays, but does not count.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxadv.experiments.cells import Cell
from jaxadv.experiments.families import renamed, same_cell
from jaxadv.experiments.lines import (
    FOLDER,
    Line,
    StoreError,
    Writer,
    read_lines,
    row_of,
    unwritable,
)
from jaxadv.formats.errors import FormatError
from jaxadv.formats.files import replacing, write_text
from jaxadv.formats.text import read_json

__all__ = ["StoreError", "Writer"]

PARQUET = "records.parquet"
ROWS_AT_ONCE = 5_000  # of a Parquet row group, and in memory while it is written

Key = tuple[str, int]
"""A cell's digest and the attack's number in it."""

Cells = dict[str, dict[str, Any]]
"""What cells are, by digest."""


class _Plan(NamedTuple):
    """The cells of a sweep file, or of a call from Python, where `file` is empty."""

    file: str
    written: int
    cells: Cells


def write_plan(
    folder: Path,
    cells: Sequence[tuple[Cell, str, str]],
    file: str = "",
    command: str = "sweep",
    made_with: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write down what the cells are, each with the digests of its victim's weights and its attacks.

    Args:
      folder: of the records.
      cells: with the digests.
      file: the sweep file that they are from, which is what it says now: cells that it had before
        do not count any more. Without one the folder comes to hold more cells.
      command: that makes them.
      made_with: the command line, the machine and the versions (`environment.environment`).

    Raises:
      StoreError: the folder cannot be written, or holds records of a victim's other weights, or of
        other attacks: what a file of requests or a folder of pictures holds has changed.
    """
    new = {
        cell.digest: {**cell.columns, "weights": weights, "attacks": attacks}
        for cell, weights, attacks in cells
    }
    for known in _plans(folder, []):
        for digest in known.cells.keys() & new.keys():
            if known.cells[digest]["weights"] != new[digest]["weights"]:
                name = new[digest]["victim"]
                raise StoreError(
                    f"{folder}: holds records of victim {name!r} with other weights; use a new "
                    "folder"
                )
            if known.cells[digest]["attacks"] != new[digest]["attacks"]:
                raise StoreError(
                    f"{folder}: holds records of other attacks on {new[digest]['victim']!r}: the "
                    "requests or the pictures have changed; use a new folder"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, _Plan(file, time.time_ns(), new), command, made_with)
    except OSError as problem:
        raise StoreError(f"{folder}: cannot be written ({problem.strerror})") from None


def _write(
    folder: Path,
    plan: _Plan,
    command: str = "sweep",
    made_with: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    name = f"plan-{_digest(plan.file, plan.cells)}.json"
    victims = sorted({cell["victim"] for cell in plan.cells.values()})
    about = {
        "command": command,
        "made_with": dict(made_with),
        "victims": victims,
        **plan._asdict(),
    }
    write_text(folder / name, json.dumps(about, indent=1) + "\n")


def _digest(file: str, cells: Cells) -> str:
    """Twelve hexadecimal digits, so that the same plan is the same file."""
    text = json.dumps([file, cells], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plans(folder: Path, problems: list[str]) -> list[_Plan]:
    """Read all plans of a folder, the latest last; `problems` gets a line for each damaged one."""
    found = []
    for path in sorted(folder.glob("plan*.json")) if is_folder(folder) else ():
        try:
            plan = _plan(path)
        except FormatError as problem:
            problems.append(str(problem))
            continue
        if plan is None:
            problems.append(f"{path}: damaged; the sweep's command writes it again")
        else:
            found.append(plan)
    return sorted(found, key=lambda plan: plan.written)


def _plan(path: Path) -> _Plan | None:
    """Read a plan; None where it is damaged."""
    held = read_json(path)
    if not isinstance(held, dict):
        return None
    if path.name == "plan.json":  # of an earlier version, which knew no sweep files
        held = {"file": "", "written": 0, "cells": held}
    file, written, cells = (held.get(name) for name in _Plan._fields)
    if not isinstance(file, str) or not isinstance(written, int) or not isinstance(cells, dict):
        return None
    if path.name not in ("plan.json", f"plan-{_digest(file, cells)}.json"):
        return None
    for cell in cells.values():
        if not isinstance(cell, dict) or not all(
            isinstance(cell.get(name), str)
            for name in ("task", "victim", "method", "weights", "attacks")
        ):
            return None
    return _Plan(file, written, cells)


def _all_and_current(folder: Path, problems: list[str]) -> tuple[Cells, Cells]:
    """Return every cell that a folder ever had, and those that it has now.

    Raises:
      StoreError: the folder holds no sweep, or no plan of it can be read.
    """
    plans = _plans(folder, problems)
    if not plans and problems:
        raise StoreError(problems[0])
    if not plans:
        why = "no plan" if is_folder(folder) else "no such folder"
        raise StoreError(f"{folder}: holds no sweep ({why})")
    latest = {plan.file: plan for plan in plans}
    every: Cells = {}
    current: Cells = {}
    for plan in plans:
        plan = plan._replace(cells={d: renamed(cell) for d, cell in plan.cells.items()})
        every |= plan.cells
        if plan.file == "" or plan.written == latest[plan.file].written:
            current |= plan.cells
    return every, current


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of that name, which may be no name at all."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def holds_plan(folder: Path) -> bool:
    """Return whether a folder is that of a sweep or of an evaluation."""
    return is_folder(folder) and any(folder.glob("plan*.json"))


def made_with(folder: Path) -> dict[str, Any]:
    """Return what the latest records of a folder were made with, and the day as `measured`."""
    found: dict[str, Any] = {}
    latest = 0
    for path in folder.glob("plan*.json"):
        with contextlib.suppress(FormatError):
            plan = _plan(path)
            if plan is not None and plan.written > latest:
                latest = plan.written
                day = datetime.fromtimestamp(latest / 1e9, UTC).strftime("%Y-%m-%d")
                found = {**read_json(path).get("made_with", {}), "measured": day}
    return found


def read_cells(folder: Path) -> Cells:
    """Return what the cells of a folder are, by digest.

    Raises:
      StoreError: the folder holds no sweep.
    """
    return _all_and_current(folder, [])[1]


def _places(folder: Path, problems: list[str]) -> tuple[Cells, Iterator[Line]]:
    """Return the cells, and walk through each attack's first whole record of them."""
    every, current = _all_and_current(folder, problems)
    now = _as_called_now(every, current)
    current = {digest: cell for digest, cell in current.items() if digest not in now}

    def lines() -> Iterator[Line]:
        seen: set[Key] = set()
        dropped: set[Key] = set()
        unknown = 0
        for line in read_lines(folder, problems):
            line.row["cell"] = now.get(line.row["cell"], line.row["cell"])
            key = (line.row["cell"], line.row["id"])
            if key[0] not in every:
                unknown += 1
            elif key[0] not in current:
                dropped.add(key)
            elif key not in seen:
                seen.add(key)
                yield line
        if dropped:
            cells = len({digest for digest, _ in dropped})
            problems.append(
                f"{folder}: {len(dropped):,} records of {cells:,} cells that the sweep file no "
                "longer has are left out"
            )
        if unknown:
            problems.append(f"{folder}: {unknown:,} records of cells that no plan has are left out")

    return current, lines()


def _as_called_now(every: Cells, current: Cells) -> dict[str, str]:
    """Return today's digests of cells that were recorded under an earlier version's."""
    order = list(every)  # the latest plan's last
    return {
        digest: new
        for number, (digest, cell) in enumerate(every.items())
        for new in order[number + 1 :]
        if new in current and same_cell(cell, current[new])
    }


def read(folder: Path, problems: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Walk through the records, each attack once, with its cell's columns; in no special order.

    Args:
      folder: of the records.
      problems: gets a line for each thing that is left out, once all is read.
    """
    cells, lines = _places(folder, [] if problems is None else problems)
    for line in lines:
        yield {**cells[line.row["cell"]], **line.row}


class Counts(NamedTuple):
    """How many attacks of a folder are recorded, how many of these failed, and what is left out."""

    recorded: int
    failed: int
    by_cell: dict[str, int]
    problems: tuple[str, ...] = ()


def count(folder: Path) -> Counts:
    """Count the records; a sweep may be running in the folder."""
    problems: list[str] = []
    cells, lines = _places(folder, problems)
    by_cell = dict.fromkeys(cells, 0)
    failed = 0
    for line in lines:
        by_cell[line.row["cell"]] += 1
        failed += line.row["failed"] is not None
    return Counts(sum(by_cell.values()), failed, by_cell, tuple(problems))


def recorded(folder: Path) -> dict[Key, bool]:
    """Return which attacks are recorded, and whether they failed."""
    found: dict[Key, bool] = {}
    plans = _plans(folder, [])
    now = _as_called_now(*_all_and_current(folder, [])) if plans else {}
    for line in read_lines(folder, []):
        digest = now.get(line.row["cell"], line.row["cell"])
        found.setdefault((digest, line.row["id"]), line.row["failed"] is not None)
    return found


def merge(folders: Sequence[Path], out: Path) -> tuple[str, ...]:
    """Put several folders' records together in a new one.

    Returns:
      a line for each thing that was left out.

    Raises:
      StoreError: one of them holds no sweep, or `out` exists.
    """
    if os.path.lexists(out):
        raise StoreError(f"{out}: exists; merge into a new folder")
    problems: list[str] = []
    known: dict[str, tuple[str, str]] = {}
    plans = []
    for folder in folders:
        if not (found := _plans(folder, problems)):
            _all_and_current(folder, [])  # says why
        for plan in found:
            plans.append(plan)
            for digest, cell in plan.cells.items():
                of = (cell["weights"], cell["attacks"])
                if known.setdefault(digest, of) != of:
                    raise StoreError(
                        f"{folder}: holds records of victim {cell['victim']!r} with other weights "
                        "or attacks than another folder's"
                    )
    scratch = out.with_name(f"{out.name[:100]}.{os.getpid()}.part")
    try:
        scratch.mkdir(parents=True)
        for plan in sorted(plans, key=lambda plan: plan.written):
            _write(scratch, plan)
        for number, folder in enumerate(folders):
            (scratch / FOLDER).mkdir(exist_ok=True)
            lines = read_lines(folder, problems)
            for path, some in itertools.groupby(lines, key=lambda line: line.file):
                with (scratch / FOLDER / f"{number}-{path.name}").open("wb") as file:
                    file.writelines(line.raw for line in some)
            for path in sorted((folder / "pictures").glob("*")):
                (scratch / "pictures").mkdir(exist_ok=True)
                shutil.copyfile(path, scratch / "pictures" / path.name)
        os.replace(scratch, out)
    except OSError as problem:
        raise StoreError(f"{out}: cannot be written ({problem.strerror})") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return tuple(problems)


def write_parquet(folder: Path) -> Path:
    """Write all records to one Parquet file, cell by cell in the plan's order, by number.

    A row is the cell's columns and the record's. Needs pyarrow (extra `sweeps`).

    Raises:
      StoreError: it cannot be written, or a column holds values of several kinds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells, lines = _places(folder, [])
    order = {digest: number for number, digest in enumerate(cells)}
    places: dict[tuple[int, int], tuple[Path, int]] = {}
    kinds: dict[str, set[type]] = {}
    for line in lines:
        row = line.row
        places[order[row["cell"]], row["id"]] = line.file, line.offset
        for column, value in {**cells[row["cell"]], **row}.items():
            kinds.setdefault(column, set()).update(_kinds(value))
    schema = pa.schema([(column, _arrow_type(pa, kind)) for column, kind in sorted(kinds.items())])
    path = folder / PARQUET
    try:
        with replacing(path) as scratch, pq.ParquetWriter(scratch, schema) as writer:
            inorder = [places[key] for key in sorted(places)]
            for start in range(0, len(inorder), ROWS_AT_ONCE):
                rows = [_at(*place, cells) for place in inorder[start : start + ROWS_AT_ONCE]]
                columns = {name: [_plain(row.get(name)) for row in rows] for name in schema.names}
                writer.write_table(pa.table(columns, schema=schema))
    except OSError as problem:
        raise unwritable(path, problem) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise StoreError(f"{path}: not written, since a column holds text and numbers") from None
    return path


def _plain(value: Any) -> Any:
    """Return a value as Parquet takes it: tables in a list become JSON."""
    if type(value) is list and any(type(one) is dict for one in value):
        return [json.dumps(one) for one in value]
    return value


def _at(path: Path, offset: int, cells: Cells) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(offset)
        row = row_of(file.readline(), path)
    if row is None:
        raise StoreError(f"{path}: changed while it was read; run the command again")
    return {**cells[row["cell"]], **row}


class _ListOf(NamedTuple):
    """The type of a list's entries."""

    kind: type


def _kinds(value: Any) -> set[Any]:
    """Return the type of a value, and of a list those of its entries."""
    return {_ListOf(type(one)) for one in value} | {list} if type(value) is list else {type(value)}


def _arrow_type(pa: Any, kinds: set[Any]) -> Any:
    """Choose the column type that holds values of these types."""
    if list in kinds:
        return pa.list_(_arrow_type(pa, {kind.kind for kind in kinds if type(kind) is _ListOf}))
    if float in kinds:
        return pa.float64()
    for kind, arrow in ((bool, pa.bool_()), (int, pa.int64())):
        if kind in kinds:
            return arrow
    return pa.string()
