"""The Transformer encoder of CLIP's and SigLIP's towers, of pictures as of texts.

The blocks in `vision_tower` are the same but for rounding: their norms compute variances otherwise,
and their attention divides products by the root of the head size, not queries.
"""

from dataclasses import dataclass
from typing import Self

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.attention import ACTIVATIONS, WideAndNarrow
from jaxadv.victims.nets.hub_config import Section


@dataclass(frozen=True)
class EncoderConfig:
    """The sizes of an encoder.

    Attributes:
      width: channels of a token.
      hidden: channels between the two linear maps of a block.
      layers: blocks.
      heads: of each self-attention.
      activation: between the two linear maps, a name in `ACTIVATIONS`.
      epsilon: of the layer norms.
    """

    width: int
    hidden: int
    layers: int
    heads: int
    activation: str
    epsilon: float

    @classmethod
    def read(cls, section: Section) -> Self:
        """Read the sizes from a section of a published configuration.

        Raises:
          InputError: a value is missing or not supported.
        """
        width, heads = section.parted("hidden_size", "num_attention_heads")
        return cls(
            width=width,
            hidden=section.size("intermediate_size"),
            layers=section.size("num_hidden_layers"),
            heads=heads,
            activation=section.choice("hidden_act", *ACTIVATIONS),
            epsilon=section.epsilon("layer_norm_eps"),
        )


class Encoder(nn.Module):
    """Blocks of self-attention, without a norm at the end.

    Attributes:
      config: the sizes.
      layers: how many of its blocks there are; fewer, where a later one is not read.
    """

    config: EncoderConfig
    layers: int

    @nn.compact
    def __call__(self, x: Array, seen: Array | None = None) -> Array:
        """Encode tokens f32[n, width]; `seen` bool[n, n] says which (columns) a token attends to.

        All attend to all where it is None.
        """
        for number in range(self.layers):
            x = Block(self.config, name=f"block{number}")(x, seen)
        return x


class Block(nn.Module):
    """Self-attention and two linear maps, each with its own norm before and a sum behind."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x: Array, seen: Array | None) -> Array:
        """Map tokens f32[n, width] to the block's output."""
        size = self.config
        attention = nn.MultiHeadDotProductAttention(size.heads, name="attention")
        normed = nn.LayerNorm(epsilon=size.epsilon, name="norm1")(x)
        x = x + attention(normed, mask=None if seen is None else seen[None])
        normed = nn.LayerNorm(epsilon=size.epsilon, name="norm2")(x)
        mlp = WideAndNarrow(size.width, size.hidden, size.activation, name="mlp")
        return jnp.asarray(x + mlp(normed))
