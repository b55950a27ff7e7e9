"""The search for a method's learning rate and α, which the TkMIA paper does for each method."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxadv.core.method import Chosen
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.family import norm_of_success


def candidates(
    method: Chosen, learning_rates: Sequence[float], tradeoffs: Sequence[float]
) -> list[Chosen]:
    """Return the method with every learning rate and α, in that order; its own where none is given.

    >>> from jaxadv.core.method import choose
    >>> from jaxadv.labels.methods import METHODS
    >>> len(candidates(choose(METHODS, "tkmia"), [1e-3, 5e-4], [1e-4, 5e-5]))
    4
    >>> len(candidates(choose(METHODS, "kfool"), [1e-3, 5e-4], [1e-4, 5e-5]))
    1
    """
    if not method.reads("learning_rate"):
        return [method]
    return [
        method.but(learning_rate=rate, tradeoff=tradeoff)
        for rate in learning_rates or [method.value("learning_rate")]
        for tradeoff in tradeoffs or [method.value("tradeoff")]
    ]


def best_of(
    cells: Mapping[str, Cell], rows: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str, int], Chosen]:
    """Choose the settings of each method for each selection of labels and k.

    By the largest mean Δl, then by the least APer; the measures to be deceived have no say.

    Args:
      cells: what was tried, by digest.
      rows: the records.

    Returns:
      the method with its settings, by its name, the selection and k.
    """
    found: dict[tuple[str, str, int], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if row["cell"] in cells and row["failed"] is None:
            key = (cells[row["cell"]].method.name, row["setting"], row["k"])
            found.setdefault(key, {}).setdefault(row["cell"], []).append(row)
    return {
        key: cells[min(tried, key=lambda digest: _merit(tried[digest]))].method
        for key, tried in found.items()
    }


def _merit(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    gone = sum(row["excluded"] for row in rows) / len(rows)
    norms = [norm for row in rows if (norm := norm_of_success(row)) is not None]
    return -gone, sum(norms) / len(norms) if norms else math.inf
