"""A sweep's records as a paper's table.

Averages are the papers': success, precision, recall and norm over all attempts (exact-caption
paper, section 5.1); the changes of the measures over all pictures and APer over the successful ones
(TkMIA paper, section 5.1). An attack that failed, that is, has no outcome, is counted and not
averaged.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.core import method as methods
from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.family import Measure
from jaxadv.experiments.paper_tables import PaperTable, TableError, paper_tables
from jaxadv.experiments.tables import (
    ALSO_OURS,
    PAPER,
    WHOSE,
    Group,
    Row,
    Table,
    compared,
    of_victims,
)
from jaxadv.formats.text import read_json

_FORMS = (
    "ΔTkAcc and ΔmAP@k as the paper's code has them, from which its tables are; APer here for "
    "pixels in [0, 1]"
)
_SEARCHED = ("learning_rate", "tradeoff")  # by the TkMIA paper, again for each of its settings


def table_of(paper: PaperTable, folder: Path, victims: Sequence[str] = ()) -> Table:
    """Make a paper's table of a folder: a sweep's, or one of `jaxadv evaluate retrieval`.

    Raises:
      InputError: the folder holds nothing of the kind.
    """
    path, family = folder / "table.json", FAMILIES[paper.task]
    if family.evaluated is not None and path.is_file() and not _has_cells(paper, folder):
        if victims:
            raise TableError("--victim: is read with a sweep's folder alone")
        return family.evaluated(paper, read_json(path))
    cells, problems = store.read_cells(folder), list[str]()
    rows = store.read(folder, problems)
    table = (family.table or tabulate)(paper, cells, rows, victims)
    return table._replace(notes=(*table.notes, *problems))


def compared_tables(
    cells: Mapping[str, Row], rows: Sequence[Row]
) -> Iterator[tuple[PaperTable, Table]]:
    """Make the papers' tables that a folder's records have a row of, as `table_of` makes them.

    Args:
      cells: what the cells of the folder are, by digest (`store.read_cells`).
      rows: its records (`store.read`).
    """
    tasks = {cell["task"] for cell in cells.values()}
    for paper in paper_tables().values():
        if paper.task not in tasks:
            continue
        try:
            table = (FAMILIES[paper.task].table or tabulate)(paper, cells, rows, ())
        except InputError:
            continue
        if _is_beside(paper, table):
            yield paper, table


def _is_beside(paper: PaperTable, table: Table) -> bool:
    """Return whether a row here has the keys of a row of the paper's."""
    if WHOSE not in table.columns:
        return False
    whose, keys = table.columns.index(WHOSE), len(paper.keys)
    ours = {row[:keys] for row in table.rows if row[whose] != PAPER}
    return any(row[:keys] in ours for row in table.rows if row[whose] == PAPER)


def _has_cells(paper: PaperTable, folder: Path) -> bool:
    """Return whether a folder has a plan with cells of a table's family."""
    if not store.holds_plan(folder):
        return False
    return any(cell["task"] == paper.task for cell in store.read_cells(folder).values())


def own_tables(
    task: str, folder: Path, measures: Mapping[str, Measure] | None = None
) -> list[Table]:
    """Make the tables of an evaluation's folder, of all its victims and without a paper's numbers.

    Args:
      task: the family's name.
      folder: of the records.
      measures: the columns of numbers; the family's by default.

    Raises:
      InputError: the folder holds nothing of the kind.
    """
    family = FAMILIES[task]
    measures = family.measures if measures is None else measures
    paper, cells, rows = own_records(task, folder)
    if family.own is not None:
        return [_without_empty(table) for table in family.own(paper, cells, rows, ())]
    groups, extra, _ = _grouped(paper, choose(paper, cells, ()), rows, measures)
    table = compared(paper._replace(measures=tuple(measures)), groups, extra)
    own = (cell["victim"] for cell in cells.values() if cell["task"] == task)
    names = ", ".join(dict.fromkeys(own))
    return [_without_empty(table._replace(title=f"{task}: {names}", notes=()))]


