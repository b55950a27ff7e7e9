"""The families that sweeps and tables are of; one that is added here is in all of them."""

from collections.abc import Mapping
from typing import Any

from jaxadv.core.method import Chosen
from jaxadv.experiments.backdoor_jobs import BACKDOOR
from jaxadv.experiments.caption_jobs import CAPTIONS
from jaxadv.experiments.cells import OLD_NAMES
from jaxadv.experiments.family import Family
from jaxadv.experiments.label_jobs import LABELS
from jaxadv.experiments.retrieval_jobs import RETRIEVAL
from jaxadv.experiments.understanding import UNDERSTANDING

FAMILIES: dict[str, Family] = {
    family.name: family for family in (CAPTIONS, UNDERSTANDING, LABELS, RETRIEVAL, BACKDOOR)
}


def renamed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored cell's columns as they are called now."""
    return {OLD_NAMES.get(name, name): value for name, value in columns.items()}


def same_cell(stored: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Return whether columns that an earlier version stored are those of a cell of today.

    An option that came later is at its default there; one that the method does not read is passed
    over.
    """
    if stored["task"] != cell["task"] or stored["method"] != cell["method"]:
        return False
    family = FAMILIES.get(cell["task"])
    methods = {method.name: method for method in family.methods} if family else {}
    if cell["method"] not in methods:
        return False
    own = Chosen(methods[cell["method"]], methods[cell["method"]].options()).used
    return all(
        (own.get(name) if stored.get(name) is None else stored[name]) == value
        for name, value in cell.items()
    )
