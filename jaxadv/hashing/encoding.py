"""The codes of many pictures and texts, which an attack takes as its context."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv import checks
from jaxadv.core.attack import Params
from jaxadv.core.loaded import Loaded
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import Known
from jaxadv.hashing.hasher import CrossModalHasher

AT_ONCE = 200  # pictures, in memory


def known(victim: Loaded, pictures: Any, texts: Any) -> Known:
    """Hash the pairs that an attack may look at; CMLA takes what is returned as its parameters.

    Args:
      victim: the hasher, with its parameters.
      pictures: f32[N, H, W, 3] in [0, 1].
      texts: f32[N, T], a bag of words for each picture.

    Returns:
      the victim's parameters and the pairs' outputs of the hash layers, f32[N, K] each.

    Raises:
      InputError: the victim is no hasher, or there is not a text for each picture.
    """
    model: CrossModalHasher = victim.model
    checks.victim(model, CrossModalHasher, "hasher")
    if len(pictures) != len(texts) or not len(texts):
        raise InputError(f"texts: {len(texts)}, of {len(pictures)} pictures; must be one for each")
    return Known(
        victim.params,
        _codes(model.image_code, victim.params, pictures),
        _codes(model.text_code, victim.params, texts),
    )


def _codes(code: Any, params: Params, examples: Any) -> Array:
    starts = range(0, len(examples), AT_ONCE)
    return jnp.concatenate(
        [_of_many(code, params, jnp.asarray(examples[i : i + AT_ONCE])) for i in starts]
    )


@partial(jax.jit, static_argnums=0)
def _of_many(code: Any, params: Params, examples: Array) -> Array:
    return jax.vmap(code, in_axes=(None, 0))(params, examples)
