"""What attacked and benign queries find, as tables: MAP before, after, and on other victims."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxadv.experiments.retrieval import FULL, NONE
from jaxadv.experiments.tables import Table, Value

DIRECTIONS = {"image": ("I2T", "I2I"), "text": ("T2I", "T2T")}
"""What queries of a modality ask for: the other modality, and their own."""


AT = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Of how many first results a record has the precision."""


def retrieval_tables(found: Mapping[str, Any]) -> list[Table]:
    """Lay out what `as_evaluated` found: the columns of the paper's Tables 1-3."""
    attacked = [_attacked(found, modality) for modality in DIRECTIONS]
    return [_regular(found), *filter(None, attacked), *_matrices(found)]


def _regular(found: Mapping[str, Any]) -> Table:
    """Table 1: MAP of the queries as they are."""
    benign = [cell for cell in found["cells"] if cell["attack"] == NONE]
    columns = [d for names in DIRECTIONS.values() for d in names if any(d in c for c in benign)]
    rows = []
    for victim in dict.fromkeys(cell["victim"] for cell in benign):
        own: dict[str, Any] = {}
        for cell in benign:
            own |= cell if cell["victim"] == victim else {}
        rows.append((victim, found["victims"][victim], *map(own.get, columns)))
    return Table("MAP, regular", ("victim", "K", *columns), tuple(rows), ())


def _attacked(found: Mapping[str, Any], modality: str) -> Table | None:
    """Table 2 (Table 3 on victims that were trained adversarially), and Figure 5's ablation."""
    cross, own = DIRECTIONS[modality]
    cells = [cell for cell in found["cells"] if cross in cell]
    if not cells:
        return None
    extra = tuple(found["extra"])
    columns = ("victim", "attack", "steps", *extra, cross, f"{cross} 8-bit", own)
    rows: list[tuple[Value, ...]] = [
        (
            cell["victim"],
            cell["attack"],
            cell["iterations"],
            *(cell["extra"][name] for name in extra),
            cell[cross],
            cell["cross_8bit"],
            cell[own],
            cell["D"],
            cell["first wrong"],
            cell["count"],
            cell["failed"],
            cell["seconds"],
        )
        for cell in sorted(cells, key=lambda c: (c["victim"], c["attack"] != NONE))
    ]
    more = ("D", "first wrong", "n", "failed", "s/attack")
    return Table(f"MAP, {modality}s attacked", (*columns, *more), tuple(rows), ())


def _matrices(found: Mapping[str, Any]) -> list[Table]:
    """Return how queries that were attacked on the row's victim do on the column's."""
    tables = []
    for modality, (cross, _) in DIRECTIONS.items():
        moved = [t for t in found["transfers"] if t["modality"] == modality]
        if not moved:
            continue
        most = max(t["iterations"] for t in moved)
        shares = {(t["source"], t["victim"]): t["precision"] for t in _of(moved, most)}
        for cell in found["cells"]:
            if cross in cell and cell["attack"] == NONE:
                shares["nothing", cell["victim"]] = cell[cross]
            if cross in cell and (cell["attack"], cell["iterations"]) == (FULL, most):
                shares[cell["victim"], cell["victim"]] = cell[cross]
        names = list(found["victims"])
        rows = tuple((row, *(shares.get((row, name)) for name in names)) for row in _rows(names))
        title = f"{cross} MAP of {modality}s attacked on, {most} steps"
        tables.append(Table(title, ("", *names), rows, ()))
    return tables


def _of(moved: Sequence[Mapping[str, Any]], steps: int) -> list[Mapping[str, Any]]:
    return [one for one in moved if one["iterations"] == steps]


def _rows(names: Sequence[str]) -> list[str]:
    return ["nothing", *names]
