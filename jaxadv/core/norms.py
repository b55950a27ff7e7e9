"""Norms of perturbations, and the balls that they span."""

from typing import Literal, get_args

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Real

from jaxadv import checks

Norm = Literal["l1", "l2", "linf"]


def l2_norm(perturbation: Float[Array, "*picture"]) -> Float[Array, ""]:
    """‖ε‖₂, with a gradient of zero at zero."""
    square = jnp.sum(perturbation**2)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def measured(perturbation: Real[Array, "*picture"]) -> Float[Array, "*picture"]:
    """Return what norms are taken of: the perturbation; of tokens, 1 where another one stands.

    >>> measured(jnp.array([0, 7, -2])).tolist()
    [0.0, 1.0, 1.0]
    """
    if jnp.issubdtype(perturbation.dtype, jnp.floating):
        return perturbation
    return (perturbation != 0).astype(jnp.float32)


def length(perturbation: Float[Array, "*picture"], norm: Norm) -> Float[Array, ""]:
    """‖ε‖ in one of the three norms, with a gradient of zero at zero.

    >>> [float(length(jnp.array([3.0, -4.0]), norm)) for norm in ("l1", "l2", "linf")]
    [7.0, 5.0, 4.0]

    Raises:
      InputError: an unknown norm.
    """
    checks.one_of("norm", norm, get_args(Norm))
    if norm == "l2":
        return l2_norm(perturbation)
    size = perturbation * jnp.sign(perturbation)  # unlike `abs`, flat at zero
    return size.sum() if norm == "l1" else size.max()


def project(
    perturbation: Float[Array, "*picture"], radius: Float[Array, ""] | float, norm: Norm
) -> Float[Array, "*picture"]:
    """Return the nearest perturbation within the ball.

    >>> project(jnp.array([3.0, 4.0]), 2.5, "l2").tolist()
    [1.5, 2.0]
    >>> project(jnp.array([3.0, -4.0]), 3.5, "linf").tolist()
    [3.0, -3.5]
    >>> project(jnp.array([3.0, -4.0, 0.5]), 3.0, "l1").tolist()
    [1.0, -2.0, 0.0]

    Raises:
      InputError: an unknown norm, or a radius that is not positive and finite.
    """
    checks.positive("radius", radius)
    checks.one_of("norm", norm, get_args(Norm))
    if norm == "linf":
        return jnp.clip(perturbation, -radius, radius)
    if norm == "l1":
        return _shrink(perturbation, radius)
    size = l2_norm(perturbation)
    return perturbation * jnp.where(size > radius, radius / size, 1.0)


def _shrink(
    perturbation: Float[Array, "*picture"], radius: Float[Array, ""] | float
) -> Float[Array, "*picture"]:
    """Take from every component the same amount, down to zero, that the l1 ball asks for.

    With the components' sizes in falling order, the first n of them are left, and give up
    `(their sum - radius) / n` each; n is the largest for which the n-th has that much to give.
    """
    size = jnp.abs(perturbation)
    falling = jnp.sort(size.ravel(), descending=True)
    share = (jnp.cumsum(falling) - radius) / jnp.arange(1, size.size + 1)
    amount = share[jnp.sum(falling > share) - 1]
    shrunk = jnp.sign(perturbation) * jnp.maximum(size - amount, 0.0)
    return jnp.where(size.sum() > radius, shrunk, perturbation)
