"""The protocol of multi-label classifiers (taggers): a picture to a score for every label.

Labels are ranked by their scores; the first k are what the tagger says of a picture. One picture at
a time: `vmap` from outside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array
from jaxtyping import Float

Params = Any


class MultiLabelClassifier(NamedTuple):
    """A tagger.

    Attributes:
      logits: `(params, image f32[H, W, 3] in [0, 1]) -> f32[c]`, before the sigmoid. The network's
        own normalisation is part of it.
      classes: what the c scores are of.
      image_shape: (H, W, 3).
    """

    logits: Callable[[Params, Float[Array, "H W 3"]], Float[Array, " c"]]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]

    def scores(self, params: Params, image: Float[Array, "H W 3"]) -> Float[Array, " c"]:
        """Return `f(x)`, the probability of each label, f32[c] in [0, 1]."""
        return jax.nn.sigmoid(self.logits(params, image))
