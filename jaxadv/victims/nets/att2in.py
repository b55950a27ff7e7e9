"""Att2in2, the captioner of self-critical sequence training (Rennie et al. 2017, section 2)."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.recurrent import AdditiveAttention, MaxoutLSTM, Memory, zero_memory


class EmbeddedFeatures(NamedTuple):
    """Embedded grid cells f32[cells, units] and their attention keys f32[cells, units]."""

    cells: Array
    keys: Array


class Att2in2(nn.Module):
    """`Att2in2Model`: the attended cell enters the candidate of a maxout LSTM only."""

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters, named as in the checkpoints."""
        self.att_embed = nn.Dense(self.units)
        self.ctx2att = nn.Dense(self.units)
        self.attention = AdditiveAttention(self.units)
        self.embed = nn.Embed(self.vocabulary_size, self.units)
        self.core = MaxoutLSTM(self.units)
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> EmbeddedFeatures:
        """Turn a backbone's grid f32[h, w, C] into what the decoder looks at."""
        cells = nn.relu(self.att_embed(grid.reshape(-1, grid.shape[-1])))
        return EmbeddedFeatures(cells, self.ctx2att(cells))

    def begin(self, features: EmbeddedFeatures) -> tuple[Memory, Array]:
        """Feed the begin token to a zero memory; return the scores of the first word."""
        memory = zero_memory(self.units, features.cells)
        return self.advance(features, memory, jnp.zeros((), jnp.int32))

    def advance(
        self, features: EmbeddedFeatures, memory: Memory, token: Array
    ) -> tuple[Memory, Array]:
        """Attend with the last hidden state, feed the word, score the next."""
        attended = self.attention(memory[0], features.cells, features.keys)
        memory = self.core(memory, self.drop(nn.relu(self.embed(token))), attended)
        return memory, self.logit(self.drop(memory[0]))
