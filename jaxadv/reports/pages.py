"""A page of a data set's pictures with what is known of them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxadv.data.example import Example
from jaxadv.reports.files import save

_COLUMNS = 4
_WIDTH = 34  # characters under a picture
_MOST = 1000  # of one text, before it is broken into lines


def draw_page(
    examples: Sequence[Example],
    path: Path,
    *,
    title: str,
    classes: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> None:
    """Draw examples with their captions, labels, tags and boxes, and save the page.

    Args:
      examples: what to show; where there is no picture, features are drawn as a bar each.
      path: an image file.
      title: stands above all.
      classes: names of the entries of label vectors.
      tags: names of the entries of tag vectors.
    """
    rows = -(-len(examples) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 4.2 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for axes, shown in zip(
        np.ravel(figure.subplots(rows, _COLUMNS, squeeze=False)),
        [*examples, *[None] * (rows * _COLUMNS - len(examples))],
        strict=True,
    ):
        axes.set_xticks([])
        axes.set_yticks([])
        if shown is None:
            axes.axis("off")
            continue
        if shown.picture.ndim == 3:
            axes.imshow(shown.picture)
        else:
            axes.bar(range(len(shown.picture)), shown.picture)
        for box in shown.boxes or ():
            corner, width, height = (
                (box.left, box.top),
                box.right - box.left,
                box.bottom - box.top,
            )
            axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="tab:orange"))
        axes.set_title(shown.id, fontsize=7)
        axes.set_xlabel(_describe(shown, classes, tags), fontsize=7, loc="left")
    save(figure, path)


def _describe(shown: Example, classes: tuple[str, ...], tags: tuple[str, ...]) -> str:
    """What is known of an example, in a few lines; of captions the first two."""
    said = [f"“{caption}”" for caption in (shown.captions or ())[:2]]
    if shown.labels is not None:
        present = [classes[i] for i in np.flatnonzero(shown.labels)]
        said.append(f"labels: {', '.join(present) or 'none'}")
    if shown.tags is not None:
        strongest = np.argsort(-shown.tags.astype(float), kind="stable")
        present = [tags[i] for i in strongest if shown.tags[i]][:8]
        said.append(f"tags: {', '.join(present) or 'none'}")
    if shown.boxes is not None:
        said.append(f"{len(shown.boxes)} boxes")
    lines = [line for text in said for line in textwrap.wrap(text[:_MOST], _WIDTH)[:4]]
    return "\n".join(lines[:12])
