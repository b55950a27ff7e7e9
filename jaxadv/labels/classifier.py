"""The protocol of multi-label classifiers (taggers): a picture to a score for every label.

Labels are ranked by their logits; the first k are what the tagger says of a picture. (Probabilities
rank likewise until the sigmoid saturates: then many are 1.0.) One picture at a time: `vmap` from
outside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxadv.errors import InputError

Params = Any


class MultiLabelClassifier(NamedTuple):
    """A tagger.

    Attributes:
      logits: `(params, image f32[H, W, 3] in [0, 1]) -> f32[c]`, before the sigmoid. The network's
        own normalisation is part of it.
      classes: what the c logits are of.
      image_shape: (H, W, 3).
    """

    logits: Callable[[Params, Float[Array, "H W 3"]], Float[Array, " c"]]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]

    def scores(self, params: Params, image: Float[Array, "H W 3"]) -> Float[Array, " c"]:
        """Return `f(x)`, the probability of each label, f32[c] in [0, 1]."""
        return jax.nn.sigmoid(self.logits(params, image))


def first_labels(logits: Any, k: int) -> list[int]:
    """Return the numbers of the k labels of the highest logits f32[c], the highest first.

    Of equal logits the label of the smaller number leads.

    >>> first_labels([0.5, 66.0, 40.0, 66.0], 3)
    [1, 3, 2]

    Raises:
      InputError: a logit is not finite.
    """
    found = np.asarray(logits)
    if not np.isfinite(found).all():
        raise InputError(
            f"{int((~np.isfinite(found)).sum())} of the victim's {found.size} scores are not "
            "finite: it cannot rank its labels"
        )
    order: list[int] = np.argsort(-found, stable=True)[:k].tolist()
    return order
