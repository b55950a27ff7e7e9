"""What a multi-label classifier predicts, by the names of labels."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import checks
from jaxadv.errors import InputError
from jaxadv.labels.classifier import MultiLabelClassifier, first_labels


class Loaded(Protocol):
    """A classifier with its parameters, such as `jaxadv.load` returns."""

    @property
    def model(self) -> Any:
        """Its functions."""

    @property
    def params(self) -> Any:
        """Its parameters."""


def predict(victim: Loaded, images: Any, k: int) -> Any:
    """Name the first k labels of a picture, or of each picture of a batch.

    Args:
      victim: the classifier, with its parameters.
      images: f32[H, W, 3] in [0, 1], or f32[B, H, W, 3].
      k: how many.

    Returns:
      a list of (name, probability), the most probable first; of a batch a list of such lists.

    Raises:
      InputError: the victim is no classifier, the pictures are of another shape, or k is not among
        1, ..., c.
    """
    model: MultiLabelClassifier = victim.model
    checks.victim(model, MultiLabelClassifier, "classifier")
    checks.whole("k", k, 1, len(model.classes))
    pictures = jnp.asarray(images)
    alone = pictures.ndim == 3
    pictures = pictures[None] if alone else pictures
    if pictures.shape[1:] != model.image_shape:
        raise InputError(
            f"images {list(jnp.shape(images))}: must be {list(model.image_shape)}, or a batch of it"
        )
    scores = np.asarray(jax.jit(jax.vmap(model.scores, (None, 0)))(victim.params, pictures))
    found = [[(model.classes[i], float(row[i])) for i in first_labels(row, k)] for row in scores]
    return found[0] if alone else found
