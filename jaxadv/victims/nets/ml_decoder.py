"""ML-Decoder (Ridnik et al., 2021, "ML-Decoder: Scalable and Versatile Classification Head").

A head that attends to the grid instead of averaging it: fixed queries, one a group of classes, go
through one layer of a Transformer decoder without self-attention, and a linear map of each group's
own scores its classes. Names are those of `vit` where they mean the same.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.convolution import relu

EPSILON = 1e-5  # of the layer norms, as released
FIXED = "fixed"
"""Collection of what is not learned: the queries."""


class MLDecoder(nn.Module):
    """The head, as it is at inference: its dropout is left out.

    Attributes:
      classes: c.
      groups: most groups of classes; there are no more than classes.
      width: channels of the queries and of what they attend to (D).
      wide: channels between the two linear maps of the layer.
      heads: of the attention.
    """

    classes: int
    groups: int = 100
    width: int = 768
    wide: int = 2048
    heads: int = 8

    @nn.compact
    def __call__(self, grid: Array) -> Array:
        """Logits f32[..., c] of a grid f32[..., h, w, C]."""
        groups = min(self.groups, self.classes)
        *batch, height, width, channels = grid.shape
        cells = grid.reshape(*batch, height * width, channels)
        cells = relu(nn.Dense(self.width, name="embed")(cells))
        queries = self.variable(FIXED, "queries", self._queries, groups).value
        z = self._norm(1)(2 * queries)  # the released layer adds to them their own dropout
        z = jnp.broadcast_to(z, (*batch, groups, self.width))
        z = z + nn.MultiHeadDotProductAttention(self.heads, name="attention")(z, cells)
        z = self._norm(2)(z)
        wide = relu(nn.Dense(self.wide, name="widen")(z))
        z = self._norm(3)(z + nn.Dense(self.width, name="narrow")(wide))
        return self._scores(z)

    def _queries(self, groups: int) -> Array:
        normal = nn.initializers.normal(1.0)
        return normal(self.make_rng("params"), (groups, self.width))

    def _norm(self, number: int) -> nn.LayerNorm:
        return nn.LayerNorm(epsilon=EPSILON, name=f"norm{number}")

    def _scores(self, z: Array) -> Array:
        """Logits f32[..., c] of the groups' f32[..., g, D]; the last group may be cut short."""
        groups = z.shape[-2]
        shape = (groups, self.width, -(-self.classes // groups))
        pooling = self.param("pooling", nn.initializers.xavier_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        scores = jnp.einsum("...gd,gdk->...gk", z, pooling)
        return scores.reshape(*z.shape[:-2], -1)[..., : self.classes] + bias
