"""Curves of a sweep as a figure."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.experiments.panels import Panel
from jaxadv.experiments.paper_tables import TableError
from jaxadv.reports.files import one_line

_ACROSS = 2  # panels in a row


def draw(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side, the paper's lines dashed.

    Raises:
      TableError: there is nothing to draw.
    """
    if not any(line.x for panel in panels for line in panel.lines):
        raise TableError("no record for this curve yet")
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(5.5 * across, 3.6 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, panel)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def _draw(axis: Axes, panel: Panel) -> None:
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel(panel.x)
    axis.set_ylabel(panel.y)
    if panel.logarithmic:
        axis.set_xscale("log")
    for line in panel.lines:
        style = "--" if line.papers else "-"
        marker = "" if panel.steps else "o"
        where = "steps-post" if panel.steps else "default"
        axis.plot(
            line.x,
            line.y,
            style,
            marker=marker,
            markersize=4,
            label=one_line(line.name),
            drawstyle=where,
        )
    axis.set_ylim(bottom=0)
    if panel.bars is None:
        axis.legend(fontsize=7)
        return
    axis.set_ylim(0, 1.05)
    behind = axis.twinx()  # as in the paper: words to the right, their share to the left
    behind.set_ylim(0, 1.05 * max(map(sum, zip(panel.bars.said, panel.bars.missed, strict=True))))
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    behind.set_ylabel("number of words")
    behind.bar(panel.bars.x, panel.bars.said, color="tab:green", alpha=0.35, label="said")
    behind.bar(
        panel.bars.x,
        panel.bars.missed,
        bottom=panel.bars.said,
        color="tab:red",
        alpha=0.35,
        label="missed",
    )
    behind.legend(fontsize=7, loc="lower left")
