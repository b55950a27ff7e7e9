"""Which pictures (or bags of words, which are as well in [0, 1]) are allowed, as coordinates."""

from collections.abc import Callable
from typing import NamedTuple, get_args

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxadv import checks
from jaxadv.core.norms import Norm, project

Picture = Float[Array, "*picture"]


class Constraint(NamedTuple):
    """Coordinates in which every point is an allowed picture, or can be projected to one.

    Attributes:
      enter: `(image, perturbation) -> variable`.
      picture: `(variable, image) -> adversarial picture`, in [0, 1].
      project: `(variable, image) -> variable`, after each optimiser step.
    """

    enter: Callable[[Picture, Picture], Picture]
    picture: Callable[[Picture, Picture], Picture]
    project: Callable[[Picture, Picture], Picture]


def clip() -> Constraint:
    """`I0 + ε` in [0, 1] by clipping after each step (exact-caption paper, section 4.1)."""

    def project(perturbation: Picture, image: Picture) -> Picture:
        return jnp.clip(image + perturbation, 0.0, 1.0) - image

    return Constraint(
        enter=lambda image, perturbation: project(perturbation, image),
        picture=lambda perturbation, image: image + perturbation,
        project=project,
    )


def ball(
    radius: float, norm: Norm = "linf", *, unit: float = 1.0, non_negative: bool = False
) -> Constraint:
    """`‖ε‖ <= radius` and `I0 + ε` in [0, 1], after each step (CMLA, eq. 2 and section 4.1).

    First into the ball, then into the box, which takes no component further from zero and so
    leaves none of the balls.

    Args:
      radius: of the ball, in `unit`s.
      norm: of the ball.
      unit: what 1 counts as: with 255, ε is that of a picture in 0..255 and so is the learning
        rate; nothing else is another attack.
      non_negative: nothing is taken away: ε >= 0.

    Raises:
      InputError: an unknown norm, or a radius or unit that is not positive and finite.
    """
    checks.positive("radius", radius)
    checks.one_of("norm", norm, get_args(Norm))
    checks.positive("unit", unit)
    checks.true_or_false("non_negative", non_negative)

    def allow(perturbation: Picture, image: Picture) -> Picture:
        wished = jnp.maximum(perturbation, 0.0) if non_negative else perturbation
        inside = project(wished, radius, norm)
        return unit * (jnp.clip(image + inside / unit, 0.0, 1.0) - image)

    return Constraint(
        enter=lambda image, perturbation: allow(unit * perturbation, image),
        picture=lambda perturbation, image: image + perturbation / unit,
        project=allow,
    )


def tanh() -> Constraint:
    """`I0 + ε = (tanh(y + w) + 1) / 2` (Show-and-Fool; exact-caption paper, section 5.3).

    `y = arctanh((2 I0 - 1) 0.9999)` is where the benign picture lies; the factor, the released
    code's, keeps black and white finite and moves them by 5e-5.
    """

    def coordinates(picture: Picture) -> Picture:
        return jnp.arctanh((2 * picture - 1) * 0.9999)

    return Constraint(
        enter=lambda image, perturbation: (
            coordinates(jnp.clip(image + perturbation, 0.0, 1.0)) - coordinates(image)
        ),
        picture=lambda w, image: (jnp.tanh(coordinates(image) + w) + 1) / 2,
        project=lambda w, image: w,
    )


def signed() -> Constraint:
    """`2 (I0 + ε) - 1` in [-1, 1] by clipping: the space of the TkMIA paper (section 5.1).

    What is moved is `2ε`, so that a learning rate means what it means in that paper: a step of
    gradient descent is a quarter of `clip`'s. How its pictures stay pictures it does not say.
    """
    plain = clip()
    return Constraint(
        enter=lambda image, perturbation: 2 * plain.enter(image, perturbation),
        picture=lambda doubled, image: image + doubled / 2,
        project=lambda doubled, image: 2 * plain.project(doubled / 2, image),
    )


def tanh_of_picture() -> Constraint:
    """`2 (I0 + ε) - 1 = tanh(x + w)` with `x = 2 I0 - 1`: TkML-AP's and TkMIA's released code.

    There is no arctanh, unlike in `tanh`: where nothing was moved, the victim sees `tanh(x)`, a
    picture of less contrast (values in [0.12, 0.88]) that is itself a perturbation, and counts as
    one here. That code reports ‖w‖ instead, puts weight decay on w in place of eq. 6's norm, and
    feeds a victim that was trained on pictures of ImageNet's mean and deviation; with it goes
    `tradeoff=0` and `optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(5e-4, momentum=0.9))`.
    """
    return Constraint(
        enter=lambda image, perturbation: 2 * perturbation,
        picture=lambda w, image: (jnp.tanh(2 * image - 1 + w) + 1) / 2,
        project=lambda w, image: w,
    )
