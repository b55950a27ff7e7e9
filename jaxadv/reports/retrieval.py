"""Figures of fooled hashers: what a query retrieves before and after, and the paper's curves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.data.pairs import Pairs, as_examples
from jaxadv.experiments.hash_attacks import Codes
from jaxadv.hashing.metrics import HAMMING, Comparison, search
from jaxadv.reports.drawing import BLUE, VERMILLION

RIGHT, WRONG = BLUE, VERMILLION


class Found(NamedTuple):
    """The first items that a query retrieves, and whether each is relevant to it.

    Attributes:
      texts: as a person reads them.
      texts_right: bool each.
      pictures: f32[H, W, 3] each.
      pictures_right: bool each.
    """

    texts: Sequence[str]
    texts_right: Sequence[bool]
    pictures: Sequence[np.ndarray]
    pictures_right: Sequence[bool]


class RetrievalPanel(NamedTuple):
    """One attack, to be shown in two rows: the query and its adversarial version.

    Attributes:
      title: victim and attack.
      queries: the two, pictures f32[H, W, 3] or texts.
      found: what the two retrieve.
      distortion: D.
      labels: what the query shows.
    """

    title: str
    queries: tuple[np.ndarray | str, np.ndarray | str]
    found: tuple[Found, Found]
    distortion: float
    labels: str


def retrieved(
    code: np.ndarray,
    kept: Codes,
    database: Pairs,
    labels: np.ndarray,
    say: Callable[[np.ndarray], str],
    top: int = 5,
    by: Comparison = HAMMING,
) -> Found:
    """Look up what a query retrieves in both modalities.

    Args:
      code: f32[K], of the query.
      kept: the database's codes of both modalities, as `by.keep` returns them.
      database: what is asked.
      labels: bool[c], what the query shows; what shares one of them is right.
      say: turns a text of the database into one for a person.
      top: how many items of each modality.
      by: how codes are compared.
    """
    query = by.keep(code[None])[0]
    texts, pictures = (search(query, some, top, by)[0] for some in (kept.text, kept.image))

    def right(rows: np.ndarray) -> list[bool]:
        return [bool(good) for good in (database.labels[rows] & labels).any(axis=1)]

    said = [say(text) for text in database.texts[texts]]
    return Found(
        said, right(texts), list(as_examples(database.pictures[pictures])), right(pictures)
    )


def draw_panels(panels: Sequence[RetrievalPanel]) -> Figure:
    """Draw each query above its adversarial version, with the texts and pictures they retrieve."""
    shown = max(len(found.pictures) for panel in panels for found in panel.found)
    figure = Figure(figsize=(4.6 + 1.2 * shown, 3.4 * len(panels) + 0.5), layout="constrained")
    widths = [1.5, 2.6, *[1] * shown]
    axes = figure.subplots(
        2 * len(panels), 2 + shown, squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    for number, panel in enumerate(panels):
        names = (f"{panel.title}\n{panel.labels}", f"attacked, D = {panel.distortion:.4f}")
        both = zip(panel.queries, panel.found, names, strict=True)
        for row, (query, found, name) in enumerate(both):
            line = axes[2 * number + row]
            _query(line[0], query, name)
            _texts(line[1], found)
            for axis in line[2:]:
                axis.set_axis_off()
            _pictures(line[2:], found)
    for colour, word in ((RIGHT, "shares a label with the query"), (WRONG, "does not")):
        axes[0][0].plot([], [], "s", color=colour, label=word)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    return figure


def _query(axis: Axes, query: np.ndarray | str, name: str) -> None:
    axis.set_title(name, fontsize=10, loc="left")
    axis.set_axis_off()
    if isinstance(query, str):
        words = query.split()
        lines = [" ".join(words[start : start + 2]) for start in range(0, len(words), 2)]
        axis.text(0, 0.5, "\n".join(lines), fontsize=10, va="center", transform=axis.transAxes)
    else:
        axis.imshow(np.clip(query, 0, 1), interpolation="nearest")


def _texts(axis: Axes, found: Found) -> None:
    axis.set_title("texts found", fontsize=10, loc="left")
    axis.set_axis_off()
    for place, (text, right) in enumerate(zip(found.texts, found.texts_right, strict=True)):
        axis.text(
            0,
            0.9 - place / len(found.texts),
            f"{place + 1}. {text}",
            color=RIGHT if right else WRONG,
            fontsize=10,
            va="center",
            transform=axis.transAxes,
        )


def _pictures(axes: Sequence[Axes], found: Found) -> None:
    for place, (picture, right) in enumerate(
        zip(found.pictures, found.pictures_right, strict=True)
    ):
        axis = axes[place]
        axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        axis.set_title("pictures found" if place == 0 else f"{place + 1}.", fontsize=10, loc="left")
        axis.set_axis_on()
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set(color=RIGHT if right else WRONG, linewidth=3)
