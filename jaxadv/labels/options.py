"""The options that the descents on labels share."""

import dataclasses
from functools import partial
from typing import Any, Literal

import optax

from jaxadv import checks
from jaxadv.core.constraints import signed, tanh_of_picture
from jaxadv.core.method import AttackOptions, InABall, in_ball, option, steps
from jaxadv.errors import InputError
from jaxadv.labels.judging import ITERATIONS, LEARNING_RATE, TRADEOFF, label_optimiser


def delta_option() -> Any:
    """Declare δ, which every attack on labels has."""
    return option(
        None,
        "labels that must leave, all by default",
        symbol="δ",
        check=partial(checks.whole, least=1),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions(AttackOptions):
    """What every attack of the paper on labels can be told.

    Attributes:
      iterations: most steps; one that succeeds stops.
      delta: δ, how many specified labels must leave the first k; None for all.
    """

    iterations: int = option(
        ITERATIONS, "most steps (paper: 100, 300 or 500)", check=steps, driver=True
    )
    delta: int | None = delta_option()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescentOptions(LabelOptions, InABall):
    """What those that descend can be told (TkMIA paper, section 5.1).

    Attributes:
      tradeoff: α.
      learning_rate: η of SGD with momentum 0.9 on pictures in [-1, 1].
      optimiser: SGD, or steps along the gradient's sign.
      space: the coordinates that keep pictures pictures.
    """

    tradeoff: float = option(
        TRADEOFF, "weight of the norm (paper: 1e-3 to 5e-5)", symbol="α", check=checks.not_negative
    )
    learning_rate: float = option(
        LEARNING_RATE, "of the optimiser (paper: 1e-3 to 5e-5)", symbol="η", check=checks.positive
    )
    optimiser: Literal["sgd", "sign"] = option("sgd", "sgd, or sign: the gradient's sign")
    space: Literal["signed", "tanh"] = option("signed", "signed (paper), or tanh (released code)")


def descent(options: DescentOptions) -> dict[str, Any]:
    """Return the arguments of a descent that these options stand for."""
    plain = signed() if options.space == "signed" else tanh_of_picture()
    rate = options.learning_rate
    return {
        "tradeoff": options.tradeoff,
        "delta": options.delta,
        "constraint": in_ball(options, plain, unit=2.0),  # a change of 2 from black to white
        "optimiser": label_optimiser(rate) if options.optimiser == "sgd" else optax.sign_sgd(rate),
    }


def check_space(options: DescentOptions) -> None:
    """Refuse a ball in tanh coordinates.

    Raises:
      InputError: both are asked for.
    """
    if options.epsilon is not None and options.space == "tanh":
        raise InputError("space 'tanh': must be signed where epsilon is given")
