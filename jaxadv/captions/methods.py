"""The caption attacks by name, with the papers' settings where none are given."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from jaxadv import checks
from jaxadv.captions.captioner import Captioner
from jaxadv.captions.gem import ROUNDS as GEM_ROUNDS
from jaxadv.captions.gem import gem
from jaxadv.captions.marginal import Posterior
from jaxadv.captions.show_and_fool import ITERATIONS, TRIES, Aim, Loss, show_and_fool
from jaxadv.captions.ssvm import ROUNDS as SSVM_ROUNDS
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.untargeted import ROUNDS as UNTARGETED_ROUNDS
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.attack import Attack, default_optimiser
from jaxadv.core.constraints import clip, tanh
from jaxadv.core.precision import Arithmetic, attack_in
from jaxadv.core.run import Iterate, Result
from jaxadv.errors import InputError

METHODS = ("gem", "ssvm", "show-and-fool", "untargeted")
Space = Literal["clip", "tanh"]


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
      space: how gem, ssvm and untargeted keep to pictures: "clip" after each step, or "tanh" of a
        free variable, as show-and-fool always does.
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
    space: Space = "clip"
    structured_loss: float = 1.0
    loss: Loss = "margin"
    margin: float = 1.0
    constant: float = 1.0
    tries: int = TRIES
    aim: Aim = "caption"
    targeted: bool = True
    arithmetic: Arithmetic = "float32"
    judged: Arithmetic = "float32"


#: what each method reads beside `method` and the arithmetics; where None is given, its own value
USES: dict[str, dict[str, Any]] = {
    "gem": {
        "tradeoff": 0.1,
        "learning_rate": 1e-3,
        "rounds": GEM_ROUNDS,
        "posterior": None,
        "tail": None,
        "space": None,
    },
    "ssvm": {
        "tradeoff": 0.1,
        "learning_rate": 1e-3,
        "rounds": SSVM_ROUNDS,
        "space": None,
        "structured_loss": None,
    },
    "show-and-fool": {
        "learning_rate": 5e-3,
        "rounds": ITERATIONS,
        "loss": None,
        "margin": None,
        "constant": None,
        "tries": None,
        "aim": None,
        "targeted": None,
    },
    "untargeted": {
        "tradeoff": 0.1,
        "learning_rate": 1e-3,
        "rounds": UNTARGETED_ROUNDS,
        "space": None,
    },
}


def resolved(settings: Settings) -> dict[str, Any]:
    """Return the settings that the method reads, by name, with its own values where None is given.

    >>> resolved(Settings("untargeted", rounds=5))["rounds"]
    5
    >>> list(resolved(Settings("untargeted")))
    ['method', 'tradeoff', 'learning_rate', 'rounds', 'space', 'arithmetic', 'judged']

    Raises:
      InputError: an unknown method, or a setting outside its range.
    """
    _check(settings)
    given = {name: getattr(settings, name) for name in USES[settings.method]}
    read = {
        name: own if given[name] is None else given[name]
        for name, own in USES[settings.method].items()
    }
    if read.get("loss") == "logits":
        del read["margin"]  # only the loss of margins has one
    return {
        "method": settings.method,
        **read,
        "arithmetic": settings.arithmetic,
        "judged": settings.judged,
    }


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
      InputError: a victim of another kind, an unknown method, or a setting outside its range.
    """
    checks.victim(victim, Captioner, "captioner")
    used = resolved(settings)
    attack = attack_in(settings.arithmetic, settings.judged, partial(_attack, used), victim)
    rounds = used["rounds"]
    if settings.method in ("gem", "ssvm"):
        return Method(attack, rounds, "final", True, "caption")
    if settings.method == "untargeted":
        return Method(attack, rounds, "final", False, "present caption")
    aims_at: Literal["caption", "keywords", "present caption"] = settings.aim
    if settings.aim == "caption" and not settings.targeted:
        aims_at = "present caption"
    return Method(attack, rounds * settings.tries, "best", False, aims_at)


def _attack(used: dict[str, Any], victim: Captioner) -> Attack:
    optimiser = default_optimiser(used["learning_rate"])

    def of(*names: str) -> dict[str, Any]:
        return {name: used[name] for name in names if name in used}

    boxed = {
        "optimiser": optimiser,
        "constraint": tanh() if used.get("space") == "tanh" else clip(),
    }
    if used["method"] == "gem":
        return gem(victim, **of("tradeoff", "posterior", "tail"), **boxed)
    if used["method"] == "ssvm":
        return ssvm(victim, **of("tradeoff", "structured_loss"), **boxed)
    if used["method"] == "untargeted":
        return untargeted(victim, **of("tradeoff"), **boxed)
    return show_and_fool(
        victim,
        **of("aim", "targeted", "loss", "margin", "constant"),
        iterations=used["rounds"],
        optimiser=optimiser,
    )


def _check(settings: Settings) -> None:
    checks.instance("settings", settings, Settings)
    checks.one_of("method", settings.method, METHODS)
    checks.settings(settings)
    if settings.method != "show-and-fool" and settings.aim == "keywords":
        raise InputError(f"aim 'keywords': is show-and-fool's, not {settings.method}'s")
    if settings.method in ("gem", "ssvm") and not settings.targeted:
        raise InputError(
            f"untargeted: {settings.method} reaches a target; must be method untargeted or "
            "show-and-fool"
        )
    rounds = USES[settings.method]["rounds"] if settings.rounds is None else settings.rounds
    tries = settings.tries if settings.method == "show-and-fool" else 1
    checks.in_range(iterations=rounds * tries)
