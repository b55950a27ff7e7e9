"""One call that draws what an attack came to, of any family."""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxadv.captions.captioner import Captioner
from jaxadv.captions.target import PartialCaption, write_target
from jaxadv.core.run import Result
from jaxadv.errors import InputError
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.target import LabelTarget
from jaxadv.reports.captions import Panel
from jaxadv.reports.captions import draw as draw_captions
from jaxadv.reports.labels import draw as draw_labels
from jaxadv.reports.labels import label_panel

MOST = 12  # rows of a figure


def show(result: Result, victim: Any, images: Any, targets: Any) -> Figure:
    """Draw the benign picture, the magnified noise, the adversarial picture and what is predicted.

    Args:
      result: of `jaxadv.run`.
      victim: the captioner or classifier that was attacked, such as `jaxadv.load` returns.
      images: what was attacked, as it was given to `jaxadv.run`.
      targets: likewise.

    Returns:
      the figure, a row for each of the first 12 pictures; a notebook shows it.

    Raises:
      InputError: of such a victim there is no such figure.
    """
    alone = np.ndim(result.status) == 0
    one: Any = jax.tree.map(lambda x: x[None], result) if alone else result
    count = min(len(one.status), MOST)
    rows = [jax.tree.map(lambda x, i=i: np.asarray(x[i]), one) for i in range(count)]
    pictures = np.broadcast_to(np.asarray(images), np.shape(one.final.image))
    wanted = [_target(targets, i, len(one.status)) for i in range(count)]
    model = victim.model
    if isinstance(model, Captioner):
        return draw_captions(
            [
                Panel(
                    victim.name,
                    picture,
                    row.final.image,
                    model.vocabulary.decode(row.benign.output),
                    _words(model, target),
                    model.vocabulary.decode(row.final.output),
                    bool(row.final.success),
                )
                for row, picture, target in zip(rows, pictures, wanted, strict=False)
            ]
        )
    if isinstance(model, MultiLabelClassifier) and isinstance(wanted[0], LabelTarget):
        return draw_labels(
            [
                label_panel(
                    victim.name,
                    (picture, row.final.image),
                    (row.benign.output, row.final.output),
                    target,
                    model.classes,
                )
                for row, picture, target in zip(rows, pictures, wanted, strict=False)
            ]
        )
    raise InputError(
        f"show: draws captioners and classifiers, not {victim.name!r}; of hashers see "
        "jaxadv.reports.retrieval"
    )


def _target(targets: Any, row: int, count: int) -> Any:
    """Return a row's own target, from what `jaxadv.run` takes."""
    if type(targets) is list:
        return targets[row]
    leaves = jax.tree.leaves(targets)
    if all(np.shape(leaf)[:1] == (count,) for leaf in leaves):
        return jax.tree.map(lambda x: x[row], targets)
    return targets


def _words(model: Captioner, target: Any) -> str:
    if isinstance(target, PartialCaption):
        return write_target(target, model.vocabulary)
    return ", ".join(model.vocabulary.words[i - 1] for i in np.asarray(target.words) if i)
