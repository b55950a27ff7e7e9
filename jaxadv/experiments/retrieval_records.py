"""CMLA's tables of records: of a sweep's, or of what `jaxadv evaluate retrieval` wrote."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.experiments.paper_tables import PaperTable, TableError
from jaxadv.experiments.retrieval import ABLATED, FULL, NONE
from jaxadv.experiments.retrieval_tables import DIRECTIONS
from jaxadv.experiments.tables import Group, Row, Table, compared, of_victims

BEFORE = {"codes": "outputs"}
"""Of options that came later: what records that do not name them were made with."""

# on which victim the queries were attacked that an adversarially trained one is shown
BENIGN, IDENTICAL, AGAIN = "benign", "identical attacks", "attacked again"

# settings that tell rows apart where a sweep has several values of them
_APART = ("bound", "learning_rate", "norm", "inter", "distortion", "non_negative", "codes", "keep")


def tabulate_retrieval(paper: PaperTable, found: Mapping[str, Any]) -> Table:
    """Put a CMLA table next to what `jaxadv evaluate retrieval` wrote into table.json.

    Raises:
      TableError: what was found is nothing of that kind, or the table needs what it does not say.
    """
    if not _is_evaluation(found):
        raise TableError(f"{paper.name}: table.json is not of jaxadv evaluate retrieval")
    directions = dict.fromkeys(row.keys["direction"] for row in paper.rows)
    groups = [
        _retrieved(paper, cell, direction, found)
        for cell in found["cells"]
        for direction in directions
        if direction in cell and cell["attack"] in paper.where["attack"]
    ]
    if "protocol" in paper.keys:
        groups += [
            _retrieved(paper, cell, direction, found, IDENTICAL)
            for cell in _identical_attacks(found)
            for direction in directions
            if direction in cell
        ]
    note = (
        f"here: {', '.join(found['victims'])}; {found.get('data', 'scenes')}: other data and other "
        "victims than the paper's, so compare which row is better, not the numbers"
    )
    failed = sum(group.failed for group in groups)
    notes = [note]
    if failed:
        notes.append(f"attacks that failed, counted and not averaged: {failed}")
    return compared(paper, groups, found.get("extra", ()), notes)


def _identical_attacks(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how queries do that were attacked on the victim before its adversarial training."""
    samples, begun = found.get("samples") or {}, found.get("from") or {}
    cells = []
    for moved in found.get("transfers", ()):
        source, victim = moved["source"], moved["victim"]
        before = begun.get(victim)
        if not samples.get(victim) or before is None or Path(before).name != Path(source).name:
            continue
        direction = DIRECTIONS[moved["modality"]][0]
        cells.append({**moved, "attack": FULL, direction: moved["precision"]})
    return cells


def _is_evaluation(found: Any) -> bool:
    """Whether what a file holds has the form of what `jaxadv evaluate retrieval` writes."""
    if not isinstance(found, dict):
        return False
    victims, cells, samples = (found.get(name) for name in ("victims", "cells", "samples"))
    return (
        _all(victims, lambda value: type(value) is int)
        and (samples is None or _all(samples, lambda value: type(value) is int))
        and type(found.get("queries")) is int
        and isinstance(found.get("data", ""), str)
        and isinstance(cells, list)
        and all(_is_cell(cell, victims) for cell in cells)
        and _all(found.get("from", {}), lambda value: value is None or isinstance(value, str))
        and isinstance(found.get("transfers", []), list)
        and all(_is_transfer(moved, victims) for moved in found.get("transfers", []))
    )


def _is_transfer(moved: Any, victims: Any) -> bool:
    return (
        isinstance(moved, dict)
        and isinstance(moved.get("source"), str)
        and isinstance(moved.get("victim"), str)
        and moved["victim"] in victims
        and moved.get("modality") in tuple(DIRECTIONS)
        and isinstance(moved.get("precision"), int | float)
    )


