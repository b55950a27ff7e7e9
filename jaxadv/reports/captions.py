"""A figure of fooled captioners that a person understands at a glance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxadv.reports.drawing import (
    BLUE,
    GREY,
    VERMILLION,
    Line,
    changed_words,
    draw_lines,
    draw_noise,
    draw_picture,
)

WIDTH, HEIGHT = 6.2, 3.0  # inches of a panel
CHARACTERS = 66  # of a line of text
COLUMNS = 2


class Panel(NamedTuple):
    """One attack.

    Attributes:
      title: victim and method.
      benign, adversarial: f32[H, W, 3].
      said: the prediction on the benign picture.
      target: what the attack aimed at, free words as `_`.
      result: the prediction on the adversarial picture.
      success: whether it is what the attack aimed at.
    """

    title: str
    benign: np.ndarray
    adversarial: np.ndarray
    said: str
    target: str
    result: str
    success: bool


def draw(panels: Sequence[Panel], heading: str = "") -> Figure:
    """Draw the pictures before and after each attack, its noise, and what is predicted of them.

    Words that the attack changed are bold: blue where it reached its aim, vermilion where not.

    Args:
      panels: the attacks, two in a row.
      heading: the figure's title.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    top = 0.5 if heading else 0.05
    size = (WIDTH * columns, HEIGHT * rows + top)
    figure = Figure(figsize=size)
    if heading:
        figure.suptitle(heading, fontsize=15, weight="bold", y=1 - 0.12 / size[1], va="top")
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        _draw_panel(figure, panel, column * WIDTH, size[1] - top - (row + 1) * HEIGHT)
    return figure


def _draw_panel(figure: Figure, panel: Panel, left: float, bottom: float) -> None:
    """Draw a panel at a place of the figure, in inches."""
    width, height = figure.get_size_inches()
    noise = panel.adversarial - panel.benign
    norm = float(np.sqrt((noise**2).sum()))
    side, gap = 1.75, 0.15
    for place in range(3):
        x, y = left + 0.15 + place * (side + gap), bottom + HEIGHT - side - 0.45
        axis = figure.add_axes((x / width, y / height, side / width, side / height))
        if place == 0:
            draw_picture(axis, panel.benign, "before")
            name = f"{panel.title}   ‖ε‖₂ = {norm:.2f}".strip()
            at = ((left + 0.15) / width, (bottom + HEIGHT - 0.18) / height)
            figure.text(*at, name, fontsize=11, weight="bold", va="center")
        elif place == 1:
            draw_noise(axis, noise)
        else:
            draw_picture(axis, panel.adversarial, "after")
    box = ((left + 0.15) / width, bottom / height, (WIDTH - 0.2) / width, 0.76 / height)
    colour = BLUE if panel.success else VERMILLION
    lines = [
        Line("before", panel.said),
        Line("target", panel.target, GREY),
        Line("after", panel.result, colour, changed_words(panel.said, panel.result)),
    ]
    draw_lines(figure.add_axes(box), lines, CHARACTERS, 10)