def own_records(
    task: str, folder: Path
) -> tuple[PaperTable, dict[str, dict[str, Any]], Iterator[dict[str, Any]]]:
    """Return an evaluation's table of no paper, its cells by digest, and its records.

    Victims that are folders are called by the folders' names, unless two have the same.

    Raises:
      StoreError: the folder holds no sweep and no evaluation.
    """
    paper = PaperTable(f"table {task}", task, FAMILIES[task].rows)
    cells = store.read_cells(folder)
    short = _short_names([cell["victim"] for cell in cells.values()])
    renamed = {digest: {**cell, "victim": short[cell["victim"]]} for digest, cell in cells.items()}
    return paper, renamed, (_renamed(row, short) for row in store.read(folder))


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """Return the last parts of paths, or the paths where two end alike.

    >>> _short_names(["a/x", "b/y", "y"])
    {'a/x': 'x', 'b/y': 'b/y', 'y': 'y'}
    """
    ends = Counter(Path(name).name for name in dict.fromkeys(names))
    return {name: end if ends[end := Path(name).name] == 1 else name for name in names}


def _renamed(row: dict[str, Any], short: Mapping[str, str]) -> dict[str, Any]:
    row["victim"] = short[row["victim"]]
    for shown in row.get("transfer") or ():
        shown["victim"] = short.get(shown["victim"], shown["victim"])
    return row


def _without_empty(table: Table) -> Table:
    """Leave out the columns that no row has a value in, but those that say whose it is."""
    kept = [
        i
        for i, name in enumerate(table.columns)
        if name == WHOSE or any(row[i] is not None for row in table.rows)
    ]
    columns = tuple(table.columns[i] for i in kept)
    return table._replace(
        columns=columns, rows=tuple(tuple(r[i] for i in kept) for r in table.rows)
    )


class _Made(NamedTuple):
    """What groups of records are made of.

    Attributes:
      data: what was attacked.
      cells: the digests of each group's cells, by its key and seed.
      others: records of none of the groups.
    """

    data: tuple[str, ...]
    cells: dict[tuple[Any, ...], set[str]]
    others: int


def _grouped(
    paper: PaperTable,
    chosen: Mapping[str, dict[str, Any]],
    rows: Iterable[Row],
    measures: Mapping[str, Measure],
) -> tuple[list[Group], list[str], _Made]:
    """Average records by a table's keys, their victim, and what else a row would mix."""
    extra = _varied(paper, chosen)
    sums: dict[tuple[Any, ...], _Sums] = {}
    data: dict[str, None] = {}
    made: dict[tuple[Any, ...], set[str]] = {}
    others = 0
    for row in rows:
        settings = chosen.get(row["cell"])
        if settings is None or not belongs(paper, settings, row):
            others += 1
            continue
        data[_data(row)] = None
        key = tuple(key_of(name, settings, row) for name in (*paper.keys, WHOSE, *extra))
        made.setdefault((*key, settings["seed"]), set()).add(row["cell"])
        sums.setdefault(key, _Sums(measures)).add(row, settings["seed"])
    groups = [_group(paper, extra, key, sums[key]) for key in sums]
    return groups, _needed(groups, extra), _Made(tuple(data), made, others)


def tabulate(
    paper: PaperTable,
    cells: Mapping[str, Row],
    rows: Iterable[Row],
    victims: Sequence[str] = (),
) -> Table:
    """Group a sweep's records as a paper's table does, and add its numbers.

    Rows are averaged over seeds; any other setting of which there are several values becomes a
    column. Where there are attacks with the paper's own settings, others are left out.

    Args:
      paper: the table.
      cells: what the cells of the sweep are, by digest (`store.read_cells`).
      rows: its records (`store.read`).
      victims: names of victims; without any, those that are named as the paper's, or else all.

    Raises:
      TableError: none of these victims was attacked, or a sweep has no such records at all.
    """
    chosen = choose(paper, cells, victims)
    wanted = (*paper.measures, *(ALSO_OURS if _is_of_attacks(paper) else ()))
    measures = {m: f for m, f in FAMILIES[paper.task].measures.items() if m in wanted}
    groups, extra, (data, made, others) = _grouped(paper, chosen, rows, measures)
    used = [
        cell for digest, cell in chosen.items() if any(digest in some for some in made.values())
    ]
    notes = _about(paper, used, groups, extra, data)
    if any(len(some) > 1 for some in made.values()):
        notes.append("rows here put grids together that differ in their pictures or targets alone")
    if others:
        notes.append(f"records of none of this table's rows: {others}")
    return compared(paper, groups, extra, notes)


