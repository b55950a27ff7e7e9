"""Latent SSVM: structural SVM with latent variables (section 4.2, eqs. 11-16)."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, Features, Params, State, without_suppressed
from jaxadv.captions.criteria import says_target
from jaxadv.captions.judging import (
    Term,
    Termed,
    caption_check,
    caption_judge,
    caption_objective,
    say,
)
from jaxadv.captions.options import CAPTION, CaptionOptions, check_space, descent
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import Attack, default_optimiser, descend
from jaxadv.core.batching import any_in_batch
from jaxadv.core.constraints import Constraint, clip
from jaxadv.core.method import Method, option, steps
from jaxadv.vocabulary import END


class Completed(NamedTuple):
    """A caption with its likelihood: `tokens` i32[T], zero past the target; `ln P` of its words."""

    tokens: Int[Array, " T"]
    log_probability: Float[Array, ""]


def complete(
    victim: Captioner, params: Params, features: Features, target: PartialCaption
) -> Int[Array, " T"]:
    """Complete the latent words greedily under the observed ones (eq. 13); i32[T].

    `S*_H = argmax ln P(S_O, S_H | ε)`, inferred in ascending order; a latent place takes a word,
    never the end token.
    """

    def choose(t: Array, scores: Array) -> Array:
        words = without_suppressed(victim.vocabulary, scores)
        word = jnp.argmax(words.at[END].set(-jnp.inf))
        return jnp.where(target.latent[t], word, target.tokens[t])

    return _along(victim, params, features, target, choose).tokens


def loss_augmented_inference(
    victim: Captioner,
    params: Params,
    features: Features,
    target: PartialCaption,
    structured_loss: Float[Array, ""] | float,
) -> Completed:
    """Find the worst caption, `argmax ln P(Ŝ_O, Ŝ_H | ε) + Δ(S_O, Ŝ_O)` (eq. 15), in order.

    At an observed place every wrong word gains `structured_loss` (ζ, eq. 12); at a latent place
    none does. Any caption competes: one that ends early stays ended. The likelihood that comes
    back is that of the chosen words alone, without Δ, and carries the gradient.
    """

    def choose(t: Array, scores: Array) -> Array:
        wrong = jnp.arange(scores.shape[-1]) != target.tokens[t]
        augmented = scores + structured_loss * (wrong & target.observed[t])
        return jnp.argmax(without_suppressed(victim.vocabulary, augmented))

    return _along(victim, params, features, target, choose, may_end=True)


def completed_log_probability(
    victim: Captioner,
    params: Params,
    features: Features,
    target: PartialCaption,
    tokens: Int[Array, " T"],
) -> Float[Array, ""]:
    """`ln P(S_O, S*_H | ε)` over the target's places (the last term of eq. 16)."""
    return _along(victim, params, features, target, lambda t, _: tokens[t]).log_probability


def _along(
    victim: Captioner,
    params: Params,
    features: Features,
    target: PartialCaption,
    choose: Callable[[Array, Array], Array],
    may_end: bool = False,
) -> Completed:
    """Choose word after word at the target's places and add up their `ln P`."""
    places = jnp.maximum(target.length, target.reach)

    def place(
        carry: tuple[State, Array], t: Array
    ) -> tuple[tuple[State, Array], tuple[Array, Array]]:
        state, ended = carry
        scores = jax.nn.log_softmax(victim.logits(params, state))
        over = ended | (t >= places)
        word = jnp.where(over, END, choose(t, jax.lax.stop_gradient(scores))).astype(jnp.int32)
        gained = jnp.where(over, 0.0, scores[word])
        state = victim.advance(params, features, state, word)
        if may_end:
            ended = ended | (word == END)
        return (state, ended), (word, gained)

    start = (victim.begin(params, features), jnp.zeros((), bool))
    _, (tokens, gained) = jax.lax.scan(place, start, jnp.arange(victim.max_length))
    return Completed(tokens, gained.sum())


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

    Every `inner` steps the latent words are completed again (eq. 13); each step infers the worst
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
    return descend(
        caption_objective(
            victim,
            says_target,
            term(victim, structured_loss=structured_loss, inner=inner),
            tradeoff,
            first=lambda: first(victim),
        ),
        caption_judge(victim, says_target),
        constraint=clip() if constraint is None else constraint,
        optimiser=default_optimiser() if optimiser is None else optimiser,
        start=start,
        stop_at_success=stop_at_success,
        check=caption_check(victim),
        victim=victim,
    )


def first(victim: Captioner) -> Completion:
    """Return the latent quantities before the first step: no completion yet."""
    return Completion(jnp.zeros(victim.max_length, jnp.int32), jnp.zeros((), jnp.int32))


def term(victim: Captioner, *, structured_loss: float = 1.0, inner: int = 10) -> Term:
    """Return eq. 16 without the norm, of the features; the arguments are `ssvm`'s.

    Raises:
      InputError: as `ssvm`.
    """
    checks.in_range(structured_loss=structured_loss)
    checks.whole("inner", inner, 1)

    def eq_16(
        params: Params, features: Features, target: PartialCaption, latent: Completion
    ) -> Termed:
        due = latent.steps % inner == 0
        tokens = jax.lax.cond(
            any_in_batch(due),
            lambda: jnp.where(
                due,
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

    return eq_16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SsvmOptions(CaptionOptions):
    """What latent SSVM can be told.

    Attributes:
      iterations: steps, ten of each of ten rounds.
      structured_loss: ζ of eq. 12.
    """

    iterations: int = option(ROUNDS, "steps, 10 rounds of 10", check=steps, driver=True)
    structured_loss: float = option(
        1.0, "what a wrong word adds in inference", symbol="ζ", check=checks.not_negative
    )


METHOD = Method(
    name="ssvm",
    options=SsvmOptions,
    make=lambda victim, options: ssvm(
        victim, structured_loss=options.structured_loss, **descent(options)
    ),
    iterations=lambda options: options.iterations,
    aims_at=lambda options: CAPTION,
    check=check_space,
)