def _all(values: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(values, dict) and all(map(fits, values.values()))


def _is_cell(cell: Any, victims: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("victim"), str):
        return False
    every = (name for names in DIRECTIONS.values() for name in names)
    numbers = [cell[name] for name in every if name in cell] + [cell.get("D")]
    return (
        cell["victim"] in victims
        and isinstance(cell.get("attack"), str)
        and type(cell.get("iterations")) is int
        and all(isinstance(number, int | float) for number in numbers)
    )


def as_evaluated(
    paper: PaperTable, cells: Mapping[str, Row], rows: Iterable[Row], victims: Sequence[str]
) -> dict[str, Any]:
    """Average a sweep's attacks on hashers, as `jaxadv evaluate retrieval` does.

    Rows are averaged over seeds; settings of which there are several values tell rows apart.

    Args:
      paper: the table.
      cells: what the cells of the sweep are, by digest (`store.read_cells`).
      rows: its records (`store.read`).
      victims: names of victims; all by default.

    Returns:
      what `tabulate_retrieval` takes.

    Raises:
      TableError: none of these victims was attacked, or a sweep has no such records at all.
    """
    chosen = of_victims(paper, cells, victims)
    values = {
        column: {_setting(cell, column) for cell in chosen.values()} - {""}
        for column in (*_APART, "intra")
    }
    values["intra"] -= {0.0}
    extra = [column for column, some in values.items() if len(some) > 1]
    found: dict[str, Any] = {
        "victims": {},
        "samples": {},
        "from": {},
        "extra": extra,
        "transfers": [],
    }
    made: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row in rows:
        if row["cell"] not in chosen:
            continue
        told = tuple(_setting(row, column) for column in extra)
        whose = (row["victim"], row["modality"])
        attack = (*whose, _attack_of(row), _steps_of(row), told)
        made.setdefault(attack, {})[row["cell"], row["id"]] = row
        if row["failed"] is None:  # a benign query is the same in every cell
            made.setdefault((*whose, NONE, 0, ("",) * len(extra)), {})[row["id"]] = row
    found["cells"] = []
    for (victim, modality, attack, steps, told), some in made.items():
        done = [row for row in some.values() if row["failed"] is None]
        if not done:
            continue
        one = done[0]
        found["victims"][victim], found["samples"][victim] = one["bits"], one["samples"]
        found["from"][victim] = one.get("from")
        found["data"] = one["data"]
        cross, own = DIRECTIONS[modality]
        state = "" if attack != NONE else "_benign"
        found["cells"].append(
            {
                "victim": victim,
                "data": one["data"],
                "attack": attack,
                "intra": one.get("intra"),
                "keep": one.get("keep"),
                "iterations": steps,
                "extra": dict(zip(extra, told, strict=True)),
                "count": len(done),
                "failed": len(some) - len(done),
                "seeds": _by_seed(done, {cross: f"ap_cross{state}", own: f"ap_own{state}"}),
                cross: float(np.mean([row[f"ap_cross{state}"] for row in done])),
                own: float(np.mean([row[f"ap_own{state}"] for row in done])),
                "D": float(np.mean([row["distortion"] for row in done])) if steps else 0.0,
                "cross_8bit": _mean(done, "ap_cross_8bit" if steps else "ap_cross_benign"),
                "first wrong": _first_wrong(done, state),
                "seconds": _mean(done, "seconds") if steps else 0.0,
                "curve": _curve(done, state),
            }
        )
        if attack == FULL:
            found["transfers"] += _transfers(done, steps, told, found)
    return {**found, "queries": max((cell["count"] for cell in found["cells"]), default=0)}


def _mean(rows: Sequence[Row], column: str) -> float | None:
    """Average a column; None where older records lack it."""
    values = [row[column] for row in rows if column in row]
    return float(np.mean(values)) if len(values) == len(rows) else None


def _first_wrong(rows: Sequence[Row], state: str) -> float | None:
    """Return the share of queries whose first result is not relevant; None of older records."""
    firsts = [row[f"precision_at{state}"][0] for row in rows if f"precision_at{state}" in row]
    return 1 - float(np.mean(firsts)) if len(firsts) == len(rows) else None


def _curve(rows: Sequence[Row], state: str) -> dict[str, list[float]] | None:
    """Return the curves of Figure 3 over all queries together; None of older records."""
    if not all(f"within{state}" in row for row in rows):
        return None
    within, relevant = (
        np.sum([row[f"{name}{state}"] for row in rows], axis=0)
        for name in ("within", "relevant_within")
    )
    return {
        "precision": (relevant / np.maximum(within, 1)).tolist(),
        "recall": (relevant / max(relevant[-1], 1)).tolist(),
        "precision_at": np.mean([row[f"precision_at{state}"] for row in rows], axis=0).tolist(),
    }


def _by_seed(rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, list[float]]:
    """Average columns over the records of each seed; {} where there is one."""
    seeds = dict.fromkeys(row["seed"] for row in rows)
    if len(seeds) < 2:
        return {}
    return {
        name: [float(np.mean([row[c] for row in rows if row["seed"] == seed])) for seed in seeds]
        for name, c in columns.items()
    }


def _transfers(
    rows: Sequence[Row], steps: int, told: tuple[Any, ...], found: dict[str, Any]
) -> list[dict[str, Any]]:
    """Average what other victims found for attacked queries; note what those victims are."""
    shown: dict[str, list[float]] = {}
    for row in rows:
        for entry in row.get("transfer") or ():
            name = entry["victim"]
            found["victims"][name], found["samples"][name] = entry["bits"], entry["samples"]
            found["from"][name] = entry["from"]
            shown.setdefault(name, []).append(entry["ap_cross"])
    one = rows[0]
    return [
        {
            "source": one["victim"],
            "victim": name,
            "data": one["data"],
            "modality": one["modality"],
            "iterations": steps,
            "extra": dict(zip(found["extra"], told, strict=True)),
            "count": len(values),
            "precision": float(np.mean(values)),
        }
        for name, values in shown.items()
    ]


def _setting(of: Row, column: str) -> Any:
    """Return a setting of a cell or a record; one that came later as it was before.

    One that the method does not have is empty.
    """
    return of.get(column, BEFORE.get(column) if "intra" in of else "")


def _attack_of(row: Row) -> str:
    """Return what a record's attack is called: CMLA with or without a term, or a method's name."""
    if row["method"] != "cmla":
        return str(row["method"])
    return FULL if row["intra"] else ABLATED


def _steps_of(row: Row) -> int:
    """Return the most steps of a record's attack."""
    return next(int(row[name]) for name in ("iterations", "budget", "words") if name in row)


def _retrieved(
    paper: PaperTable, cell: Row, direction: str, found: Mapping[str, Any], protocol: str = ""
) -> Group:
    samples = (found.get("samples") or {}).get(cell["victim"], 0)
    if cell["attack"] == NONE:
        protocol = BENIGN
    elif not protocol:  # without adversarial training there is one victim, and both are the same
        protocol = AGAIN if samples else IDENTICAL
    columns = {
        "data": found.get("data", "scenes"),
        **cell,
        "direction": direction,
        "method": cell["victim"],
        "samples": samples,
        "bits": found["victims"][cell["victim"]],
        "protocol": protocol,
    }
    keys = {name: columns[name] for name in paper.keys}
    values = {"MAP": cell[direction], **({"D": cell["D"]} if "D" in cell else {})}
    count, failed = cell.get("count", found["queries"]), cell.get("failed", 0)
    seeds = cell.get("seeds", {}).get(direction)
    extra = cell.get("extra", {})
    by_seed = {"MAP": seeds} if seeds else {}
    return Group(keys, cell["victim"], extra, count, failed, values, by_seed)
