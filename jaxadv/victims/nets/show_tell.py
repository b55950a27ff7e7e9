"""Show-and-Tell (Vinyals et al. 2015), as ruotianluo and as Google implemented it, and FC.

FC (Rennie et al. 2017) is ruotianluo's. All see the picture once, as the first input of the
recurrent net; then come the words.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.recurrent import LSTM, MaxoutLSTM, Memory, shared_embedding, zero_memory


class PooledFeatures(NamedTuple):
    """What Show-and-Tell and FC see of a picture: the embedded mean of the grid, f32[units]."""

    image: Array


class ShowTell(nn.Module):
    """ruotianluo's `ShowTellModel`: plain LSTM, image first.

    With `maxout`, `FCModel` and `NewFCModel`. With `im2txt`, Google's: the LSTM has a bias and the
    image's embedding has none.
    """

    placeless: ClassVar[bool] = True

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    maxout: bool = False
    im2txt: bool = False
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters, named as in the checkpoints."""
        self.img_embed = nn.Dense(self.units, use_bias=not self.im2txt)
        self.embed = nn.Embed(self.vocabulary_size, self.units, embedding_init=shared_embedding)
        self.core = MaxoutLSTM(self.units) if self.maxout else LSTM(self.units, self.im2txt)
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> PooledFeatures:
        """Turn a backbone's grid f32[h, w, C] into what the decoder looks at."""
        return PooledFeatures(self.img_embed(grid.mean(axis=(0, 1))))

    def begin(self, features: PooledFeatures) -> Memory:
        """Feed the picture, then the begin token."""
        memory = self.core(zero_memory(self.units, features.image), features.image)
        return self._feed(memory, self.embed.embedding[0])

    def advance(self, features: PooledFeatures, memory: Memory, token: Array) -> Memory:
        """Feed a word."""
        return self._feed(memory, self.embed(token))

    def _feed(self, memory: Memory, x: Array) -> Memory:
        h, c = self.core(memory, self.drop(x))
        return h, c

    def logits(self, memory: Memory) -> Array:
        """Score the next word."""
        return jnp.asarray(self.logit(self.drop(memory[0])))
