"""A victim with its parameters, of any kind, and the pictures that it takes."""

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from jaxadv.errors import InputError


class Loaded(Protocol):
    """A victim with its parameters, such as `jaxadv.load` returns."""

    @property
    def model(self) -> Any:
        """Its pure functions: a `Captioner`, a `MultiLabelClassifier` or a `CrossModalHasher`."""

    @property
    def params(self) -> Any:
        """Its parameters."""


def as_pictures(images: Any, shape: tuple[int, int, int]) -> tuple[Array, bool]:
    """Return pictures as a batch, and whether there was one alone.

    Args:
      images: f32[H, W, 3] in [0, 1], or f32[B, H, W, 3].
      shape: H, W and 3, as the victim takes them.

    Raises:
      InputError: pictures of another shape.
    """
    pictures = jnp.asarray(images)
    alone = pictures.ndim == 3
    pictures = pictures[None] if alone else pictures
    if pictures.shape[1:] != tuple(shape):
        raise InputError(
            f"images of shape {jnp.shape(images)}: must be {tuple(shape)}, or a batch of such; "
            "jaxadv.resize(image, (H, W)) makes one"
        )
    return pictures, alone
