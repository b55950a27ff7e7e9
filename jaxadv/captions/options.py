"""The options that the descents on a caption share."""

import dataclasses
from typing import Any, Literal

import optax

from jaxadv import checks
from jaxadv.core.attack import default_optimiser
from jaxadv.core.constraints import clip, tanh
from jaxadv.core.method import InABall, in_ball, option
from jaxadv.errors import InputError

CAPTION, COMPLETE, KEYWORDS, PRESENT = "caption", "complete caption", "keywords", "present caption"
"""What a target is: a caption that may have gaps, one without, keywords, what is said now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionOptions(InABall):
    """What gem, ssvm and untargeted can be told (exact-caption paper, section 5.1).

    Attributes:
      tradeoff: λ.
      learning_rate: of the optimiser.
      optimiser: Adam, or steps along the gradient's sign.
      space: the coordinates that keep pictures pictures.
    """

    tradeoff: float = option(0.1, "weight of the norm", symbol="λ", check=checks.not_negative)
    learning_rate: float = option(1e-3, "of the optimiser", check=checks.positive)
    optimiser: Literal["adam", "sign"] = option("adam", "adam, or sign: the gradient's sign")
    space: Literal["clip", "tanh"] = option("clip", "clip, or tanh as show-and-fool")


def descent(options: CaptionOptions) -> dict[str, Any]:
    """Return the arguments of a descent that these options stand for."""
    plain = tanh() if options.space == "tanh" else clip()
    return {
        "tradeoff": options.tradeoff,
        "constraint": in_ball(options, plain),
        "optimiser": optimiser_of(options.optimiser, options.learning_rate),
    }


def optimiser_of(name: str, learning_rate: float) -> optax.GradientTransformation:
    """Return Adam, or steps of one length along the gradient's sign."""
    return default_optimiser(learning_rate) if name == "adam" else optax.sign_sgd(learning_rate)


def check_space(options: CaptionOptions) -> None:
    """Refuse a ball in tanh coordinates.

    Raises:
      InputError: both are asked for.
    """
    if options.epsilon is not None and options.space == "tanh":
        raise InputError("space 'tanh': must be clip where epsilon is given")
