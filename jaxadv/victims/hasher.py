"""The protocol of cross-modal hashers: a picture and a bag of words to codes of as many bits.

Both codes live in one space: what a picture and a text have in common brings their codes near in
Hamming distance (CMLA, Li et al. 2019, section 3.1). One example at a time: `vmap` from outside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

Params = Any


class CrossModalHasher(NamedTuple):
    """A pair of hash functions, before the sign.

    Attributes:
      image_code: `(params, image f32[H, W, 3] in [0, 1]) -> f32[K]`, the output of the hash layer
        (of its tanh, where there is one). The network's own normalisation is part of it.
      text_code: `(params, bag f32[T]) -> f32[K]`, of a bag of words: 1 where a tag is given.
      bits: K.
      image_shape: (H, W, 3); or (d,) where a data set publishes features, not pictures.
      tags: the T words of the bag.
      classes: the labels that say what is alike: two items that share one are similar.
    """

    image_code: Callable[[Params, Array], Array]
    text_code: Callable[[Params, Array], Array]
    bits: int
    image_shape: tuple[int, ...]
    tags: tuple[str, ...]
    classes: tuple[str, ...]


def binary_code(code: Array) -> Array:
    """Return the bits of a code f32[..., K], -1 or 1 (CMLA eq. 1); the sign of 0 is 1."""
    return jnp.where(code >= 0, 1, -1).astype(code.dtype)
