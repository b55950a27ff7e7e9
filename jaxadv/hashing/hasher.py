"""The protocol of cross-modal hashers: a picture and a text to codes of as many bits.

Both codes live in one space: what a picture and a text have in common brings their codes near in
Hamming distance (CMLA, Li et al. 2019, section 3.1). One example at a time: `vmap` from outside.

A **dual encoder** (CLIP, Radford et al. 2021) is one whose codes are embeddings of norm 1, compared
by their inner product as they are, without signs: it has a `logit_scale`, and hashers have none.

A text is a bag of words, 1 where a tag is given; for a victim that has a `reader`, a sequence of
tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Real

from jaxadv.data.bags import parse_bag, say_bag

Params = Any


class TextReader(Protocol):
    """Turns texts into tokens, and back."""

    @property
    def length(self) -> int:
        """Tokens of a text."""

    @property
    def size(self) -> int:
        """Tokens that there are."""

    @property
    def words(self) -> np.ndarray:
        """Which tokens are whole words, bool[size]."""

    @property
    def starts(self) -> np.ndarray:
        """Which tokens no word continues with from the one before, bool[size]."""

    @property
    def ends(self) -> np.ndarray:
        """Which tokens no word continues from to the one behind, bool[size]."""

    def encode(self, text: str) -> np.ndarray:
        """Turn a text into tokens i32[length]."""

    def decode(self, tokens: Any) -> str:
        """Turn tokens i32[length] into a text."""


class CrossModalHasher(NamedTuple):
    """A pair of hash functions, before the sign; or of encoders whose embeddings are compared.

    Attributes:
      image_code: `(params, image f32[H, W, 3] in [0, 1]) -> f32[K]`, the output of the hash layer
        (of its tanh, where there is one). The network's own normalisation is part of it. Of a dual
        encoder an embedding of norm 1 (`unit`).
      text_code: `(params, text) -> f32[K]`, of a bag of words f32[T], 1 where a tag is given, or of
        tokens i32[length] of the `reader`. Of tokens it also takes, so that words have a slope,
        weights over all V of them f32[length, V], of which one-hot rows are tokens.
      bits: K.
      image_shape: (H, W, 3); or (d,) where a data set publishes features, not pictures.
      tags: the T words of the bag; none where there is a `reader`.
      classes: the labels that say what is alike: two items that share one are similar. None, for a
        victim that was not made for a set of labels: those of the data.
      logit_scale: how two codes are compared. None: by the Hamming distance of their signs. Of a
        dual encoder `(params) -> f32[]`, the positive number by which it multiplies the inner
        product of two embeddings to have a logit (CLIP's `exp(t)`): the larger the product, the
        nearer.
      reader: how texts become tokens; None where a text is a bag of words.
    """

    image_code: Callable[[Params, Float[Array, "*picture"]], Float[Array, " K"]]
    text_code: Callable[[Params, Real[Array, " text"]], Float[Array, " K"]]
    bits: int
    image_shape: tuple[int, ...]
    tags: tuple[str, ...]
    classes: tuple[str, ...]
    logit_scale: Callable[[Params], Float[Array, ""]] | None = None
    reader: TextReader | None = None

    @property
    def text_shape(self) -> tuple[int]:
        """Of a text: (T,), or (length,)."""
        return (len(self.tags),) if self.reader is None else (self.reader.length,)

    def read(self, text: str) -> np.ndarray:
        """Turn a text that a person wrote into a bag f32[T] or tokens i32[length].

        Raises:
          InputError: the victim does not know its words.
        """
        return parse_bag(text, self.tags) if self.reader is None else self.reader.encode(text)

    def say(self, text: Any) -> str:
        """Turn a bag f32[T] or tokens i32[length] into a text for a person."""
        return say_bag(text, self.tags) if self.reader is None else self.reader.decode(text)


def binary_code(code: Float[Array, "*items K"]) -> Float[Array, "*items K"]:
    """Return the bits of a code f32[..., K], -1 or 1 (CMLA eq. 1); the sign of 0 is 1."""
    return jnp.where(code >= 0, 1, -1).astype(code.dtype)


def unit(code: Float[Array, "*items K"]) -> Float[Array, "*items K"]:
    """Return a code f32[..., K] at norm 1, as dual encoders are compared; 0 stays 0.

    >>> unit(jnp.array([3.0, 4.0])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    # under the root, so that the gradient at 0 is finite
    return code / jnp.sqrt(jnp.sum(code**2, axis=-1, keepdims=True) + 1e-12)


def pair_scale(victim: CrossModalHasher, params: Params) -> Float[Array, ""] | float:
    """Return what the inner product of two codes is multiplied by for the logit of their likeness.

    Hashers are trained to have `P(S_ij = 1) = σ(½ F_i G_jᵀ)`, dual encoders have their own scale.
    """
    return 0.5 if victim.logit_scale is None else victim.logit_scale(params)
