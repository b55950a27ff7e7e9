"""The attacks on taggers by name, with the papers' settings where none are given."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from jaxadv import checks
from jaxadv.core.attack import Attack
from jaxadv.core.constraints import signed, tanh_of_picture
from jaxadv.core.precision import Arithmetic, attack_in
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import ITERATIONS, LEARNING_RATE, TRADEOFF, label_optimiser
from jaxadv.labels.kfool import kfool
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.tkmia import Inner, tkmia
from jaxadv.labels.tkml_ap_u import tkml_ap_u

METHODS = ("tkmia", "ml-cw-u", "tkml-ap-u", "kfool")


@dataclass(frozen=True)
class Settings:
    """What may be set, named as in the paper.

    Attributes:
      method: one of `METHODS`.
      tradeoff: α; kfool has none.
      learning_rate: η of SGD with momentum 0.9, and of the multipliers; kfool has none.
      iterations: most steps (paper: 100, 300 or 500).
      delta: δ, how many specified labels must leave the first k; None for all.
      inner: tkmia's, "exact" or "gradient" (Algorithm 1).
      space: "signed" (paper) or "tanh" (released code); kfool has its own.
      arithmetic: of the victim while it is attacked: "float32", "tf32" or "bfloat16".
      judged: likewise, of the victim that says whether a picture fools it.
    """

    method: str = "tkmia"
    tradeoff: float = TRADEOFF
    learning_rate: float = LEARNING_RATE
    iterations: int = ITERATIONS
    delta: int | None = None
    inner: Inner = "exact"
    space: Literal["signed", "tanh"] = "signed"
    arithmetic: Arithmetic = "float32"
    judged: Arithmetic = "float32"


_DESCENT = ("tradeoff", "learning_rate", "iterations", "delta", "space")
#: what each method reads beside `method` and the arithmetics
USES: dict[str, tuple[str, ...]] = {
    "tkmia": (*_DESCENT, "inner"),
    "ml-cw-u": _DESCENT,
    "tkml-ap-u": _DESCENT,
    "kfool": ("iterations", "delta"),
}


def resolved(settings: Settings) -> dict[str, Any]:
    """Return the settings that the method reads, by name; a δ of None is left out.

    >>> resolved(Settings("kfool"))["iterations"]
    300
    >>> list(resolved(Settings("kfool", delta=2)))
    ['method', 'iterations', 'delta', 'arithmetic', 'judged']

    Raises:
      InputError: an unknown method, or a setting outside its range.
    """
    _check(settings)
    names = ("method", *USES[settings.method], "arithmetic", "judged")
    read = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in read.items() if value is not None}


class LabelMethod(NamedTuple):
    """An attack and how long it runs; its last picture is the one to report."""

    attack: Attack
    iterations: int


def prepare(victim: MultiLabelClassifier, settings: Settings) -> LabelMethod:
    """Build the attack that the settings name.

    Raises:
      InputError: a victim of another kind, an unknown method, or a setting outside its range.
    """
    checks.victim(victim, MultiLabelClassifier, "classifier")
    _check(settings)
    make = partial(_attack, settings)
    attack = attack_in(settings.arithmetic, settings.judged, make, victim)
    return LabelMethod(attack, settings.iterations)


def _attack(settings: Settings, victim: MultiLabelClassifier) -> Attack:
    if settings.method == "kfool":
        return kfool(victim, delta=settings.delta)
    constraint = signed() if settings.space == "signed" else tanh_of_picture()
    optimiser = label_optimiser(settings.learning_rate)
    if settings.method == "tkmia":
        return tkmia(
            victim,
            tradeoff=settings.tradeoff,
            inner=settings.inner,
            multiplier_rate=settings.learning_rate,
            delta=settings.delta,
            constraint=constraint,
            optimiser=optimiser,
        )
    make = ml_cw_u if settings.method == "ml-cw-u" else tkml_ap_u
    return make(
        victim,
        tradeoff=settings.tradeoff,
        delta=settings.delta,
        constraint=constraint,
        optimiser=optimiser,
    )


def _check(settings: Settings) -> None:
    checks.instance("settings", settings, Settings)
    checks.one_of("method", settings.method, METHODS)
    checks.settings(settings)