def named_rows(
    paper: PaperTable, cells: Mapping[str, Row], rows: Iterable[Row], victims: Sequence[str] = ()
) -> Iterator[tuple[str, Row]]:
    """Return a table's records that have an outcome, each with the name of what made it.

    The arguments are those of `tabulate`.
    """
    chosen = choose(paper, cells, victims)
    for row in rows:
        cell = chosen.get(row["cell"])
        if cell is not None and row["failed"] is None and belongs(paper, cell, row):
            yield f"{key_of('method', cell, row)}, {row['victim']}", row


def _is_of_attacks(paper: PaperTable) -> bool:
    """Return whether a table is of what came of attacks, not of how many there are."""
    return bool({"SR", "APer"} & set(paper.measures))


class _Sums:
    """Running sums of a row of the table: the records need not fit in memory."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        self._measures = measures
        self._totals: dict[str, dict[Any, tuple[float, int]]] = {m: {} for m in self._measures}
        self.count = self.failed = 0

    def add(self, row: Row, seed: Any) -> None:
        if row["failed"] is not None:
            self.failed += 1
            return
        self.count += 1
        for measure, of in self._measures.items():
            value = of(row)
            if value is not None:
                total, count = self._totals[measure].get(seed, (0.0, 0))
                self._totals[measure][seed] = (total + value, count + 1)

    @property
    def means(self) -> dict[str, float]:
        """Averages over all attempts, of whatever seed."""
        sums = {m: tuple(map(sum, zip(*t.values(), strict=True))) for m, t in self._totals.items()}
        return {m: some[0] / some[1] for m, some in sums.items() if some}

    @property
    def by_seed(self) -> dict[str, list[float]]:
        """Averages of each seed, where there are several."""
        return {
            measure: [total / count for total, count in some.values()]
            for measure, some in self._totals.items()
            if len(some) > 1
        }


def _group(paper: PaperTable, extra: Sequence[str], key: tuple[Any, ...], sums: _Sums) -> Group:
    end = len(paper.keys)
    return Group(
        dict(zip(paper.keys, key[:end], strict=True)),
        key[end],
        dict(zip(extra, key[end + 1 :], strict=True)),
        sums.count,
        sums.failed,
        sums.means,
        sums.by_seed,
    )


def choose(
    paper: PaperTable, cells: Mapping[str, Row], victims: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the cells that a table is made of, with their settings filled in, by digest.

    Raises:
      TableError: none of these victims was attacked, or a sweep has no such records at all.
    """
    here = {d: _filled(cell) for d, cell in of_victims(paper, cells, victims).items()}
    for column in dict.fromkeys(
        column for cell in here.values() for column in _own_settings(paper, cell["method"])
    ):
        here = _with_papers(paper, here, column)
    return here


def _own_settings(paper: PaperTable, method: str) -> dict[str, Any]:
    """Return the settings that the table names, for a method."""
    for_all = {k: v for k, v in paper.settings.items() if not isinstance(v, dict)}
    return {**for_all, **paper.settings.get(method, {})}


def _with_papers(
    paper: PaperTable, cells: dict[str, dict[str, Any]], column: str
) -> dict[str, dict[str, Any]]:
    """Keep, of every victim and method, the cells with the paper's value if there are any."""
    as_paper = {
        digest
        for digest, cell in cells.items()
        if column not in cell or cell[column] == _own_settings(paper, cell["method"]).get(column)
    }
    some = {(cells[digest]["victim"], cells[digest]["method"]) for digest in as_paper}
    return {
        digest: cell
        for digest, cell in cells.items()
        if digest in as_paper or (cell["victim"], cell["method"]) not in some
    }


def _filled(cell: Row) -> dict[str, Any]:
    """Return a cell's columns; for a setting that was not given, what the method takes."""
    own = _own_values(cell["task"], cell["method"])
    family = FAMILIES.get(cell["task"])
    every = {**dict.fromkeys(family.filled if family else ()), **cell}
    return {column: own.get(column) if v is None else v for column, v in every.items()}


