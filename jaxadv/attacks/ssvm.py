"""Latent SSVM: structural SVM with latent variables (exact-caption paper, section 4.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxadv import checks
from jaxadv.attacks.attack import Attack, default_optimiser, descend
from jaxadv.attacks.captions import Termed, caption_check, caption_judge, caption_objective, say
from jaxadv.attacks.constraints import Constraint, clip
from jaxadv.objectives.batching import any_in_batch
from jaxadv.objectives.criteria import says_target
from jaxadv.objectives.ssvm import (
    complete,
    completed_log_probability,
    loss_augmented_inference,
)
from jaxadv.objectives.target import PartialCaption
from jaxadv.victims.captioner import Captioner, Features, Params

ROUNDS = 100  # 10 outer times 10 inner


class Completion(NamedTuple):
    """The completed target `S*` i32[T] of the present outer round, and the steps taken so far."""

    tokens: Array
    steps: Array


def ssvm(
    victim: Captioner,
    *,
    tradeoff: float = 0.1,
    structured_loss: float = 1.0,
    inner: int = 10,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    start: float = 0.0,
    stop_at_success: bool = False,
) -> Attack:
    """Minimise `λ‖ε‖² + max_Ŝ [ln P(Ŝ) + Δ] - max_{S_H} ln P(S_O, S_H)` (eq. 11).

    Every `inner` steps the latent words are completed anew (eq. 13); each step infers the worst
    caption (eq. 15) and descends on `λ‖ε‖² + ln P(Ŝ*) - ln P(S_O, S*_H)` (eq. 16).

    Args:
      victim: the captioner.
      tradeoff: λ (paper: 0.1).
      structured_loss: ζ of eq. 12 (paper: 1).
      inner: steps an outer round (paper: 10 rounds of 10).
      constraint: `clip()` by default.
      optimiser: Adam at 1e-3 by default, as in the paper.
      start: perturbation to start from (released code: 1/255).
      stop_at_success: stop at the first picture that fools the victim (paper: no).

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.in_range(structured_loss=structured_loss)
    checks.whole("inner", inner, 1)

    def term(
        params: Params, features: Features, target: PartialCaption, latent: Completion
    ) -> Termed:
        anew = latent.steps % inner == 0
        tokens = jax.lax.cond(
            any_in_batch(anew),
            lambda: jnp.where(
                anew,
                complete(victim, params, jax.lax.stop_gradient(features), target),
                latent.tokens,
            ),
            lambda: latent.tokens,
        )
        worst = loss_augmented_inference(victim, params, features, target, structured_loss)
        wanted = completed_log_probability(victim, params, features, target, tokens)
        return Termed(
            worst.log_probability - wanted,
            Completion(tokens, latent.steps + 1),
            say(victim, params, features),
            {"log_likelihood": wanted},
        )

    def first() -> Completion:
        return Completion(jnp.zeros(victim.max_length, jnp.int32), jnp.zeros((), jnp.int32))

    return descend(
        caption_objective(victim, says_target, term, tradeoff, first=first),
        caption_judge(victim, says_target),
        constraint=clip() if constraint is None else constraint,
        optimiser=default_optimiser() if optimiser is None else optimiser,
        start=start,
        stop_at_success=stop_at_success,
        check=caption_check(victim),
    )
