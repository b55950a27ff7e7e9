"""One call that draws what an attack came to, of any family."""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxadv.captions.captioner import Captioner
from jaxadv.captions.target import PartialCaption, write_target
from jaxadv.core.run import Result
from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.reports.captions import Panel
from jaxadv.reports.captions import draw as draw_captions
from jaxadv.reports.labels import draw as draw_labels
from jaxadv.reports.labels import label_panel
from jaxadv.vocabulary import END

MOST = 12  # rows of a figure


def show(result: Result, title: str = "") -> Figure:
    """Draw the benign picture, the magnified noise, the adversarial picture and the predictions.

    Args:
      result: of `jaxadv.run`, on one picture or on a batch.
      title: of every row, such as the victim's name.

    Returns:
      the figure, a row for each of the first 12 pictures; a notebook shows it.

    Raises:
      InputError: the attack does not say whom it attacked (`Attack.victim`), or what was attacked
        are texts.
    """
    one: Any = result
    if np.ndim(result.status) == 0:
        one = jax.tree.map(lambda x: x[None], result)
    if one.image.ndim != 4:
        raise InputError("show: the attack was on texts; only pictures are drawn")
    rows = [
        jax.tree.map(lambda x, i=i: np.asarray(x[i]), one)
        for i in range(min(len(one.status), MOST))
    ]
    model = result.victim.value
    if isinstance(model, Captioner):
        return draw_captions([_of_captions(model, row, title) for row in rows])
    if isinstance(model, MultiLabelClassifier):
        return draw_labels(
            [
                label_panel(
                    title,
                    (row.image, row.final.image),
                    (row.benign.output, row.final.output),
                    row.target,
                    model.classes,
                )
                for row in rows
            ]
        )
    if isinstance(model, CrossModalHasher):
        return draw_captions([_of_codes(row, title) for row in rows])
    raise InputError(
        "show: the attack does not say whom it attacked; make it with descend(..., victim=model)"
    )


def _of_captions(model: Captioner, row: Result, title: str) -> Panel:
    target = row.target
    if isinstance(target, PartialCaption):
        aim = write_target(target, model.vocabulary)
    else:
        aim = ", ".join(model.vocabulary.decode([word]) for word in target.words if word != END)
    return Panel(
        title,
        np.asarray(row.image),
        np.asarray(row.final.image),
        model.vocabulary.decode(row.benign.output),
        aim,
        model.vocabulary.decode(row.final.output),
        bool(row.final.success),
    )


def _of_codes(row: Result, title: str) -> Panel:
    def signs(code: Any) -> str:
        return "".join("+" if bit > 0 else "-" for bit in code)

    before, after = signs(row.benign.output), signs(row.final.output)
    flipped = sum(a != b for a, b in zip(before, after, strict=True))
    return Panel(
        title,
        np.asarray(row.image),
        np.asarray(row.final.image),
        before,
        f"{int(row.target.wanted.sum())} of {row.target.wanted.size} items",
        f"{after}, {flipped} bits flipped",
        bool(row.final.success),
    )
