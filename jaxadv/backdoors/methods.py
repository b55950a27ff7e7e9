"""The triggers by name; one that is added here is in every command, sweep and table."""

import dataclasses
from functools import partial

from jaxadv import checks
from jaxadv.backdoors.poison import check_rate
from jaxadv.backdoors.triggers import Trigger, TriggerSettings, make_trigger, strength
from jaxadv.core.method import Method, Options, option, steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackdoorOptions(Options):
    """What is done to the training data, and how a captioner is trained on them.

    Attributes:
      strength: α in grey levels, or the opacity; None for the trigger's own (20; 1 and 0.1).
      rate: which share of the samples is poisoned.
      steps: of training the clean victim further.
      learning_rate: Adam's, at the start of the cosine.
    """

    strength: float | None = option(
        None, "grey levels (20), or the opacity (badnets 1, blended 0.1)", check=checks.positive
    )
    rate: float = option(
        0.05, "share of the samples that is poisoned", check=lambda name, value: check_rate(value)
    )
    steps: int = option(400, "of training the clean victim further", check=steps)
    learning_rate: float = option(2e-3, "of Adam, before its cosine", check=checks.positive)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectOrientedOptions(BackdoorOptions):
    """What the object-oriented trigger can be told.

    Attributes:
      share: which share of a region's pixels is changed.
    """

    share: float = option(1.0, "of a region's pixels that is changed", check=checks.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadnetsOptions(BackdoorOptions):
    """What the patch can be told.

    Attributes:
      size: its side, as a share of the picture's shorter side.
      place: where it is.
      pattern: what it shows.
    """

    size: float = option(0.1, "side of the patch, of the shorter side", check=checks.share)
    place: str = option("bottom-right", "of the patch")
    pattern: str = option("checkerboard", "of the patch")


def trigger_of(name: str, options: BackdoorOptions) -> TriggerSettings:
    """Return the settings of a trigger."""
    told = {field.name for field in dataclasses.fields(TriggerSettings)} - {"trigger"}
    known = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    return TriggerSettings(name, **{key: value for key, value in known.items() if key in told})


def _method(name: str, options: type[BackdoorOptions]) -> Method:
    def make(victim: None, options: BackdoorOptions) -> Trigger:
        return make_trigger(trigger_of(name, options))

    def check(options: BackdoorOptions) -> None:
        make(None, options)

    return Method(
        name=name,
        options=options,
        make=make,
        iterations=lambda options: options.steps,
        check=check,
        derived=(("strength", partial(_strength, name)),),
    )


def _strength(name: str, options: BackdoorOptions) -> float:
    return strength(trigger_of(name, options))


METHODS: tuple[Method, ...] = (
    _method("object-oriented", ObjectOrientedOptions),
    _method("badnets", BadnetsOptions),
    _method("blended", BackdoorOptions),
)
