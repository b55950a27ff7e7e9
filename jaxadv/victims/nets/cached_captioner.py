"""What the published captioners have in common: tokens are read once, their keys and values kept.

A subclass declares `blocks`, a module a layer, which maps
`(rows f32[n, units], positions i32[n], words, cells)` to rows and words: what the layer remembers
of the words before and of the picture. It declares the embedding `positions`, too.
"""

from dataclasses import dataclass
from operator import itemgetter

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.errors import InputError
from jaxadv.victims.nets.attention import stacked
from jaxadv.victims.nets.hub_config import TextConfig
from jaxadv.victims.nets.inference import normalised
from jaxadv.victims.nets.transformer import Memory, Said
from jaxadv.victims.nets.vision_tower import VisionConfig


@dataclass(frozen=True)
class PublishedConfig:
    """What a captioner is made of.

    Attributes:
      vision: the tower's sizes.
      text: the sizes of the layers that read words.
      begin: number of the token that begins a caption.
      end: the tokenizer's token that ends one, which has number 0.
    """

    vision: VisionConfig
    text: TextConfig
    begin: int
    end: int

    @property
    def side(self) -> int:
        """Side of a picture, in pixels."""
        return self.vision.side


class CachedCaptioner(nn.Module):
    """A captioner that begins with given tokens and then takes in a word at a time.

    Attributes:
      config: its sizes, and `begin`, the number of the token that it begins with.
      mean, std: what images are normalised with, a channel each.
      max_length: the most words that are fed.
      prompt: numbers of the tokens between the one that begins and a caption's first word.

    Raises:
      InputError: there are fewer positions than places in a caption.
    """

    config: PublishedConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_length: int
    prompt: tuple[int, ...] = ()

    def see(self, image: Array) -> Memory:
        """Make every layer's keys and values of a normalised image f32[H, W, 3]."""
        raise NotImplementedError

    def embedded(self, tokens: Array, positions: Array) -> Array:
        """Embed tokens i32[n] at positions i32[n] as f32[n, units]."""
        raise NotImplementedError

    def logits(self, said: Said) -> Array:
        """`Captioner.logits`."""
        raise NotImplementedError

    def encode(self, image: Array) -> Memory:
        """`Captioner.encode`."""
        return self.see(normalised(image, self.mean, self.std))

    def begin(self, cells: Memory) -> Said:
        """`Captioner.begin`: reads all that comes before the first word at once."""
        tokens = jnp.asarray((self.config.begin, *self.prompt), jnp.int32)
        room = len(tokens) + self.max_length
        if room > self.positions.num_embeddings:
            raise InputError(
                f"captions of {self.max_length} words after {len(tokens)} tokens: this victim has "
                f"{self.positions.num_embeddings} positions"
            )
        last, words = self._read(cells, tokens, jnp.arange(len(tokens)), None)
        free = ((0, 0), (0, self.max_length), (0, 0), (0, 0))
        words = jax.tree.map(lambda x: jnp.pad(x, free), words)
        return Said(words, jnp.asarray(len(tokens), jnp.int32), last)

    def advance(self, cells: Memory, said: Said, token: Array) -> Said:
        """`Captioner.advance`."""
        last, words = self._read(cells, token[None], said.position[None], said.words)
        return Said(words, said.position + 1, last)

    def _read(
        self, cells: Memory, tokens: Array, positions: Array, words: Memory | None
    ) -> tuple[Array, Memory]:
        """Take in tokens; return what the last layer makes of the last one, and all memories."""
        rows = self.embedded(tokens, positions)
        memories = []
        for number, block in enumerate(self.blocks):
            of_block = [jax.tree.map(itemgetter(number), m) for m in (words, cells)]
            rows, memory = block(rows, positions, *of_block)
            memories.append(memory)
        return rows[-1], stacked(memories)

    def __call__(self, image: Array) -> Array:
        """Score the first word; touches every parameter, for `init`."""
        return self.logits(self.begin(self.encode(image)))
