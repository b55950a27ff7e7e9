"""The caption attacks by name, with the papers' settings where none are given."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from jaxadv.attacks import gem, show_and_fool, ssvm, untargeted
from jaxadv.attacks.arithmetic import attack_in
from jaxadv.attacks.attack import Attack, default_optimiser
from jaxadv.attacks.drive import Iterate, Result
from jaxadv.errors import InputError
from jaxadv.objectives.marginal import Posterior
from jaxadv.victims.captioner import Captioner
from jaxadv.victims.precision import Arithmetic

METHODS = ("gem", "ssvm", "show-and-fool", "untargeted")


@dataclass(frozen=True)
class Settings:
    """What may be set, named as in the papers; None is the method's own default.

    Attributes:
      method: one of `METHODS`.
      tradeoff: λ of gem, ssvm and untargeted (0.1).
      learning_rate: Adam's (1e-3; show-and-fool 5e-3).
      rounds: steps (gem and untargeted 50, ssvm 10 x 10, show-and-fool 1000 a try).
      posterior: gem's q.
      tail: gem's: keep eq. 10's terms after the last observed word.
      structured_loss: ζ of ssvm.
      loss: show-and-fool's, "margin" or "logits".
      margin: κ of show-and-fool.
      constant: c of show-and-fool's first try.
      tries: of show-and-fool's constant.
      aim: show-and-fool's, "caption" or "keywords".
      targeted: show-and-fool's: reach the target, or leave it.
      arithmetic: of the victim while it is attacked: "float32", "tf32" or "bfloat16".
      judged: likewise, of the victim that says whether a picture fools it.
    """

    method: str = "gem"
    tradeoff: float | None = None
    learning_rate: float | None = None
    rounds: int | None = None
    posterior: Posterior = "factorised"
    tail: bool = True
    structured_loss: float = 1.0
    loss: show_and_fool.Loss = "margin"
    margin: float = 1.0
    constant: float = 1.0
    tries: int = show_and_fool.TRIES
    aim: show_and_fool.Aim = "caption"
    targeted: bool = True
    arithmetic: Arithmetic = "float32"
    judged: Arithmetic = "float32"


class Method(NamedTuple):
    """An attack, how long it runs, and which of its pictures it reports.

    Attributes:
      attack: the attack.
      iterations: steps.
      reported: "final" as the exact-caption paper does; "best" for Show-and-Fool.
      gaps: whether its target may have latent words.
      aims_at: what its target is: a caption, keywords, or (untargeted) the present caption.
    """

    attack: Attack
    iterations: int
    reported: Literal["final", "best"]
    gaps: bool
    aims_at: Literal["caption", "keywords", "present caption"]

    def report(self, result: Result) -> Iterate:
        """Choose the iterate that this method reports."""
        return result.final if self.reported == "final" else result.best


def prepare(victim: Captioner, settings: Settings) -> Method:
    """Build the attack that the settings name.

    Raises:
      InputError: an unknown method, or a setting outside its range.
    """
    _check(settings)
    attack = attack_in(settings.arithmetic, settings.judged, partial(_attack, settings), victim)
    rounds = settings.rounds
    if settings.method == "gem":
        return Method(attack, rounds or gem.ROUNDS, "final", True, "caption")
    if settings.method == "ssvm":
        return Method(attack, rounds or ssvm.ROUNDS, "final", True, "caption")
    if settings.method == "untargeted":
        return Method(attack, rounds or untargeted.ROUNDS, "final", False, "present caption")
    iterations = (rounds or show_and_fool.ITERATIONS) * settings.tries
    aims_at: Literal["caption", "keywords", "present caption"] = settings.aim
    if settings.aim == "caption" and not settings.targeted:
        aims_at = "present caption"
    return Method(attack, iterations, "best", False, aims_at)


def _attack(settings: Settings, victim: Captioner) -> Attack:
    tradeoff = 0.1 if settings.tradeoff is None else settings.tradeoff
    optimiser = default_optimiser(settings.learning_rate or 1e-3)
    if settings.method == "gem":
        return gem.gem(
            victim,
            tradeoff=tradeoff,
            posterior=settings.posterior,
            tail=settings.tail,
            optimiser=optimiser,
        )
    if settings.method == "ssvm":
        return ssvm.ssvm(
            victim,
            tradeoff=tradeoff,
            structured_loss=settings.structured_loss,
            optimiser=optimiser,
        )
    if settings.method == "untargeted":
        return untargeted.untargeted(victim, tradeoff=tradeoff, optimiser=optimiser)
    return show_and_fool.show_and_fool(
        victim,
        aim=settings.aim,
        targeted=settings.targeted,
        loss=settings.loss,
        margin=settings.margin,
        constant=settings.constant,
        iterations=settings.rounds or show_and_fool.ITERATIONS,
        optimiser=default_optimiser(settings.learning_rate or 5e-3),
    )


def _check(settings: Settings) -> None:
    choices = {
        "method": METHODS,
        "posterior": ("factorised", "joint"),
        "loss": ("margin", "logits"),
        "aim": ("caption", "keywords"),
    }
    for name, allowed in choices.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise InputError(f"{name} {value!r}: must be one of {', '.join(allowed)}")
    if settings.method != "show-and-fool" and settings.aim == "keywords":
        raise InputError(f"aim 'keywords': is show-and-fool's, not {settings.method}'s")
    if settings.method in ("gem", "ssvm") and not settings.targeted:
        raise InputError(
            f"untargeted: {settings.method} reaches a target; must be method untargeted or "
            "show-and-fool"
        )
    for name in ("learning_rate", "rounds", "constant", "tries"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} {value}: must be positive and finite")
    for name in ("tradeoff", "structured_loss", "margin"):
        value = getattr(settings, name)
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"{name} {value}: must be finite and not negative")
