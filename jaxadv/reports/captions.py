"""A figure of fooled captioners that a person understands at a glance."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxadv.formats.errors import printable

_WIDTH = 64  # characters a line of text
_LINES = 4


class Panel(NamedTuple):
    """One attack, to be shown in a row.

    Attributes:
      title: victim and method.
      benign, adversarial: f32[H, W, 3].
      said: the caption of the benign picture.
      target: what was aimed at, gaps as `_`.
      result: the caption of the adversarial picture.
      success: whether it is what was aimed at.
    """

    title: str
    benign: np.ndarray
    adversarial: np.ndarray
    said: str
    target: str
    result: str
    success: bool


def draw(panels: Sequence[Panel]) -> Figure:
    """Draw benign picture, magnified noise and adversarial picture, with the three captions."""
    figure = Figure(figsize=(11, 2.1 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(
        len(panels), 4, squeeze=False, gridspec_kw={"width_ratios": [1, 1, 1, 2.6]}
    )
    for row, panel in zip(axes, panels, strict=True):
        noise = panel.adversarial - panel.benign
        factor = magnification(noise)
        pictures = (panel.benign, 0.5 + factor * noise, panel.adversarial)
        names = ("benign", f"noise ×{factor:g}", "adversarial")
        for axis, picture, name in zip(row, pictures, names, strict=False):
            axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
            axis.set_title(name, fontsize=9)
            axis.set_axis_off()
        row[3].set_axis_off()
        norm = float(np.sqrt((noise**2).sum()))
        lines = (
            (f"{panel.title}   ‖ε‖₂ = {norm:.2f}", "black", "bold"),
            (f"benign:  {panel.said}", "dimgray", "normal"),
            (f"target:  {panel.target}", "navy", "normal"),
            (f"result:  {panel.result}", "darkgreen" if panel.success else "firebrick", "bold"),
        )
        for i, (text, colour, weight) in enumerate(lines):
            row[3].text(
                0,
                0.88 - 0.25 * i,
                _wrapped(text),
                color=colour,
                weight=weight,
                fontsize=9,
                va="center",
                transform=row[3].transAxes,
            )
    return figure


def magnification(noise: np.ndarray) -> float:
    """A round factor that makes the noise fill the range."""
    largest = float(np.abs(noise).max())
    if largest == 0:
        return 1.0
    return float(max(1, min(50, np.floor(0.5 / largest))))


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(printable(text), _WIDTH, subsequent_indent=" " * 9, max_lines=_LINES)
    return "\n".join(lines)
