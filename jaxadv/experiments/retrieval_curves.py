"""What attacked and benign queries find, as curves: the frontier, precision and recall."""

from collections.abc import Mapping
from typing import Any

from jaxadv.experiments.panels import Line, Panel
from jaxadv.experiments.paper_tables import TableError
from jaxadv.experiments.retrieval import ABLATED, FULL, NONE
from jaxadv.experiments.retrieval_tables import AT, DIRECTIONS

TRADES = {"intra": "β", "keep": "keep"}  # what trades one modality's MAP for the other's


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
