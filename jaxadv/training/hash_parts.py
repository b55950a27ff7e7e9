"""How parts of a hasher's network are fitted in turn: their layers, their optimiser, their input.

Each part has an optimiser of its own, since Adam would go on moving layers whose turn it is not.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxadv.data.pairs import Pairs, PairsError, as_examples
from jaxadv.victims.nets.hash_net import HashNet


class Part(NamedTuple):
    """Layers that are fitted together, by name, and their optimiser's state."""

    layers: Any
    state: Any


def begin(optimiser: optax.GradientTransformation, layers: Any) -> Part:
    """Return a part before its first step."""
    return Part(layers, jax.jit(optimiser.init)(layers))


def stepper(
    optimiser: optax.GradientTransformation, loss: Callable[..., tuple[Array, Any]]
) -> Callable[..., tuple[Part, Array, Any]]:
    """Compile one step of a part.

    Args:
      optimiser: the part's.
      loss: `(layers, *given) -> (value, what else it found)`.

    Returns:
      `(part, *given) -> (the part after the step, value, what else was found)`.
    """

    @jax.jit
    def step(part: Part, *given: Any) -> tuple[Part, Array, Any]:
        (value, found), gradient = jax.value_and_grad(loss, has_aux=True)(part.layers, *given)
        updates, state = optimiser.update(gradient, part.state)
        return Part(optax.apply_updates(part.layers, updates), state), value, found

    return step


def split(variables: Any, *parts: tuple[str, ...]) -> tuple[Any, ...]:
    """Return each part's layers by name, and after them the variables that are not trained."""
    layers = variables["params"]
    rest = {name: values for name, values in variables.items() if name != "params"}
    return (*({name: layers[name] for name in part} for part in parts), rest)


def merge(rest: Any, *parts: Any) -> Any:
    """Put together again what `split` returned."""
    return {"params": {name: layer for part in parts for name, layer in part.items()}, **rest}


def say(net: nn.Module, layers: Any, inputs: Array, method: str = "__call__") -> Any:
    """Apply one of a network's functions, given its layers."""
    return net.apply({"params": layers}, inputs, method=method)


def see(net: HashNet, method: str, layers: Any, rest: Any, images: Array) -> tuple[Any, Any]:
    """Apply the picture's side as in training; the second is `rest`, its statistics brought on."""
    variables = {"params": layers, **rest}
    if "batch_stats" not in rest:
        return net.apply(variables, images, method=method), rest
    said, changed = net.apply(variables, images, train=True, method=method, mutable=["batch_stats"])
    return said, {**rest, **changed}


def mirror(pictures: Array, key: Array) -> Array:
    """Return pictures u8[b, H, W, 3] as images in [0, 1], half of them mirrored; or features."""
    if pictures.ndim == 2:
        return pictures
    mirrored = jax.random.bernoulli(key, shape=(len(pictures), 1, 1, 1))
    return jnp.where(mirrored, pictures[:, :, ::-1], pictures) / 255


def batches(count: int, batch: int, most: int) -> int:
    """Return how many whole batches a round through so many pairs has, at most `most`.

    Raises:
      PairsError: not even one.
    """
    if count < batch:
        raise PairsError(f"{count} pairs do not make a batch of {batch}")
    return min(most, count // batch)


def shuffled(count: int, batch: int, number: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return so many batches of the rows 0, ..., count - 1 in a random order."""
    return np.split(rng.permutation(count)[: number * batch], number)


def hash_pairs(net: HashNet, variables: Any, pairs: Pairs, batch: int = 200) -> tuple[Array, Array]:
    """Return the codes f32[n, K] of the pictures and of the texts, before the sign."""
    starts = range(0, len(pairs.ids), batch)
    images = [_image_code(net, variables, pairs.pictures[i : i + batch]) for i in starts]
    texts = [_text_code(net, variables, pairs.tags[i : i + batch]) for i in starts]
    return jnp.concatenate(images), jnp.concatenate(texts)


@partial(jax.jit, static_argnames="net")
def _image_code(net: HashNet, variables: Any, pictures: Array) -> Any:
    return net.apply(variables, as_examples(pictures), method="image_code")


@partial(jax.jit, static_argnames="net")
def _text_code(net: HashNet, variables: Any, tags: Array) -> Any:
    return net.apply(variables, tags, method="text_code")
