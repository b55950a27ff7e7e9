"""Structural SVM with latent variables (paper section 4.2, eqs. 11-16)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxadv.data.vocabulary import END
from jaxadv.objectives.target import PartialCaption
from jaxadv.victims.captioner import Captioner, Features, Params, State, without_suppressed


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
