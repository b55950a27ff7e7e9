"""Show-and-Tell (Vinyals et al. 2015) and FC (Rennie et al. 2017), as ruotianluo implemented them.

Both see the picture once, as the first input of the recurrent net; then come the words.
"""

from typing import NamedTuple

import flax.linen as nn
from jax import Array

from jaxadv.victims.nets.recurrent import (
    LSTM,
    MaxoutLSTM,
    Memory,
    shared_embedding,
    zero_memory,
)


class PooledFeatures(NamedTuple):
    """What Show-and-Tell and FC see of a picture: the embedded mean of the grid, f32[units]."""

    image: Array


class ShowTell(nn.Module):
    """`ShowTellModel`: plain LSTM, image first; with `maxout`, `FCModel`."""

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    maxout: bool = False
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters, named as in the checkpoints."""
        self.img_embed = nn.Dense(self.units)
        self.embed = nn.Embed(self.vocabulary_size, self.units, embedding_init=shared_embedding)
        self.core = (MaxoutLSTM if self.maxout else LSTM)(self.units)
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> PooledFeatures:
        """Turn a backbone's grid f32[h, w, C] into what the decoder looks at."""
        return PooledFeatures(self.img_embed(grid.mean(axis=(0, 1))))

    def begin(self, features: PooledFeatures) -> tuple[Memory, Array]:
        """Feed the picture, then the begin token; return the scores of the first word."""
        memory = self.core(zero_memory(self.units, features.image), features.image)
        return self._step(memory, self.embed.embedding[0])

    def advance(
        self, features: PooledFeatures, memory: Memory, token: Array
    ) -> tuple[Memory, Array]:
        """Feed a word; return the scores of the next."""
        return self._step(memory, self.embed(token))

    def _step(self, memory: Memory, x: Array) -> tuple[Memory, Array]:
        memory = self.core(memory, self.drop(x))
        return memory, self.logit(self.drop(memory[0]))
