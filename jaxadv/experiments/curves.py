"""Curves from a sweep's records: by a setting, by steps taken, and those of a family alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.panels import Line, Panel, Records
from jaxadv.experiments.paper_tables import PaperTable, TableError
from jaxadv.experiments.record_tables import choose, named_rows, tabulate
from jaxadv.experiments.tables import PAPER, WHOSE

_LABELS = {"tradeoff": "λ", "learning_rate": "learning rate"}


def panels_of(
    paper: PaperTable, folder: Path, victims: Sequence[str] = (), curve: str | None = None
) -> list[Panel]:
    """Return the curve that goes with a paper's table, or another one, of a sweep's folder.

    Args:
      paper: the table: which records.
      folder: of the records.
      victims: as for `record_tables.tabulate`.
      curve: "steps" (taken), one of the family's own (`Family.panels`) or the name of a setting;
        by default the table's.

    Raises:
      InputError: there is no such curve, or no record for it.
    """
    curve = curve or paper.curve
    if not curve:
        raise TableError(f"{paper.name}: has no curve of its own; name a setting")
    cells = store.read_cells(folder)
    rows, named = store.read(folder), named_rows(paper, cells, store.read(folder), victims)
    own = FAMILIES[paper.task].panels
    if curve in own:
        return own[curve](Records(paper, cells, rows, victims, named))
    for family in FAMILIES.values():
        if curve in family.panels:
            raise TableError(f"{paper.name}: {curve} is a curve of {family.name} only")
    if curve == "steps":
        return [by_steps(named)]
    return against(paper, cells, rows, curve, victims)


def every_curve(
    paper: PaperTable, cells: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, list[Panel]]]:
    """Return all curves of some records that there are points for, each with its name.

    Args:
      paper: the table that says which records.
      cells: what the cells of the folder are, by digest (`store.read_cells`).
      rows: its records (`store.read`).
    """
    for name, panel in FAMILIES[paper.task].panels.items():
        of = Records(paper, cells, rows, (), named_rows(paper, cells, rows))
        yield from _if_drawn(name, partial(panel, of))
    if FAMILIES[paper.task].measures:
        yield from _if_drawn("steps", lambda: [by_steps(named_rows(paper, cells, rows))])
        for setting in _varied_numbers(paper, cells):
            yield from _if_drawn(setting, partial(against, paper, cells, rows, setting))


def _if_drawn(name: str, make: Callable[[], list[Panel]]) -> Iterator[tuple[str, list[Panel]]]:
    try:
        panels = make()
    except (InputError, KeyError):  # a record of another version may lack what the curve is of
        return
    if any(len(line.x) > 1 for panel in panels for line in panel.lines):
        yield name, panels


def _varied_numbers(paper: PaperTable, cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the settings of which one victim and method have several numbers."""
    seen: dict[tuple[Any, ...], dict[str, set[float]]] = {}
    for cell in choose(paper, cells, ()).values():
        found = seen.setdefault((cell["victim"], cell["method"]), {})
        for column, value in cell.items():
            if type(value) in (int, float) and column != "seed":
                found.setdefault(column, set()).add(value)
    return list(dict.fromkeys(c for some in seen.values() for c in some if len(some[c]) > 1))


def by_steps(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Panel:
    """Say what share of all attempts had succeeded by a number of steps.

    Args:
      rows: records that have an outcome, each with the name of what made it.
    """
    ends: dict[str, list[int | None]] = {}
    for name, row in rows:
        ends.setdefault(name, []).append(row["steps"] if row["success"] else None)
    lines = []
    for name, found in sorted(ends.items()):
        taken = sorted(end for end in found if end is not None)
        shares = tuple(done / len(found) for done in range(1, len(taken) + 1))
        lines.append(Line(name, (0.0, *map(float, taken)), (0.0, *shares)))
    return Panel("", "steps", "share that has succeeded", tuple(lines), steps=True)


def against(
    paper: PaperTable,
    cells: Mapping[str, Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    setting: str,
    victims: Sequence[str] = (),
) -> list[Panel]:
    """Return success and norm by a setting: Table 2 of the exact-caption paper as a picture.

    Of backdoors: success, false triggers and captions of benign pictures.

    Raises:
      TableError: no setting of that name is a number.
    """
    numbers = sorted(
        {
            column
            for cell in choose(paper, cells, victims).values()
            for column, value in cell.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    )
    if setting not in numbers:
        allowed = ", ".join(["steps", *FAMILIES[paper.task].panels, *numbers])
        raise TableError(f"curve {setting!r}: must be one of {allowed}")
    if setting not in paper.keys:
        kept = {k: v for k, v in paper.settings.items() if k != setting}
        paper = paper._replace(keys=(*paper.keys, setting), settings=kept, rows=())
    table = tabulate(paper, cells, rows, victims)
    measures = FAMILIES[paper.task].curves
    told = [c for c in table.columns if c not in (*paper.measures, "n", "failed", "SR", "SR 8-bit")]
    panels = []
    for measure in measures:
        points: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
        for values in table.rows:
            row = dict(zip(table.columns, values, strict=True))
            x, y = row[setting], row.get(measure)
            if x is not None and isinstance(y, int | float):
                name = tuple(row[column] for column in told if column != setting)
                points.setdefault(name, []).append((float(x), y))
        lines = tuple(_line(told, setting, name, some) for name, some in points.items())
        wide = {x > 0 for line in lines for x in line.x} == {True} and setting == "tradeoff"
        label = _LABELS.get(setting, setting)
        panels.append(Panel("", label, measure, lines, logarithmic=wide))
    return panels


def _line(
    told: Sequence[str], setting: str, name: tuple[Any, ...], points: list[tuple[float, float]]
) -> Line:
    whose = [column for column in told if column != setting].index(WHOSE)
    x, y = zip(*sorted(points), strict=True)
    words = ", ".join(str(value) for value in name if value is not None)
    return Line(words, x, y, papers=name[whose] == PAPER)
