"""Show-Attend-and-Tell as the exact-caption paper attacked it: ruotianluo's `OldModel`.

Simplified from Xu et al. (2015): no gate on the context, no deep output; hidden and cell state
start from the same linear map of the mean feature; attention is additive over all cells.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.recurrent import LSTM, AdditiveAttention, Memory, open_forget_gate


class AttendedFeatures(NamedTuple):
    """What every cell of a grid adds to the gates, its attention key, and the first state.

    f32[cells, 4 units], f32[cells, units] and f32[units].
    """

    gates: Array
    keys: Array
    first: Array


class ShowAttendTell(nn.Module):
    """`ShowAttendTellModel`: the attended context is part of every step's input.

    That is `W [word; context]`, and the context is a mean over cells, so `W`'s part for it is
    applied to the cells, once a picture, instead of to the context of every lane at every step.
    """

    placeless: ClassVar[bool] = True

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters, named as in the checkpoints.

        There `rnn.weight_ih` has the columns of `of_context`, too.
        """
        self.linear = nn.Dense(self.units)
        self.ctx2att = nn.Dense(self.units)
        self.attention = AdditiveAttention(self.units)
        self.embed = nn.Embed(self.vocabulary_size, self.units)
        self.rnn = LSTM(self.units)
        self.of_context = nn.Dense(4 * self.units, use_bias=False, kernel_init=open_forget_gate)
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> AttendedFeatures:
        """Turn a backbone's grid f32[h, w, C] into what the decoder looks at."""
        cells = grid.reshape(-1, grid.shape[-1])
        first = self.linear(cells.mean(axis=0))
        return AttendedFeatures(self.of_context(cells), self.ctx2att(cells), first)

    def begin(self, features: AttendedFeatures) -> Memory:
        """Feed the begin token."""
        return self.advance(features, (features.first, features.first), jnp.zeros((), jnp.int32))

    def advance(self, features: AttendedFeatures, memory: Memory, token: Array) -> Memory:
        """Attend with the last hidden state, feed word and context."""
        gates = self.attention(memory[0], features.gates, features.keys)
        h, c = self.rnn(memory, self.drop(self.embed(token)), gates)
        return h, c

    def logits(self, memory: Memory) -> Array:
        """Score the next word."""
        return jnp.asarray(self.logit(self.drop(memory[0])))
