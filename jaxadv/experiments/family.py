"""What the engine asks a family: its methods, what a cell attacks, its jobs and its measures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxadv.core.method import Method
from jaxadv.experiments.cells import Cell, Design
from jaxadv.experiments.job import Experiment, Job, Shared
from jaxadv.experiments.panels import Panel, Records
from jaxadv.experiments.paper_tables import PaperTable
from jaxadv.experiments.shown import Shown
from jaxadv.experiments.tables import Table
from jaxadv.victims.zoo import Victim

Row = Mapping[str, Any]
Measure = Callable[[Row], float | None]


class Family(NamedTuple):
    """A family of attacks.

    Attributes:
      name: of its tables in sweep files, and of its papers' tables.
      methods: its attacks; the first is the one that is not named.
      design: what a cell attacks, a frozen dataclass with defaults.
      job: makes a cell's attacks of a victim.
      measures: of a record, by the papers' names; averaged in tables.
      rows: the columns that identify a row of its own table.
      curves: those measures that are drawn against a setting.
      panels: its own curves, by name.
      filled: columns that its records have where they were not written.
      table: makes a paper's table of a sweep's cells and records, for some victims; by default
        records are grouped and their measures averaged.
      evaluated: makes a paper's table of what an evaluation of an earlier version wrote.
      own: makes the tables of an evaluation, as `table` makes a paper's; by default `rows` and
        `measures` make one.
      shown: what a person looks at in a record; nothing by default.
      commands: those whose folders hold such records as files of JSON with pictures.
    """

    name: str
    methods: tuple[Method, ...]
    design: type[Design]
    job: Callable[[Cell, Victim, Shared], Job | Experiment]
    measures: Mapping[str, Measure]
    rows: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    panels: Mapping[str, Callable[[Records], list[Panel]]] = {}
    filled: Mapping[str, Any] = {}
    table: Callable[[PaperTable, Mapping[str, Row], Iterable[Row], Sequence[str]], Table] | None = (
        None
    )
    evaluated: Callable[[PaperTable, Any], Table] | None = None
    own: (
        Callable[[PaperTable, Mapping[str, Row], Iterable[Row], Sequence[str]], list[Table]] | None
    ) = None
    shown: Callable[[Row], Shown] | None = None
    commands: tuple[str, ...] = ()


def column(name: str) -> Measure:
    """Return the measure that is a column of a record."""
    return lambda row: row.get(name)


def norm_of_success(row: Row) -> float | None:
    """Return a record's norm where the attack succeeded."""
    return row["norm"] if row["success"] else None
