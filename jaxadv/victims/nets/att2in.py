"""Att2in, the captioner of self-critical sequence training (Rennie et al. 2017, section 2)."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.recurrent import AdditiveAttention, MaxoutLSTM, Memory, zero_memory


class AttendedCells(NamedTuple):
    """Grid cells f32[cells, C], embedded f32[cells, units], and their keys f32[cells, units]."""

    cells: Array
    keys: Array


class Att2in(nn.Module):
    """`Att2inModel`: the attended cell enters the candidate of a maxout LSTM only.

    With `embedded`, `Att2in2Model`: cells go through a linear map and a ReLU, words through a ReLU.
    """

    placeless: ClassVar[bool] = True

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    embedded: bool = False
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters, named as in the checkpoints."""
        if self.embedded:
            self.att_embed = nn.Dense(self.units)
        self.ctx2att = nn.Dense(self.units)
        self.attention = AdditiveAttention(self.units)
        self.embed = nn.Embed(self.vocabulary_size, self.units)
        self.core = MaxoutLSTM(self.units)
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> AttendedCells:
        """Turn a backbone's grid f32[h, w, C] into what the decoder looks at."""
        cells = grid.reshape(-1, grid.shape[-1])
        if self.embedded:
            cells = nn.relu(self.att_embed(cells))
        return AttendedCells(cells, self.ctx2att(cells))

    def begin(self, features: AttendedCells) -> Memory:
        """Feed the begin token to a zero memory."""
        memory = zero_memory(self.units, features.cells)
        return self.advance(features, memory, jnp.zeros((), jnp.int32))

    def advance(self, features: AttendedCells, memory: Memory, token: Array) -> Memory:
        """Attend with the last hidden state, feed the word."""
        attended = self.attention(memory[0], features.cells, features.keys)
        word = self.embed(token)
        if self.embedded:
            word = self.drop(nn.relu(word))
        h, c = self.core(memory, word, attended)
        return h, c

    def logits(self, memory: Memory) -> Array:
        """Score the next word."""
        return jnp.asarray(self.logit(self.drop(memory[0])))
