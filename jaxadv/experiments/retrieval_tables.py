"""The CMLA paper's tables and curves, from what `experiments.retrieval` measured."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.experiments.retrieval import ABLATED, FULL, Cell, Transfer

DIRECTIONS = {"image": ("I2T", "I2I"), "text": ("T2I", "T2T")}
"""What queries of a modality ask for: the other modality, and their own."""


AT = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Of how many first results a sweep records the precision."""


class Table(NamedTuple):
    """A table to be printed."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


class Curve(NamedTuple):
    """A line of the paper's Figure 3.

    Attributes:
      victim: its name.
      direction: such as I2T.
      attacked: whether the queries were.
      precision_at: f64[n], of the first 1, 2, ... results.
      precision, recall: f64[K + 1], within each Hamming radius.
    """

    victim: str
    direction: str
    attacked: bool
    precision_at: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def regular(cells: Sequence[Cell], bits: Mapping[str, int]) -> Table:
    """Table 1: MAP of the queries as they are."""
    benign = [c for c in cells if not c.iterations]
    columns = [d for m in dict.fromkeys(c.modality for c in benign) for d in DIRECTIONS[m]]
    rows = [
        [victim, length, *(_map(x) for c in benign if c.victim == victim for x in (c.cross, c.own))]
        for victim, length in bits.items()
    ]
    return Table("MAP, regular", ["victim", "K", *columns], rows)


def attacked(cells: Sequence[Cell]) -> list[Table]:
    """Table 2 (Table 3 on victims that were trained adversarially) and the ablation of Figure 5."""
    tables = []
    for modality in dict.fromkeys(c.modality for c in cells):
        cross, own = DIRECTIONS[modality]
        columns = ["victim", "attack", "steps", cross, f"{cross} 8-bit", own, "D", "first wrong"]
        rows = [
            [
                c.victim,
                c.attack,
                c.iterations,
                _map(c.cross),
                c.cross_8bit,
                _map(c.own),
                c.distortion,
                c.success,
                c.seconds,
            ]
            for c in cells
            if c.modality == modality
        ]
        tables.append(Table(f"MAP, {modality}s attacked", [*columns, "s/attack"], rows))
    return tables


def matrices(transfers: Sequence[Transfer], cells: Sequence[Cell]) -> list[Table]:
    """Return how queries that were attacked on the row's victim do on the column's."""
    tables = []
    for modality in dict.fromkeys(t.modality for t in transfers):
        names = list(dict.fromkeys(c.victim for c in cells))
        found = {(t.source, t.victim): t.precision for t in transfers if t.modality == modality}
        here = [c for c in cells if c.modality == modality]
        found |= {("nothing", c.victim): _map(c.cross) for c in here if not c.iterations}
        # of an attack's cells the last is that of the most steps
        found |= {(c.victim, c.victim): _map(c.cross) for c in here if c.attack == FULL}
        rows = [[row, *(found[row, name] for name in names)] for row in ["nothing", *names]]
        title = f"{DIRECTIONS[modality][0]} MAP of {modality}s attacked on"
        tables.append(Table(title, ["", *names], rows))
    return tables


def entry(cell: Cell) -> dict[str, Any]:
    """Say a cell in JSON, without its curves."""
    cross, own = DIRECTIONS[cell.modality]
    return {
        "victim": cell.victim,
        "modality": cell.modality,
        "attack": cell.attack,
        "iterations": cell.iterations,
        cross: _map(cell.cross),
        f"{cross} at 1000": cell.cross.mean_average_precision_at,
        f"{cross} 8-bit": cell.cross_8bit,
        own: _map(cell.own),
        "D": cell.distortion,
        "first wrong": cell.success,
        "s/attack": cell.seconds,
    }


def curves(cells: Sequence[Cell]) -> list[Curve]:
    """Figure 3: before the attack, and after the most steps of the whole of it."""
    last = {(c.victim, c.modality, bool(c.iterations)): c for c in cells if c.attack != ABLATED}
    return [
        Curve(
            victim,
            direction,
            hit,
            found.precisions,
            found.radius_precision,
            found.radius_recall,
        )
        for (victim, modality, hit), cell in last.items()
        for direction, found in zip(DIRECTIONS[modality], (cell.cross, cell.own), strict=True)
    ]


def write_curves(some: Sequence[Curve], folder: Path) -> None:
    """Write the curves as precision_recall.csv and precision_at.csv, each whole or not at all."""
    start = ["victim", "direction", "attacked"]
    by_radius = [
        [c.victim, c.direction, c.attacked, radius, precision, recall]
        for c in some
        for radius, (precision, recall) in enumerate(zip(c.precision, c.recall, strict=True))
    ]
    by_length = [
        [c.victim, c.direction, c.attacked, length, precision]
        for c in some
        for length, precision in enumerate(c.precision_at, start=1)
    ]
    columns = [*start, "radius", "precision", "recall"]
    _write_csv(folder / "precision_recall.csv", [columns, *by_radius])
    _write_csv(folder / "precision_at.csv", [[*start, "n", "precision"], *by_length])


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    os.replace(scratch, path)


def _map(found: Any) -> float:
    return float(found.mean_average_precision)
