"""Tables of ours with a paper's."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev
from typing import Any, NamedTuple

from jaxadv.experiments.paper_tables import COUNT, PaperTable, TableError

PAPER = "paper"
WHOSE = "victim"
ALSO_OURS = ("SR", "SR 8-bit")  # ours, also where the paper has none
_NUMBERS_THAT_NAME = ("tradeoff", "learning_rate")
Value = str | int | float | None
Row = Mapping[str, Any]


class Table(NamedTuple):
    """A table to be written.

    Attributes:
      title: of what.
      columns: names.
      rows: a value for each column; None where there is none.
      notes: what to know before comparing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...]


class Group(NamedTuple):
    """What a row of ours is made of.

    Attributes:
      keys: what tells it from other rows of the paper's table.
      victim: the victim's name.
      extra: what else tells it apart, here.
      attempts: those with an outcome.
      failed: how many have none.
      values: averages, by measure.
      seeds: averages of each seed alone, by measure; empty where there is one seed.
    """

    keys: dict[str, Any]
    victim: str
    extra: dict[str, Any]
    attempts: int
    failed: int
    values: dict[str, float]
    seeds: dict[str, list[float]]


def of_victims(
    paper: PaperTable, cells: Mapping[str, Row], victims: Sequence[str]
) -> dict[str, Row]:
    """Return the cells of a table's kind, by digest: of these victims, or those named as its own.

    Raises:
      TableError: none of these victims was attacked, or a sweep has no such records at all.
    """
    here = {digest: cell for digest, cell in cells.items() if cell["task"] == paper.task}
    if not here:
        raise TableError(f"{paper.name}: is of {paper.task}, of which this sweep has no attack")
    names = dict.fromkeys(cell["victim"] for cell in here.values())
    for name in victims:
        if name not in names:
            raise TableError(f"victim {name!r}: must be among {', '.join(names)}")
    like = [name for name in names if any(word in name for word in paper.named)]
    wanted = victims or like or list(names)
    return {digest: cell for digest, cell in here.items() if cell["victim"] in wanted}


def compared(
    paper: PaperTable, groups: Sequence[Group], extra: Sequence[str] = (), notes: Sequence[str] = ()
) -> Table:
    """Lay out rows of ours, each above the paper's of the same keys; then the paper's others."""
    ours: dict[tuple[Any, ...], list[Group]] = {}
    for group in sorted(groups, key=_order):
        ours.setdefault(tuple(group.keys.values()), []).append(group)
    theirs = {tuple(row.keys.values()): row for row in paper.rows}
    added = [m for m in ALSO_OURS if any(m in g.values for g in groups) and m not in paper.measures]
    spread = [m for m in (*paper.measures, *added) if any(m in g.seeds for g in groups)]
    measures = [
        column
        for measure in (*paper.measures, *added)
        for column in (measure, *([f"{measure} ±"] if measure in spread else []))
    ]
    counts = COUNT if groups or any(COUNT in row.values for row in paper.rows) else None
    own = [*([WHOSE] if groups else []), *extra]
    counted = [name for name in (counts, "failed" if groups else None) if name]
    columns = (*paper.keys, *own, *counted, *measures)
    found: list[tuple[Value, ...]] = []

    def line(keys: Iterable[Any], values: Row) -> None:
        named = {**dict(zip(paper.keys, keys, strict=True)), **values}
        found.append(tuple(_written(name, named.get(name)) for name in columns))

    for keys in (*(k for k in theirs if k in ours), *(k for k in ours if k not in theirs)):
        for group in ours[keys]:
            told = {WHOSE: group.victim, COUNT: group.attempts, "failed": group.failed}
            deviations = {f"{m} ±": stdev(values) for m, values in group.seeds.items()}
            line(keys, {**group.extra, **told, **group.values, **deviations})
        if keys in theirs:
            line(keys, {WHOSE: PAPER, **theirs[keys].values})
    for keys in (k for k in theirs if k not in ours):
        line(keys, {WHOSE: PAPER, **theirs[keys].values})
    about = f"the paper: {paper.victim}; {paper.data}"
    runs = ["±: standard deviation of the seeds' averages"] if spread else []
    notes = (about, *notes, *paper.notes, *runs)
    return Table(f"{paper.title}: {paper.caption}", columns, tuple(found), notes)


def _written(column: str, value: Any) -> Value:
    """Write a setting as the papers do, and a count as such."""
    if column == COUNT and value is not None:
        return int(value)
    is_name = column in _NUMBERS_THAT_NAME and isinstance(value, int | float)
    return f"{value:g}" if is_name else value


def _order(group: Group) -> list[tuple[bool, bool, Any]]:
    values = (*group.keys.values(), group.victim, *group.extra.values())
    return [(value is not None, isinstance(value, str), value) for value in values]


def papers_own(paper: PaperTable) -> Table:
    """Return a paper's table alone."""
    return compared(paper, ())
