"""What may become of a picture on its way to the victim, differentiable and of fixed shapes.

A transformation is a pure function of a key and one picture f32[H, W, 3] in [0, 1], which it
returns in the same size. `jpeg` is in `jpeg.py`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from jaxadv import checks

Transformation = Callable[[PRNGKeyArray, Float[Array, "H W 3"]], Float[Array, "H W 3"]]
"""`(key, picture f32[H, W, 3]) -> picture f32[H, W, 3]`."""


def noise(deviation: float) -> Transformation:
    """Add Gaussian noise of that standard deviation to every value, and clip to [0, 1].

    Raises:
      InputError: the deviation is negative or not finite.
    """
    checks.not_negative("deviation", deviation)

    def add(key: PRNGKeyArray, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
        drawn = jax.random.normal(key, image.shape, image.dtype)
        return jnp.clip(image + deviation * drawn, 0.0, 1.0)

    return add


def resizing(least: float, most: float = 1.0) -> Transformation:
    """Shrink a picture to a drawn share of its sides, and enlarge it back, as Pillow's `BILINEAR`.

    Args:
      least: smallest share, above 0.
      most: largest share, at most 1: then nothing is changed.

    Raises:
      InputError: a share outside 0 to 1, or `least` above `most`.
    """
    checks.share("most", most)
    checks.share("least", least, most)

    def shrink_and_enlarge(
        key: PRNGKeyArray, image: Float[Array, "H W 3"]
    ) -> Float[Array, "H W 3"]:
        share = jax.random.uniform(key, (), image.dtype, least, most)
        for axis in (0, 1):
            size = image.shape[axis]
            small = jnp.clip(jnp.round(share * size), 1, size)
            there = _triangle(size, size, small, size).astype(image.dtype)
            back = _triangle(size, size, size, small).astype(image.dtype)
            image = jnp.moveaxis(jnp.tensordot(back @ there, image, (1, axis)), 0, axis)
        return image

    return shrink_and_enlarge


def _triangle(
    rows: int, columns: int, wanted: Float[Array, ""] | int, size: Float[Array, ""] | int
) -> Float[Array, "{rows} {columns}"]:
    """Weights of `size` old pixels in `wanted` new ones, f32[rows, columns], zero beyond these.

    `data.resampling.weights`, for sizes that are drawn.
    """
    scale = size / wanted
    reach = jnp.maximum(scale, 1.0)
    new, old = jnp.arange(rows)[:, None] + 0.5, jnp.arange(columns)[None] + 0.5
    heights = jnp.maximum(1 - jnp.abs(old - new * scale) / reach, 0.0)
    heights = jnp.where((old < size) & (new < wanted), heights, 0.0)
    return heights / jnp.maximum(heights.sum(axis=1, keepdims=True), 1e-6)


def in_turn(*transformations: Transformation) -> Transformation:
    """Apply one transformation after the other, each with its own randomness.

    Raises:
      InputError: one of them is no function.
    """
    for transformation in transformations:
        checks.callable_("transformations", transformation, "noise(0.01)")

    def apply(key: PRNGKeyArray, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
        for number, transformation in enumerate(transformations):
            image = transformation(jax.random.fold_in(key, number), image)
        return image

    return apply
