"""Transfer between captioners as matrices, and examples of what the captioners were made to say."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.experiments.paper_tables import TableError
from jaxadv.experiments.understanding import Attempt, Study
from jaxadv.experiments.understanding_tables import Matrix
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


def examples_of(studies: Sequence[Study]) -> list[Panel]:
    """Choose an attempt of each form on each captioner: the clearest success, or the nearest miss.

    The pictures are those of the first method.
    """
    panels = []
    for study in studies:
        if study.method != studies[0].method:
            continue
        for form in dict.fromkeys(a.sentence.form for a in study.attempts):
            some = [a for a in study.attempts if a.sentence.form == form]
            panels.append(_panel(study, min(some, key=_clearest)))
    return panels


def _clearest(attempt: Attempt) -> tuple[bool, float, float]:
    made = attempt.outcome
    return (not made.columns["success_8bit"], -made.columns["recall"], made.columns["norm"])


def _panel(study: Study, attempt: Attempt) -> Panel:
    made = attempt.outcome
    return Panel(
        f"{study.victim} · {attempt.sentence.form}",
        study.subject.pictures[made.request.image],
        made.image,
        " ".join(study.benign[made.request.image]),
        attempt.sentence.text,
        made.columns["said_8bit"],
        made.columns["success_8bit"],
    )
