"""What a curve is, before it is drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxadv.experiments.paper_tables import PaperTable
from jaxadv.experiments.tables import Table

Row = Mapping[str, Any]


class Line(NamedTuple):
    """A line of a panel.

    Attributes:
      name: of it.
      x, y: the points.
      papers: whether they are the paper's.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    papers: bool = False


class Bars(NamedTuple):
    """How many words were said and missed at each place."""

    x: tuple[float, ...]
    said: tuple[int, ...]
    missed: tuple[int, ...]


class Panel(NamedTuple):
    """A plot.

    Attributes:
      title: of it; may be empty.
      x, y: what is along the axes.
      lines: what is drawn.
      bars: counts behind the lines.
      logarithmic: whether x is.
      steps: whether the lines stay where they are until the next point.
    """

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    bars: Bars | None = None
    logarithmic: bool = False
    steps: bool = False


class Records(NamedTuple):
    """What a curve of a family is made of.

    Attributes:
      paper: the table that it goes with.
      cells: of the folder, by digest.
      rows: the records.
      victims: names of victims; those of the table's by default.
      named: those records that are the table's and have an outcome, each with the name of what made
        it.
    """

    paper: PaperTable
    cells: Mapping[str, Row]
    rows: Iterable[Row]
    victims: Sequence[str]
    named: Iterable[tuple[str, Row]]


def points_of(panel: Panel) -> Table:
    """Return the points of a panel's lines as a table."""
    rows = tuple(
        (line.name, x, y) for line in panel.lines for x, y in zip(line.x, line.y, strict=True)
    )
    return Table(panel.title, ("line", panel.x, panel.y), rows, ())
