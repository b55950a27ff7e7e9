"""Batches of examples, and parts of a network, as training takes them."""

from collections.abc import Collection, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data.pairs import PairsError


def generator(key: Array) -> np.random.Generator:
    """Return NumPy's random generator, seeded with a key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def shuffled(count: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows 0, ..., count - 1 once, in random order and whole batches."""
    order = rng.permutation(count)
    for first in range(0, count - batch + 1, batch):
        yield order[first : first + batch]


def whole_batches(count: int, batch: int) -> int:
    """Return the number of whole batches in a pass over pairs.

    Raises:
      PairsError: there is none.
    """
    if count < batch:
        raise PairsError(f"{count} pairs do not make a batch of {batch}")
    return count // batch


def passes(count: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches of rows, endlessly; every pass is shuffled again."""
    while True:
        yield from shuffled(count, batch, rng)


def mirror(pictures: Array, key: Array) -> Array:
    """Turn pictures u8[b, H, W, 3] into images in [0, 1] and mirror each with probability 1/2.

    Features f32[b, d] are returned unchanged.
    """
    if pictures.ndim == 2:
        return pictures
    mirrored = jax.random.bernoulli(key, shape=(len(pictures), 1, 1, 1))
    return jnp.where(mirrored, pictures[:, :, ::-1], pictures) / 255


def see(net: nn.Module, method: str, params: Any, rest: Any, images: Array) -> tuple[Any, Any]:
    """Apply a method in training mode; return its output and `rest` with new batch statistics."""
    variables = {"params": params, **rest}
    if "batch_stats" not in rest:
        return net.apply(variables, images, method=method), rest
    said, changed = net.apply(variables, images, train=True, method=method, mutable=["batch_stats"])
    return said, {**rest, **changed}


def say(net: nn.Module, params: Any, inputs: Array, method: str = "__call__") -> Any:
    """Apply a method of a network to inputs."""
    return net.apply({"params": params}, inputs, method=method)


def split(variables: Any, *parts: Collection[str]) -> tuple[Any, ...]:
    """Return the layers of each part, by name, and last the variables without gradients."""
    layers = variables["params"]
    rest = {name: values for name, values in variables.items() if name != "params"}
    return (*({n: layer for n, layer in layers.items() if n in part} for part in parts), rest)


def merge(rest: Any, *parts: Any) -> Any:
    """Undo `split`."""
    return {"params": {name: layer for part in parts for name, layer in part.items()}, **rest}
