"""A figure of fooled taggers: the first k labels before and after (TkMIA paper, figure 2)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.labels.classifier import first_labels
from jaxadv.labels.metrics import ranking_scores
from jaxadv.labels.target import LabelTarget
from jaxadv.reports.drawing import BLUE, GREEN, VERMILLION, draw_noise, draw_picture

WATCHED = {
    "ΔTkAcc": "top_k_accuracy",
    "ΔP@k": "precision",
    "ΔAP@k": "average_precision",
    "ΔNDCG@k": "ndcg",
}
COLOURS = {"specified": BLUE, "relevant": GREEN, "irrelevant": VERMILLION}


class LabelPanel(NamedTuple):
    """One attack, to be shown in a row.

    Attributes:
      title: victim and method.
      benign, adversarial: f32[H, W, 3].
      before, after: the first k labels of each, best first, with their probabilities.
      kinds: of every label that is named, a key of `COLOURS`.
      changes: by how much each watched measure fell, by name.
    """

    title: str
    benign: np.ndarray
    adversarial: np.ndarray
    before: Sequence[tuple[str, float]]
    after: Sequence[tuple[str, float]]
    kinds: dict[str, str]
    changes: dict[str, float]


def label_panel(
    title: str,
    pictures: tuple[np.ndarray, np.ndarray],
    logits: tuple[np.ndarray, np.ndarray],
    target: LabelTarget,
    classes: Sequence[str],
) -> LabelPanel:
    """Lay one attack out: pictures f32[H, W, 3] and logits f32[c], before and after it."""
    kinds = {
        name: "specified" if s else "relevant" if y else "irrelevant"
        for name, s, y in zip(classes, target.specified, target.relevant, strict=True)
    }

    def first(seen: np.ndarray) -> list[tuple[str, float]]:
        scores = np.asarray(jax.nn.sigmoid(seen))
        return [(classes[i], float(scores[i])) for i in first_labels(seen, int(target.k))]

    was, now = (
        ranking_scores(jnp.asarray(seen), target.relevant, target.k, "paper") for seen in logits
    )
    changes = {
        name: float(getattr(was, field) - getattr(now, field)) for name, field in WATCHED.items()
    }
    return LabelPanel(title, *pictures, first(logits[0]), first(logits[1]), kinds, changes)


def draw(panels: Sequence[LabelPanel], factor: float | None = None) -> Figure:
    """Draw the benign picture, the noise, the adversarial picture and the top k of the two.

    Args:
      panels: the rows.
      factor: by which the noise is magnified, so that rows can be compared (the paper's figures:
        100); one that fits each row by default.
    """
    figure = Figure(figsize=(13, 2.5 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(
        len(panels), 5, squeeze=False, gridspec_kw={"width_ratios": [1, 1, 1, 1.3, 1.3]}
    )
    for row, panel in zip(axes, panels, strict=True):
        noise = panel.adversarial - panel.benign
        draw_picture(row[0], panel.benign, panel.title)
        draw_noise(row[1], noise, factor)
        draw_picture(row[2], panel.adversarial, f"after, ‖ε‖₂ = {np.linalg.norm(noise):.2f}")
        _ranking(row[3], "before", panel.before, panel.kinds)
        _ranking(row[4], "after", panel.after, panel.kinds)
        changes = [f"{name} {value:.2f}" for name, value in panel.changes.items()]
        told = "\n".join((", ".join(changes[:2]), ", ".join(changes[2:])))
        row[4].text(0, 0, told, fontsize=9, va="bottom", transform=row[4].transAxes)
    for kind, colour in COLOURS.items():
        axes[0][4].plot([], [], "s", color=colour, label=kind)
    figure.legend(loc="outside lower center", ncols=3, fontsize=11, frameon=False)
    return figure


def _ranking(
    axis: Axes, title: str, ranking: Sequence[tuple[str, float]], kinds: dict[str, str]
) -> None:
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_axis_off()
    for place, (label, score) in enumerate(ranking):
        axis.text(
            0,
            0.9 - place / max(len(ranking), 5),
            f"{place + 1}. {label}  {score:.2f}",
            color=COLOURS[kinds[label]],
            weight="bold",
            fontsize=11,
            va="center",
            transform=axis.transAxes,
        )
