"""What a multi-label classifier predicts, by the names of labels."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxadv import checks
from jaxadv.core.attack import Params
from jaxadv.core.loaded import Loaded, as_pictures
from jaxadv.labels.classifier import MultiLabelClassifier, first_labels


def predict(victim: Loaded, images: Any, k: int) -> Any:
    """Name the first k labels of a picture, or of each picture of a batch.

    Args:
      victim: the classifier, with its parameters.
      images: f32[H, W, 3] in [0, 1], or f32[B, H, W, 3].
      k: how many.

    Returns:
      a list of (name, probability), the most probable first; of a batch, a list of such lists.

    Raises:
      InputError: the victim is no classifier, takes pictures of another shape, or has not k labels.
    """
    model: MultiLabelClassifier = victim.model
    checks.victim(model, MultiLabelClassifier, "classifier")
    checks.whole("k", k, 1, len(model.classes))
    pictures, alone = as_pictures(images, model.image_shape)
    scores = np.asarray(_scores(model, victim.params, pictures))
    found = [[(model.classes[i], float(row[i])) for i in first_labels(row, k)] for row in scores]
    return found[0] if alone else found


@partial(jax.jit, static_argnums=0)
def _scores(model: MultiLabelClassifier, params: Params, pictures: Array) -> Array:
    return jax.vmap(model.scores, (None, 0))(params, pictures)
