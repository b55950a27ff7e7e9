"""Parts of the published networks; of attention, over one or more memories, many rows at once.

Equations are those of Vaswani et al. (2017).
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.victims.nets.transformer import Memory


def quick_gelu(x: Array) -> Array:
    """Approximate GELU by a sigmoid (Hendrycks and Gimpel 2016), as CLIP does."""
    return x * nn.sigmoid(1.702 * x)


#: what a `config.json` calls an activation: what it is
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_new": partial(nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
}


def layer_norm(epsilon: float, name: str | None = None) -> nn.LayerNorm:
    """Make a layer norm that loses no digits where the mean is large: `epsilon` is often 1e-12."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


class Attention(nn.Module):
    """`softmax(Q K' / sqrt(size)) V` in several heads (eq. 1, section 3.2.2)."""

    units: int
    heads: int

    def setup(self) -> None:
        """Declare the linear maps."""
        heads = (self.heads, self.units // self.heads)
        self.query, self.key, self.value = (nn.DenseGeneral(heads) for _ in range(3))
        self.out = nn.DenseGeneral(self.units, axis=(-2, -1))

    def remember(self, rows: Array) -> Memory:
        """Make keys and values of rows f32[n, channels]."""
        return Memory(kept(self.key(rows)), kept(self.value(rows)))

    def __call__(self, rows: Array, *memories: Memory, hidden: Array | None = None) -> Array:
        """Attend from rows f32[n, units] to all memories, of m rows each.

        `hidden` bool[n, m] marks what each row does not see of the last memory. Memories are not
        put together: what all hypotheses share stays one.
        """
        query = kept(self.query(rows))
        scale = math.sqrt(query.shape[-1])
        scores = [kept(jnp.einsum("nhd,mhd->hnm", query, m.keys) / scale) for m in memories]
        if hidden is not None:
            scores[-1] = jnp.where(hidden, -jnp.inf, scores[-1])
        weights = nn.softmax(jnp.concatenate(scores, axis=-1))
        ends = np.cumsum([len(m.keys) for m in memories])[:-1]
        attended = sum(
            jnp.einsum("hnm,mhd->nhd", of_one, memory.values)
            for of_one, memory in zip(jnp.split(weights, ends, axis=-1), memories, strict=True)
        )
        return kept(self.out(attended))


class WideAndNarrow(nn.Module):
    """Two linear maps with an activation between them (eq. 2)."""

    units: int
    wide: int
    activation: str

    def setup(self) -> None:
        """Declare the linear maps."""
        self.widen, self.narrow = nn.Dense(self.wide), nn.Dense(self.units)

    def __call__(self, rows: Array) -> Array:
        """Map rows f32[n, units] to as many."""
        return kept(self.narrow(ACTIVATIONS[self.activation](kept(self.widen(rows)))))


def extended(words: Memory | None, new: Memory, positions: Array) -> Memory:
    """Add what is remembered of tokens to what is of those before.

    Args:
      words: of the tokens before, with room for more; None where there are none.
      new: of the new tokens; one, where there are some before.
      positions: of the new tokens, i32[n].
    """
    if words is None:
        return new
    # chosen by a mask: an update in place becomes a scatter where lanes are batched
    here = (jnp.arange(len(words.keys)) == positions)[:, None, None]
    return jax.tree.map(lambda new, old: jnp.where(here, new, old), new, words)


def to_come(words: Memory, positions: Array) -> Array:
    """Mark the words that tokens at `positions` i32[n] do not see, as they come later; bool[n, m].

    >>> import jax.numpy as jnp
    >>> rows = jnp.zeros((3, 1, 1))
    >>> to_come(Memory(rows, rows), jnp.array([0, 1])).tolist()
    [[False, True, True], [False, False, True]]
    """
    return jnp.arange(len(words.keys)) > positions[:, None]


def stacked(memories: list[Memory]) -> Memory:
    """Put the memories of the layers together, one behind another."""
    return jax.tree.map(lambda *x: jnp.stack(x), *memories)
