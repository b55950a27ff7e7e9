"""Curves from a sweep's records: by a setting, by steps taken, by the place of a word."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.captions.target import GAP, OPEN
from jaxadv.experiments import store
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.paper_tables import PaperTable, TableError
from jaxadv.experiments.record_tables import belongs, choose, key_of, tabulate
from jaxadv.experiments.retrieval import ABLATED, FULL, NONE
from jaxadv.experiments.retrieval_records import as_evaluated
from jaxadv.experiments.retrieval_tables import AT, DIRECTIONS
from jaxadv.experiments.tables import PAPER, WHOSE, Table

LOCATIONS = 7  # Figure 3 of the exact-caption paper: captions differ in length
TRADES = {"intra": "β", "keep": "keep"}  # what trades one modality's MAP for the other's
_LABELS = {"tradeoff": "λ", "learning_rate": "learning rate"}


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


def panels_of(
    paper: PaperTable, folder: Path, victims: Sequence[str] = (), curve: str | None = None
) -> list[Panel]:
    """Return the curve that goes with a paper's table, or another one, of a sweep's folder.

    Args:
      paper: the table: which records.
      folder: of the records.
      victims: as for `record_tables.tabulate`.
      curve: "location" (of words), "steps" (taken), "frontier" (of CMLA's two aims),
        "precision-recall" or "precision-at" (of retrieval) or the name of a setting; by default the
        table's own.

    Raises:
      InputError: there is no such curve, or no record for it.
    """
    curve = curve or paper.curve
    cells = store.read_cells(folder)
    if not curve:
        raise TableError(f"{paper.name}: has no curve of its own; name a setting")
    if curve == "frontier":
        if paper.task != "retrieval":
            raise TableError(f"{paper.name}: the frontier is of retrieval")
        return [frontier(as_evaluated(paper, cells, store.read(folder), victims))]
    if curve in ("precision-recall", "precision-at"):
        if paper.task != "retrieval":
            raise TableError(f"{paper.name}: {curve} is of retrieval")
        return [retrieved(as_evaluated(paper, cells, store.read(folder), victims), curve)]
    if curve not in ("location", "steps"):
        return against(paper, cells, store.read(folder), curve, victims)
    chosen = choose(paper, cells, victims)
    rows = (
        (f"{key_of('method', cell, row)}, {row['victim']}", row)
        for row in store.read(folder)
        if (cell := chosen.get(row["cell"])) is not None
        and row["failed"] is None
        and belongs(paper, cell, row)
    )
    if curve == "steps":
        return [by_steps(rows)]
    if paper.task != "captions":
        raise TableError(f"{paper.name}: words have a location in captions only")
    return by_location(rows)


def frontier(found: Mapping[str, Any]) -> Panel:
    """Plot MAP in the own modality against MAP in the other one, over what trades them.

    An attack wants the other modality low and its own high; CMLA's intra-modal weight β (of texts
    ξ) trades them, and the `keep` of an attack that has it.

    Args:
      found: of `retrieval_records.as_evaluated`.
    """
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for cell in found["cells"]:
        cross, own = DIRECTIONS["image" if "I2T" in cell else "text"]
        paper = cell["attack"] in (NONE, FULL, ABLATED)
        told = [f"{k} {v}" for k, v in cell["extra"].items() if k not in TRADES and v != ""]
        told += [] if paper else [cell["attack"]]
        when = "benign" if cell["attack"] == NONE else f"{cell['iterations']} steps"
        name = ", ".join((cell["victim"], f"{cross}/{own}", *told, when))
        trade = "intra" if paper else "keep"
        line = points.setdefault((name, TRADES[trade]), [])
        line.append((cell[trade] or 0.0, cell[cross], cell[own]))
    drawn = []
    for (name, symbol), some in points.items():
        weights, x, y = zip(*sorted(some), strict=True)
        over = f", {symbol} {', '.join(f'{w:g}' for w in weights)}" if len(weights) > 1 else ""
        drawn.append(Line(name + over, x, y))
    return Panel("", "MAP in the other modality", "MAP in the own modality", tuple(drawn))


def retrieved(found: Mapping[str, Any], curve: str) -> Panel:
    """Plot Figure 3 of the CMLA paper: what benign and attacked queries find in the other modality.

    Args:
      found: of `retrieval_records.as_evaluated`.
      curve: "precision-recall", within every Hamming radius; or "precision-at", of the first n.

    Raises:
      TableError: the records are of a version that kept no curves.
    """
    lines = []
    for cell in found["cells"]:
        points = cell["curve"]
        if points is None:
            continue
        direction = DIRECTIONS["image" if "I2T" in cell else "text"][0]
        told = [f"{k} {v}" for k, v in cell["extra"].items() if v != ""]
        benign = cell["attack"] == NONE
        when = "benign" if benign else f"{cell['attack']}, {cell['iterations']} steps"
        name = ", ".join((cell["victim"], direction, *told, when))
        recall, at = points["recall"], points["precision_at"]
        x = recall if curve == "precision-recall" else AT[: len(at)]
        y = points["precision"] if curve == "precision-recall" else at
        lines.append(Line(name, tuple(x), tuple(y)))
    if not lines:
        raise TableError(f"{curve}: these records keep no curves; sweep again into a new folder")
    along = "recall" if curve == "precision-recall" else "first results"
    return Panel("", along, "precision", tuple(lines), logarithmic=curve == "precision-at")


def points_of(panel: Panel) -> Table:
    """Return the points of a panel's lines as a table."""
    rows = tuple(
        (line.name, x, y) for line in panel.lines for x, y in zip(line.x, line.y, strict=True)
    )
    return Table(panel.title, ("line", panel.x, panel.y), rows, ())


def by_location(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Panel]:
    """Count the wanted words said at each place: Figure 3 of the exact-caption paper.

    Args:
      rows: records that have an outcome, each with the name of what made it.

    Returns:
      a panel for each name with targets of one observed word, and for each with complete ones.
    """
    counts: dict[tuple[str, str], list[list[int]]] = {}
    for name, row in rows:
        if row["setting"] not in ("1 obser", "0 latent"):
            continue
        found = counts.setdefault((name, row["setting"]), [[0, 0] for _ in range(LOCATIONS)])
        said = row["said"].split()
        kept = row["setting"] == "1 obser"  # the first word, which section 5.1 did not choose
        for place, word in enumerate(row["target"].split()[:LOCATIONS]):
            if word not in (GAP, OPEN) and not (kept and place == 0):
                found[place][said[place : place + 1] == [word]] += 1
    return [_located(*key, found) for key, found in sorted(counts.items())]


def _located(name: str, setting: str, counts: Sequence[Sequence[int]]) -> Panel:
    seen = [(place, *both) for place, both in enumerate(counts, start=1) if sum(both)]
    places = tuple(float(place) for place, _, _ in seen)
    rate = Line("success rate", places, tuple(said / (said + no) for _, no, said in seen))
    bars = Bars(places, tuple(said for *_, said in seen), tuple(no for _, no, _ in seen))
    return Panel(f"{name}: {setting}", "location of the word", "success rate", (rate,), bars)


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
        allowed = ", ".join(["location", "steps", *numbers])
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
