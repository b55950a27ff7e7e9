"""A dual encoder like CLIP (Radford et al., ICML 2021), of pictures and bags of words."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.hashing.hasher import unit

INITIAL_SCALE = 1 / 0.07
MOST = 100.0


class DualEncoder(nn.Module):
    """Two towers, each with a linear projection to embeddings of norm 1, and a learned logit scale.

    As in the paper (section 2.3 and Figure 3): projections without a bias, and a scale that is
    learned as its logarithm, begins at 1 / 0.07 and is at most 100. Its text is a sequence, for a
    Transformer; here it is a bag of words, and the tower has one hidden layer.

    Attributes:
      features: `images in [0, 1] -> f32[..., C]`: `VggF` or `PooledFeatures`.
      bits: K, the length of the embeddings.
      units: of the text's hidden layer.
    """

    features: nn.Module
    bits: int
    units: int = 4096

    def setup(self) -> None:
        """Declare the layers."""
        self.image_projection = nn.Dense(self.bits, use_bias=False)
        self.text_hidden = nn.Dense(self.units)
        self.text_projection = nn.Dense(self.bits, use_bias=False)
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(np.log(INITIAL_SCALE)), ()
        )

    def image_code(self, images: Array, **options: Any) -> Array:
        """Embeddings f32[..., K] of images f32[..., H, W, 3] in [0, 1]; options: the features'."""
        return unit(self.image_projection(self.features(images, **options)))

    def text_code(self, bags: Array) -> Array:
        """Embeddings f32[..., K] of bags of words f32[..., T]."""
        return unit(self.text_projection(nn.relu(self.text_hidden(bags))))

    def logit_scale(self) -> Array:
        """Return the number f32[] that an inner product is multiplied by."""
        return jnp.minimum(jnp.exp(self.log_scale), MOST)

    def __call__(self, image: Array, bag: Array) -> tuple[Array, Array]:
        """Both embeddings; touches every parameter, for `init`."""
        return self.image_code(image), self.text_code(bag)
