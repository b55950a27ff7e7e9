"""The untargeted attack on a caption (exact-caption paper, section 6, eq. 19)."""

import dataclasses
from typing import Any

import optax

from jaxadv.captions.captioner import Captioner, Features, Params, caption_log_probability
from jaxadv.captions.criteria import leaves_caption
from jaxadv.captions.judging import Termed, caption_check, caption_judge, caption_objective, say
from jaxadv.captions.options import PRESENT, CaptionOptions, check_space, descent
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import Attack, default_optimiser, descend
from jaxadv.core.constraints import Constraint, clip
from jaxadv.core.method import Method, option, steps


def untargeted(
    victim: Captioner,
    *,
    tradeoff: float = 0.1,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = False,
) -> Attack:
    """Minimise `ln P(S0 | ε) + λ‖ε‖²` (eq. 19): away from the caption `S0` of the benign picture.

    The target is S0 as a complete `PartialCaption`. The paper gives no settings for this attack;
    the defaults are those of its section 5.1.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """

    def term(params: Params, features: Features, target: PartialCaption, latent: Any) -> Termed:
        log_p = caption_log_probability(victim, params, features, target.tokens)
        return Termed(log_p, latent, say(victim, params, features), {"log_likelihood": log_p})

    return descend(
        caption_objective(victim, leaves_caption, term, tradeoff),
        caption_judge(victim, leaves_caption),
        constraint=clip() if constraint is None else constraint,
        optimiser=default_optimiser() if optimiser is None else optimiser,
        stop_at_success=stop_at_success,
        check=caption_check(victim),
        victim=victim,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UntargetedOptions(CaptionOptions):
    """What the untargeted attack can be told.

    Attributes:
      iterations: steps.
    """

    iterations: int = option(50, "steps", check=steps, driver=True)


METHOD = Method(
    name="untargeted",
    options=UntargetedOptions,
    make=lambda victim, options: untargeted(victim, **descent(options)),
    iterations=lambda options: options.iterations,
    aims_at=lambda options: PRESENT,
    check=check_space,
)
