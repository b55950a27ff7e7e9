"""The attacks on hashers by name; one that is added here is in every command, sweep and table."""

import dataclasses

from jaxadv import checks
from jaxadv.core.attack import Attack, default_optimiser
from jaxadv.core.method import Method, option, steps
from jaxadv.core.norms import Norm
from jaxadv.hashing.cmla import (
    BOUNDS,
    ITERATIONS,
    LEARNING_RATES,
    RELEASED_BOUNDS,
    Weights,
    bounded,
    cmla,
    released,
)
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.hashing.options import HashOptions, TermOptions
from jaxadv.hashing.reliable import METHOD as RELIABLE
from jaxadv.hashing.substitution import METHOD as SUBSTITUTION


def _bound(options: "CmlaOptions") -> float:
    return (RELEASED_BOUNDS if options.non_negative else BOUNDS)[options.modality]


def _learning_rate(options: "CmlaOptions") -> float:
    return LEARNING_RATES[options.modality]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CmlaOptions(HashOptions, TermOptions):
    """What CMLA can be told (CMLA paper, section 4.1).

    Attributes:
      learning_rate: Adam's, in the same units.
      norm: p of the distortion term.
      distortion: the term's weight.
      non_negative: only add, as in the released code.
      iterations: steps.
    """

    learning_rate: float | None = option(
        None, "of Adam (0.5 for pictures, 0.002 for texts)", check=checks.positive
    )
    norm: Norm = option("l2", "of the distortion term: l1, l2 or linf", symbol="p")
    distortion: float = option(
        1.0, "weight of the distortion", symbol="γ, η", check=checks.not_negative
    )
    non_negative: bool = option(False, "only add, at most 10 or 0.01 (released code)")
    iterations: int = option(
        ITERATIONS, "steps (paper: 100, 200 and 500)", check=steps, driver=True
    )


def _make(victim: CrossModalHasher, options: CmlaOptions) -> Attack:
    constrain = released if options.non_negative else bounded
    bound = _bound(options) if options.bound is None else options.bound
    rate = _learning_rate(options) if options.learning_rate is None else options.learning_rate
    return cmla(
        victim,
        options.modality,
        weights=Weights(options.inter, options.intra, options.distortion),
        norm=options.norm,
        codes=options.codes,
        constraint=constrain(options.modality, bound),
        optimiser=default_optimiser(rate),
    )


CMLA = Method(
    name="cmla",
    options=CmlaOptions,
    make=_make,
    iterations=lambda options: options.iterations,
    aims_at=lambda options: options.modality,
    derived=(("bound", _bound), ("learning_rate", _learning_rate)),
)
METHODS: tuple[Method, ...] = (CMLA, RELIABLE, SUBSTITUTION)
