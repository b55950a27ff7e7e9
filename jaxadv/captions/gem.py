"""GEM: exact attack by generalised expectation maximisation (exact-caption paper, section 4.1)."""

import dataclasses
from typing import Any, get_args

import jax.numpy as jnp
import optax

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, Features, Params
from jaxadv.captions.criteria import says_target
from jaxadv.captions.judging import (
    Term,
    Termed,
    caption_check,
    caption_judge,
    caption_objective,
)
from jaxadv.captions.marginal import Posterior, marginal
from jaxadv.captions.options import CAPTION, CaptionOptions, check_space, descent
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import Attack, Objective, default_optimiser, descend
from jaxadv.core.constraints import Constraint, clip
from jaxadv.core.method import Method, option, steps


def gem(
    victim: Captioner,
    *,
    tradeoff: float = 0.1,
    posterior: Posterior = "factorised",
    top: int = 3,
    lanes: int = 27,
    tail: bool = True,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    start: float = 0.0,
    stop_at_success: bool = False,
) -> Attack:
    """Maximise `ln P(S_O | ε) - λ‖ε‖²` (eq. 4), one E and one M step a round (eqs. 9-10).

    Each step takes the E step at the present picture, then one optimiser step on
    `-sum_t sum_{S_1~t,H} q(S_1~t,H) ln P(S_t | S_<t, ε) + λ‖ε‖²`, from one encoding and one pass
    of the decoder. The paper runs 50 rounds. The target is a `PartialCaption`; on a
    complete caption q is trivial and the attack is maximum likelihood.

    Args:
      victim: the captioner.
      tradeoff: λ (paper: 0.1).
      posterior: "factorised" (paper) or "joint"; see `captions.marginal`.
      top: states kept a latent word (paper: 3; released code: 5 for complete captions).
      lanes: configurations kept at once.
      tail: keep eq. 10's terms after the last observed word.
      constraint: `clip()` by default, as in the paper's section 4.1.
      optimiser: Adam at 1e-3 by default, as in the paper.
      start: perturbation to start from (paper: none given, 0 here; released code: 1/255).
      stop_at_success: stop at the first picture that fools the victim (paper: no).

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    return descend(
        objective(victim, tradeoff=tradeoff, posterior=posterior, top=top, lanes=lanes, tail=tail),
        caption_judge(victim, says_target),
        constraint=clip() if constraint is None else constraint,
        optimiser=default_optimiser() if optimiser is None else optimiser,
        start=start,
        stop_at_success=stop_at_success,
        check=caption_check(victim),
        victim=victim,
    )


def objective(
    victim: Captioner,
    *,
    tradeoff: float = 0.1,
    posterior: Posterior = "factorised",
    top: int = 3,
    lanes: int = 27,
    tail: bool = True,
) -> Objective:
    """Return what a round descends; the arguments are `gem`'s.

    Raises:
      InputError: as `gem`.
    """
    em = term(victim, posterior=posterior, top=top, lanes=lanes, tail=tail)
    return caption_objective(victim, says_target, em, tradeoff)


def term(
    victim: Captioner,
    *,
    posterior: Posterior = "factorised",
    top: int = 3,
    lanes: int = 27,
    tail: bool = True,
) -> Term:
    """Return the objective without the norm, of the features; the arguments are `gem`'s.

    Raises:
      InputError: as `gem`.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.one_of("posterior", posterior, get_args(Posterior))
    words = victim.vocabulary.size - 1 - len(victim.vocabulary.suppressed)
    checks.whole("top", top, 1, words)
    checks.whole("lanes", lanes, 1)
    checks.true_or_false("tail", tail)

    def em(params: Params, features: Features, target: PartialCaption, latent: Any) -> Termed:
        found = marginal(
            victim, params, features, target, posterior=posterior, top=top, lanes=lanes, tail=tail
        )
        reports = {"log_likelihood": jnp.asarray(found.log_likelihood)}
        return Termed(-found.bound, latent, found.said, reports)

    return em


@dataclasses.dataclass(frozen=True, kw_only=True)
class GemOptions(CaptionOptions):
    """What GEM can be told.

    Attributes:
      iterations: rounds of one E and one M step.
      posterior: q.
      tail: keep eq. 10's terms after the last observed word.
    """

    iterations: int = option(50, "rounds of an E and an M step", check=steps, driver=True)
    posterior: Posterior = option("factorised", "factorised or joint", symbol="q")
    tail: bool = option(True, "keep eq. 10's terms after the last observed word")


METHOD = Method(
    name="gem",
    options=GemOptions,
    make=lambda victim, options: gem(
        victim, posterior=options.posterior, tail=options.tail, **descent(options)
    ),
    iterations=lambda options: options.iterations,
    aims_at=lambda options: CAPTION,
    check=check_space,
)
