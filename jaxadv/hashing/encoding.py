"""The codes of many pictures and texts, which an attack takes as its context."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv import checks
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import Known
from jaxadv.hashing.hasher import CrossModalHasher

AT_ONCE = 200  # pictures, in memory


class Loaded(Protocol):
    """A hasher with its parameters, such as `jaxadv.load` returns."""

    @property
    def model(self) -> Any:
        """Its functions."""

    @property
    def params(self) -> Any:
        """Its parameters."""


def known(victim: Loaded, pictures: Any, texts: Any) -> Known:
    """Hash the pairs that an attack may look at; CMLA takes what is returned as its parameters.

    Args:
      victim: the hasher, with its parameters.
      pictures: f32[N, H, W, 3] in [0, 1].
      texts: f32[N, T], a bag of words for each picture.

    Raises:
      InputError: the victim is no hasher, or there is not a text for each picture.
    """
    model: CrossModalHasher = victim.model
    checks.victim(model, CrossModalHasher, "hasher")
    if len(pictures) != len(texts) or not len(texts):
        raise InputError(f"texts: {len(texts)}, of {len(pictures)} pictures; must be one for each")
    sides = ((model.image_code, pictures), (model.text_code, texts))
    return Known(victim.params, *(_codes(code, victim.params, some) for code, some in sides))


def _codes(code: Any, params: Any, examples: Any) -> Array:
    of_many = jax.jit(jax.vmap(code, in_axes=(None, 0)))
    starts = range(0, len(examples), AT_ONCE)
    return jnp.concatenate([of_many(params, examples[i : i + AT_ONCE]) for i in starts])
