"""CMLA by its settings, with the paper's where none are given."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from jaxadv import checks
from jaxadv.core.attack import Attack, default_optimiser
from jaxadv.core.norms import Norm
from jaxadv.core.precision import Arithmetic, attack_in
from jaxadv.hashing.cmla import (
    BOUNDS,
    LEARNING_RATES,
    RELEASED_BOUNDS,
    Codes,
    Modality,
    Weights,
    bounded,
    cmla,
    released,
)
from jaxadv.hashing.hasher import CrossModalHasher


@dataclass(frozen=True)
class Settings:
    """What may be set.

    Attributes:
      modality: "image" or "text": what is attacked.
      bound: ε, of pixels in 0..255 or of a text's weights in 0..1; None for the paper's (8 and
        0.01), or the released code's (10 and 0.01) with `non_negative`.
      learning_rate: Adam's, in the same units; None for the paper's (0.5 and 0.002).
      norm: p of the distortion term: "l1", "l2" or "linf".
      inter, intra, distortion: the terms' weights (paper: 1).
      non_negative: only add, as in the released code.
      codes: of the context: "unit", at one scale in both modalities; "outputs" (paper) or "signs"
        (released code).
      arithmetic: of the victim while it is attacked: "float32", "tf32" or "bfloat16".
      judged: likewise, of the victim that says whether a picture fools it.
    """

    modality: Modality = "image"
    bound: float | None = None
    learning_rate: float | None = None
    norm: Norm = "l2"
    inter: float = 1.0
    intra: float = 1.0
    distortion: float = 1.0
    non_negative: bool = False
    codes: Codes = "unit"
    arithmetic: Arithmetic = "float32"
    judged: Arithmetic = "float32"


def resolved(settings: Settings) -> dict[str, Any]:
    """Return all settings by name, with the paper's values where None is given.

    >>> resolved(Settings("text", non_negative=True))["bound"]
    0.01

    Raises:
      InputError: an unknown modality or norm, or a number outside its range.
    """
    check(settings)
    bounds = RELEASED_BOUNDS if settings.non_negative else BOUNDS
    own = {"bound": bounds[settings.modality], "learning_rate": LEARNING_RATES[settings.modality]}
    return {name: own[name] if value is None else value for name, value in asdict(settings).items()}


def prepare(victim: CrossModalHasher, settings: Settings) -> Attack:
    """Build the attack that the settings name; the same one again, so that it compiles once.

    Raises:
      InputError: an unknown modality or norm, or a number outside its range.
    """
    checks.victim(victim, CrossModalHasher, "hasher")
    check(settings)
    return _prepare(victim, settings)


@cache
def _prepare(victim: CrossModalHasher, settings: Settings) -> Attack:
    used = resolved(settings)
    constrain = released if settings.non_negative else bounded

    def make(victim: CrossModalHasher) -> Attack:
        return cmla(
            victim,
            settings.modality,
            weights=Weights(settings.inter, settings.intra, settings.distortion),
            norm=settings.norm,
            codes=settings.codes,
            constraint=constrain(settings.modality, used["bound"]),
            optimiser=default_optimiser(used["learning_rate"]),
        )

    return attack_in(settings.arithmetic, settings.judged, make, victim)


def check(settings: Settings) -> None:
    """Check settings.

    Raises:
      InputError: as `prepare`.
    """
    checks.instance("settings", settings, Settings)
    checks.settings(settings)
