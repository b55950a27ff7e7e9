"""What a captioner says of pictures, in words."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, beam, greedy
from jaxadv.errors import InputError


class Loaded(Protocol):
    """A captioner with its parameters, such as `jaxadv.load` returns."""

    @property
    def model(self) -> Any:
        """Its functions."""

    @property
    def params(self) -> Any:
        """Its parameters."""


def say(victim: Loaded, images: Any, size: int = 1) -> str | list[str]:
    """Caption a picture, or a batch of pictures.

    Args:
      victim: the captioner, with its parameters.
      images: f32[H, W, 3] in [0, 1], or f32[B, H, W, 3].
      size: of the beam; 1 decodes greedily, which is what attacks are judged by.

    Returns:
      the caption, or a list of captions.

    Raises:
      InputError: the victim is no captioner, or the pictures are of another shape.
    """
    model: Captioner = victim.model
    checks.victim(model, Captioner, "captioner")
    pictures = jnp.asarray(images)
    alone = pictures.ndim == 3
    pictures = pictures[None] if alone else pictures
    if pictures.shape[1:] != model.image_shape:
        raise InputError(
            f"images {list(jnp.shape(images))}: must be {list(model.image_shape)}, or a batch of it"
        )
    tokens = np.asarray(_captions(model, victim.params, pictures, size))
    said = [model.vocabulary.decode(row) for row in tokens]
    return said[0] if alone else said


def _captions(model: Captioner, params: Any, pictures: Array, size: int) -> Array:
    def one(picture: Array) -> Array:
        features = model.encode(params, picture)
        if size == 1:
            return greedy(model, params, features).tokens
        return beam(model, params, features, size).tokens

    found: Array = jax.jit(jax.vmap(one))(pictures)
    return found