@functools.cache
def _own_values(task: str, method: str) -> dict[str, Any]:
    """Return the settings that a method reads, at its own values; {} for one that nobody knows."""
    try:
        family = FAMILIES[task]
        return {**methods.choose(family.methods, method).used, **family.filled}
    except (InputError, KeyError):
        return {}


def _varied(paper: PaperTable, cells: Mapping[str, Row]) -> list[str]:
    """Name the settings that a row of the table would else mix."""
    seen: dict[tuple[Any, ...], dict[str, set[Any]]] = {}
    told = (
        *paper.keys,
        WHOSE,
        "task",
        "seed",
        "attacks",
        *(["loss"] if "method" in paper.keys else []),
    )
    for cell in cells.values():
        key = tuple(key_of(name, cell, cell) for name in (*paper.keys, WHOSE) if name in cell)
        for column, value in cell.items():
            if column not in told:
                seen.setdefault(key, {}).setdefault(column, set()).add(value)
    return list(dict.fromkeys(c for found in seen.values() for c in found if len(found[c]) > 1))


def _needed(groups: Sequence[Group], extra: Sequence[str]) -> list[str]:
    """Keep the columns without which two rows would look alike."""
    seen: dict[tuple[Any, ...], dict[str, set[Any]]] = {}
    for group in groups:
        found = seen.setdefault((*group.keys.values(), group.victim), {})
        for column in extra:
            found.setdefault(column, set()).add(group.extra[column])
    return [c for c in extra if any(len(found[c]) > 1 for found in seen.values())]


def key_of(name: str, settings: Row, row: Row) -> Any:
    """Say a record's value in a column that tells rows apart, with its cell's filled settings."""
    if name == "method" and settings["method"] == "show-and-fool":
        return f"show-and-fool {settings['loss']}"
    if name == "data":
        return _data(row)
    return settings[name] if name in settings else row.get(name)


def belongs(paper: PaperTable, settings: Row, row: Row) -> bool:
    """Return whether a record of a chosen cell is of a table."""
    return all(
        (_selection(row) if name == "selection" else settings.get(name, row.get(name))) in allowed
        for name, allowed in paper.where.items()
    )


def _selection(row: Row) -> str:
    """Say how labels were specified; a setting of random selection is called "2 labels"."""
    return "random" if row["setting"].endswith(" labels") else "global"


def _data(row: Row) -> str:
    of_scenes = row["data"] == "scenes" if "data" in row else row["image"].startswith("scene-")
    return "scenes" if of_scenes else "photographs"


def _about(
    paper: PaperTable,
    cells: Sequence[Row],
    groups: Sequence[Group],
    extra: Sequence[str],
    data: Iterable[str],
) -> list[str]:
    """Say what is not as in the paper."""
    victims = ", ".join(dict.fromkeys(group.victim for group in groups))
    if not groups:
        return ["here: no record of this table yet"]
    notes = [
        f"here: {victims}; {', '.join(data)}: other data and another victim than the paper's, so "
        "compare which row is better, not the numbers"
    ]
    if "scenes" not in data:
        notes = [f"here: {victims}; {', '.join(data)}: comparable where these are the paper's"]
    if _is_of_attacks(paper):
        notes += dict.fromkeys(note for cell in cells if (note := _otherwise(paper, cell, extra)))
    if paper.task == "labels" and "APer" in paper.measures:
        notes.append(_FORMS)
    failed = sum(group.failed for group in groups)
    if failed:
        notes.append(f"attacks that failed, counted and not averaged: {failed}")
    return notes


def _otherwise(paper: PaperTable, cell: Row, extra: Sequence[str]) -> str:
    """Say what was set otherwise than in the paper, but for what is a column."""
    method = cell["method"]
    papers = {**_own_values(paper.task, method), **_own_settings(paper, method)}
    told = {"loss", *paper.keys, *extra}
    searched = _SEARCHED if paper.task == "labels" else ()
    other = [
        f"{column} {cell[column]} (the paper{' searches' if column in searched else f': {value}'})"
        for column, value in papers.items()
        if column not in told and cell.get(column, value) != value
    ]
    return f"{method} here with {', '.join(other)}" if other else ""
