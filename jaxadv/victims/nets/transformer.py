"""A Transformer that captions (Vaswani et al. 2017), one word at a time.

Blocks normalise what they read (pre-norm), so that they train without a warm-up. A word attends to
itself and to those before it; their keys and values are in the state, so that a word costs a row of
the causal attention, not all of it. Equations and sections are those of the paper above.
"""

import math
from operator import itemgetter
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.errors import InputError


class Memory(NamedTuple):
    """What is attended to: `keys` and `values`, f32[..., n, heads, size]."""

    keys: Array
    values: Array


class Said(NamedTuple):
    """A caption so far.

    Attributes:
      words: of every block's inputs, [layers, max_length + 1, ...]; zero at places to come.
      position: i32[], how many tokens there are, the begin token among them.
      last: f32[units], what the last block makes of the last one.
    """

    words: Memory
    position: Array
    last: Array


def sinusoids(positions: Array, units: int) -> Array:
    """Encode positions f32[...] as f32[..., units]: sines, then cosines (section 3.5).

    >>> import jax.numpy as jnp
    >>> sinusoids(jnp.zeros(()), 4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    exponents = jnp.arange(units // 2, dtype=positions.dtype) / (units // 2)
    angles = positions[..., None] / 10_000**exponents
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Attention(nn.Module):
    """`softmax(Q K' / sqrt(size)) V` in several heads (eq. 1, section 3.2.2), for one query."""

    units: int
    heads: int

    def setup(self) -> None:
        """Declare the linear maps."""
        heads = (self.heads, self.units // self.heads)
        self.query, self.key, self.value = (nn.DenseGeneral(heads) for _ in range(3))
        self.out = nn.DenseGeneral(self.units, axis=(-2, -1))

    def remember(self, inputs: Array) -> Memory:
        """Make keys and values of inputs f32[..., channels]."""
        return Memory(kept(self.key(inputs)), kept(self.value(inputs)))

    def __call__(self, x: Array, memory: Memory, hidden: Array | None = None) -> Array:
        """Attend from x f32[units] to a memory, but not where it is `hidden`, bool[n]."""
        query = kept(self.query(x))
        scores = kept(jnp.einsum("hd,nhd->hn", query, memory.keys) / math.sqrt(query.shape[-1]))
        if hidden is not None:
            scores = jnp.where(hidden, -jnp.inf, scores)
        attended = jnp.einsum("hn,nhd->hd", nn.softmax(scores), memory.values)
        return kept(self.out(attended))


class Block(nn.Module):
    """A layer of the decoder (section 3.1): words, cells of the grid, two linear maps."""

    units: int
    heads: int
    dropout: float
    training: bool

    def setup(self) -> None:
        """Declare the parameters."""
        self.words, self.cells = (Attention(self.units, self.heads) for _ in range(2))
        self.widen, self.narrow = nn.Dense(4 * self.units), nn.Dense(self.units)
        self.norm_words, self.norm_cells, self.norm_wide = (nn.LayerNorm() for _ in range(3))
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def see(self, cells: Array) -> Memory:
        """Make keys and values of the cells f32[cells, units]."""
        return self.cells.remember(cells)

    def __call__(
        self, x: Array, position: Array, words: Memory, cells: Memory
    ) -> tuple[Array, Memory]:
        """Take in the token x f32[units] at a position; return its output and the words' memory."""
        places = jnp.arange(len(words.keys))
        normed = self.norm_words(x)
        # chosen by a mask: an update in place becomes a scatter where lanes are batched
        here = (places == position)[:, None, None]
        new = self.words.remember(normed)
        words = jax.tree.map(lambda new, old: jnp.where(here, new, old), new, words)
        x = x + self.drop(self.words(normed, words, hidden=places > position))
        x = x + self.drop(self.cells(self.norm_cells(x), cells))
        wide = nn.relu(kept(self.widen(self.norm_wide(x))))  # eq. 2
        return x + self.drop(kept(self.narrow(wide))), words


class Transformer(nn.Module):
    """The decoder: a causal Transformer over words that attends to the cells of a grid.

    Attributes:
      vocabulary_size: words and the end token, which also begins a caption.
      units: of the model, and a quarter of those between the two linear maps.
      dropout: of the embeddings and of what each sublayer adds (section 5.4).
      layers: blocks.
      heads: of each attention.
      max_length: the most words that are fed; the state has room for them and the begin token.
      training: dropout is on.

    Raises:
      InputError: `units` cannot be parted among the heads, or into sines and cosines of rows and
        columns.
    """

    placeless: ClassVar[bool] = False

    vocabulary_size: int
    units: int = 512
    dropout: float = 0.0
    layers: int = 6
    heads: int = 8
    max_length: int = 16
    training: bool = False

    def setup(self) -> None:
        """Declare the parameters."""
        least = math.lcm(self.heads, 4)
        if self.units % least:
            raise InputError(f"units {self.units}: a Transformer's must be a multiple of {least}")
        self.att_embed = nn.Dense(self.units)
        self.norm_grid = nn.LayerNorm()
        self.embed = nn.Embed(self.vocabulary_size, self.units)
        self.blocks = [
            Block(self.units, self.heads, self.dropout, self.training) for _ in range(self.layers)
        ]
        self.norm = nn.LayerNorm()
        self.logit = nn.Dense(self.vocabulary_size)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.training)

    def prepare(self, grid: Array) -> Memory:
        """Turn a backbone's grid f32[h, w, C] into every block's keys and values of its cells.

        A cell is embedded together with where it is: half of the units say its row, half its
        column.
        """
        rows, columns = (
            sinusoids(jnp.arange(size, dtype=grid.dtype), self.units // 2)
            for size in grid.shape[:2]
        )
        shape = (*grid.shape[:2], self.units // 2)
        where = [jnp.broadcast_to(x, shape) for x in (rows[:, None], columns[None])]
        cells = self.norm_grid(self.att_embed(grid) + jnp.concatenate(where, axis=-1))
        return _stack([block.see(cells.reshape(-1, self.units)) for block in self.blocks])

    def begin(self, cells: Memory) -> Said:
        """Feed the begin token to an empty memory."""
        shape = (self.layers, self.max_length + 1, *cells.keys.shape[-2:])
        nothing = jnp.zeros(shape, cells.keys.dtype)
        start = Said(
            Memory(nothing, nothing), jnp.zeros((), jnp.int32), jnp.zeros(self.units, nothing.dtype)
        )
        return self.advance(cells, start, jnp.zeros((), jnp.int32))

    def advance(self, cells: Memory, said: Said, token: Array) -> Said:
        """Feed a word at the next place."""
        where = sinusoids(said.position.astype(said.last.dtype), self.units)
        x = self.drop(self.embed(token) * math.sqrt(self.units) + where)  # section 3.4
        words = []
        for number, block in enumerate(self.blocks):
            of_block = [jax.tree.map(itemgetter(number), m) for m in (said.words, cells)]
            x, memory = block(x, said.position, *of_block)
            words.append(memory)
        return Said(_stack(words), said.position + 1, x)

    def logits(self, said: Said) -> Array:
        """Score the next word."""
        return jnp.asarray(self.logit(self.norm(said.last)))


def _stack(memories: list[Memory]) -> Memory:
    """Put the blocks' memories together, one behind another."""
    return jax.tree.map(lambda *x: jnp.stack(x), *memories)
