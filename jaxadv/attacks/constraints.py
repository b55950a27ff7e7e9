"""Which pictures are allowed, as coordinates to descend in."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Constraint(NamedTuple):
    """Coordinates in which every point is an allowed picture, or can be projected to one.

    Attributes:
      enter: `(image, perturbation) -> variable`.
      picture: `(variable, image) -> adversarial picture`, in [0, 1].
      project: `(variable, image) -> variable`, after each optimiser step.
    """

    enter: Callable[[Array, Array], Array]
    picture: Callable[[Array, Array], Array]
    project: Callable[[Array, Array], Array]


def clip() -> Constraint:
    """`I0 + ε` in [0, 1] by clipping after each step (exact-caption paper, section 4.1)."""

    def project(perturbation: Array, image: Array) -> Array:
        return jnp.clip(image + perturbation, 0.0, 1.0) - image

    return Constraint(
        enter=lambda image, perturbation: project(perturbation, image),
        picture=lambda perturbation, image: image + perturbation,
        project=project,
    )


def tanh() -> Constraint:
    """`I0 + ε = (tanh(y + w) + 1) / 2` (Show-and-Fool; exact-caption paper, section 5.3).

    `y = arctanh((2 I0 - 1) 0.9999)` is where the benign picture lies; the factor, the released
    code's, keeps black and white finite and moves them by 5e-5.
    """

    def coordinates(picture: Array) -> Array:
        return jnp.arctanh((2 * picture - 1) * 0.9999)

    return Constraint(
        enter=lambda image, perturbation: (
            coordinates(jnp.clip(image + perturbation, 0.0, 1.0)) - coordinates(image)
        ),
        picture=lambda w, image: (jnp.tanh(coordinates(image) + w) + 1) / 2,
        project=lambda w, image: w,
    )
