"""Transfer between captioners as matrices, and examples of what the captioners were made to say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.experiments.paper_tables import TableError
from jaxadv.experiments.understanding_tables import Matrix, Row, said_sentences
from jaxadv.reports.captions import Panel
from jaxadv.reports.files import one_line

_ACROSS = 3  # matrices in a row: success, precision, and that of benign pictures


def draw_matrices(matrices: Sequence[Matrix]) -> Figure:
    """Draw matrices side by side, shares from 0 to 1, with the numbers in the cells.

    Raises:
      TableError: there is none.
    """
    if not matrices:
        raise TableError("no transfer to draw")
    down = -(-len(matrices) // _ACROSS)
    size = 1.6 + 0.7 * max(len(matrix.columns) for matrix in matrices)
    figure = Figure(figsize=(_ACROSS * size, down * size), layout="constrained")
    axes = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for axis, matrix in zip(axes, matrices, strict=False):
        _draw(axis, matrix)
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    return figure


def _draw(axis: Axes, matrix: Matrix) -> None:
    axis.set_title(matrix.title, fontsize=9)
    axis.imshow(matrix.values, vmin=0, vmax=1, cmap="viridis")
    plain: dict[str, Any] = {"fontsize": 7, "parse_math": False}
    columns, rows = [list(map(one_line, names)) for names in (matrix.columns, matrix.rows)]
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right", **plain)
    axis.set_yticks(range(len(rows)), rows, **plain)
    axis.set_xlabel("shown to", fontsize=8)
    axis.set_ylabel("made on", fontsize=8)
    for row, values in enumerate(matrix.values):
        for column, value in enumerate(values):
            colour = "white" if value < 0.6 else "black"
            axis.text(
                column, row, f"{value:.2f}", color=colour, ha="center", va="center", fontsize=8
            )


def examples_of(rows: Sequence[Row]) -> list[Row]:
    """Choose an attempt of each form on each captioner: the clearest success, or the nearest miss.

    They are of the first method.
    """
    some = said_sentences(rows)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in some:
        if row["method"] == some[0]["method"]:
            groups.setdefault((row["victim"], row["setting"]), []).append(row)
    return [min(group, key=_clearest) for group in groups.values()]


def _clearest(row: Row) -> tuple[bool, float, float]:
    return (not row["success_8bit"], -row["recall"], row["norm"])


def panel_of(row: Row, benign: np.ndarray, adversarial: np.ndarray) -> Panel:
    """Return an attempt to be drawn."""
    return Panel(
        f"{row['victim']} · {row['setting']}",
        benign,
        adversarial,
        row["benign"],
        row["target"],
        row["said_8bit"],
        row["success_8bit"],
    )
