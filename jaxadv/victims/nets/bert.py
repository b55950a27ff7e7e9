"""Parts of BERT's layers (Devlin et al. 2019), which normalise what they have made (post-norm)."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.attention import (
    ACTIVATIONS,
    Attention,
    WideAndNarrow,
    layer_norm,
)
from jaxadv.victims.nets.hub_config import Section, TextConfig
from jaxadv.victims.nets.transformer import Memory


@dataclass(frozen=True)
class BertConfig(TextConfig):
    """The sizes of BERT's layers."""

    @classmethod
    def from_section(cls, section: Section) -> "BertConfig":
        """Read the part of a `config.json` that is the layers'."""
        section.expect(position_embedding_type="absolute")
        units, heads = section.parted("hidden_size", "num_attention_heads")
        return cls(
            vocabulary_size=section.size("vocab_size"),
            units=units,
            layers=section.size("num_hidden_layers"),
            heads=heads,
            wide=section.size("intermediate_size"),
            positions=section.size("max_position_embeddings"),
            epsilon=section.epsilon("layer_norm_eps"),
            activation=section.choice("hidden_act", *ACTIVATIONS),
        )


class PostNormAttention(nn.Module):
    """An attention whose sum with what it was given is normalised."""

    config: TextConfig

    def setup(self) -> None:
        """Declare the parameters."""
        self.attention = Attention(self.config.units, self.config.heads)
        self.norm = layer_norm(self.config.epsilon)

    def remember(self, rows: Array) -> Memory:
        """Make keys and values of rows f32[n, channels]."""
        return self.attention.remember(rows)

    def __call__(self, rows: Array, *memories: Memory, hidden: Array | None = None) -> Array:
        """Attend from rows f32[n, units], as `Attention` does."""
        return jnp.asarray(self.norm(rows + self.attention(rows, *memories, hidden=hidden)))


class PostNormMLP(nn.Module):
    """Two linear maps whose sum with what they were given is normalised."""

    config: TextConfig

    def setup(self) -> None:
        """Declare the parameters."""
        config = self.config
        self.mlp = WideAndNarrow(config.units, config.wide, config.activation)
        self.norm = layer_norm(config.epsilon)

    def __call__(self, rows: Array) -> Array:
        """Map rows f32[n, units] to as many."""
        return jnp.asarray(self.norm(rows + self.mlp(rows)))
