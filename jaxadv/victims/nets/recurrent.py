"""The recurrent cells of the captioners, as ruotianluo's self-critical.pytorch defines them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept

Memory = tuple[Array, Array]  # hidden state h and cell c, f32[units] each


_LECUN = nn.initializers.lecun_normal()


def shared_embedding(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draw word embeddings that share one unit component, for `open_forget_gate` to find."""
    noise = jax.random.normal(key, shape, dtype)
    return (noise + 1.0) / jnp.sqrt(jnp.asarray(shape[-1], dtype))


def open_forget_gate(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draw input weights whose forget gate starts at sigmoid(2) on a `shared_embedding`.

    This LSTM has no bias to set. Were the gate to start half open, what Show-and-Tell saw of the
    picture would be gone before it comes to the first noun, and nothing would be learned of it.
    """
    units = shape[1] // 4
    opened = jnp.zeros(shape, dtype).at[:, units : 2 * units].set(2.0 / shape[0] ** 0.5)
    return _LECUN(key, shape, dtype) + opened


class LSTM(nn.Module):
    """torch's `nn.LSTM`, one step; gates in the order input, forget, cell, output.

    ruotianluo's have no bias; with `bias` there is one, which is TensorFlow's `BasicLSTMCell`.
    """

    units: int
    bias: bool = False

    @nn.compact
    def __call__(self, memory: Memory, x: Array, of_others: Array | None = None) -> Memory:
        """Advance the memory by one input f32[inputs].

        `of_others` f32[4 units] is what the gates get from whatever else belongs to the input.
        """
        h, c = memory
        of_input = nn.Dense(
            4 * self.units, use_bias=self.bias, kernel_init=open_forget_gate, name="weight_ih"
        )
        of_hidden = nn.Dense(4 * self.units, use_bias=False, name="weight_hh")
        gates = of_input(x) + of_hidden(h)
        if of_others is not None:
            gates = gates + of_others
        i, f, g, o = jnp.split(kept(gates), 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c), c


class MaxoutLSTM(nn.Module):
    """The LSTM of FC and Att2in: the candidate is the larger of two (maxout), tanh only outside.

    Gates in the order input, forget, output, two candidates. `attended`, where given, is added to
    both candidates through `a2c`.
    """

    units: int

    @nn.compact
    def __call__(self, memory: Memory, x: Array, attended: Array | None = None) -> Memory:
        """Advance the memory by one input f32[inputs] and, for Att2in, the attended cell."""
        h, c = memory
        of_input, of_hidden = (nn.Dense(5 * self.units, name=name) for name in ("i2h", "h2h"))
        gates, candidates = jnp.split(of_input(x) + of_hidden(h), [3 * self.units], axis=-1)
        if attended is not None:
            candidates = candidates + nn.Dense(2 * self.units, name="a2c")(attended)
        i, f, o = jnp.split(nn.sigmoid(kept(gates)), 3, axis=-1)
        c = f * c + i * jnp.maximum(*jnp.split(kept(candidates), 2, axis=-1))
        return o * jnp.tanh(c), c


class _Weights(nn.Module):
    """The parameters of `nn.Dense(1)`, for use inside a loop."""

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Array, Array]:
        kernel = self.param("kernel", _LECUN, (inputs, 1))
        return kernel[:, 0], self.param("bias", nn.initializers.zeros, (1,))[0]


class AdditiveAttention(nn.Module):
    """Additive attention: `softmax(w . tanh(keys + W h))` over the cells of the grid.

    The tanh of every cell is what a decoder of many lanes spends its memory on. It is taken some
    cells at a time, and again in the reverse pass, so that it stays in the cache and is never kept.
    """

    units: int

    @nn.compact
    def __call__(self, h: Array, cells: Array, keys: Array) -> Array:
        """Return the attended mean of `cells` f32[cells, C]; `keys` f32[cells, units]."""
        query = kept(nn.Dense(self.units, name="h2att")(h))
        w, bias = _Weights(name="alpha_net")(self.units)

        @jax.checkpoint
        def score(keys: Array) -> Array:
            return jnp.tanh(keys + query) @ w + bias

        some = _cells_at_once(len(keys))
        scores = kept(jax.lax.map(score, keys.reshape(-1, some, self.units)).reshape(-1))
        return jnp.asarray(nn.softmax(scores) @ cells)


def _cells_at_once(cells: int, most: int = 64) -> int:
    """Return the largest divisor of the number of cells up to `most`."""
    return next(n for n in range(min(cells, most), 0, -1) if cells % n == 0)


def zero_memory(units: int, like: Array) -> Memory:
    """Return the memory before the first word, in the precision of `like`."""
    return jnp.zeros(units, like.dtype), jnp.zeros(units, like.dtype)
