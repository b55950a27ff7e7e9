"""The captioner protocol, and what follows from it: likelihood, greedy and beam decoding.

A captioner is an autoregressive model `P(S | I) = prod_t P(S_t | S_<t, I)` (paper eq. 1) as four
pure functions over a parameter pytree. Everything is written for one picture: `vmap` from outside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, Int, Num

from jaxadv.core.batching import KEPT
from jaxadv.errors import InputError
from jaxadv.vocabulary import END, Vocabulary

Params = Any
Features = Any
State = Any


class Captioner(NamedTuple):
    """An autoregressive captioner.

    Attributes:
      encode: `(params, image f32[H, W, 3] in [0, 1]) -> features`, once a picture. The network's
        own normalisation is part of it.
      begin: `(params, features) -> state`, before the first word.
      advance: `(params, features, state, token i32[]) -> state`, after a word.
      logits: `(params, state) -> f32[V]`, the scores of the word that comes next.
      vocabulary: what the numbers mean; number 0 ends a caption.
      max_length: the most words that a caption may have (T).
      image_shape: (H, W, 3).
    """

    encode: Callable[[Params, Float[Array, "H W 3"]], Features]
    begin: Callable[[Params, Features], State]
    advance: Callable[[Params, Features, State, Int[Array, ""]], State]
    logits: Callable[[Params, State], Float[Array, " V"]]
    vocabulary: Vocabulary
    max_length: int
    image_shape: tuple[int, int, int]


def kept(value: Num[Array, "*shape"]) -> Num[Array, "*shape"]:
    """Mark what the reverse pass over a caption keeps instead of computing it again.

    Of everything else in `advance` and `logits` only the state is kept. Worth marking is what is
    dear to compute and small: sums of products with matrices. Changes no result.
    """
    return jnp.asarray(checkpoint_name(value, KEPT))


def sayable(vocabulary: Vocabulary) -> np.ndarray:
    """Mark the numbers that a caption may contain; bool[V]. Marks of unknown words are not."""
    mask = np.ones(vocabulary.size, bool)
    mask[list(vocabulary.suppressed)] = False
    return mask


def without_suppressed(
    vocabulary: Vocabulary, scores: Float[Array, "*batch V"]
) -> Float[Array, "*batch V"]:
    """Put the scores of what no caption contains at minus infinity, so that nothing decodes it.

    The other scores stay as they are: log-probabilities remain the victim's own, as with
    `suppress_UNK` of the captioners' released evaluation code.
    """
    if not vocabulary.suppressed:
        return scores
    return jnp.where(sayable(vocabulary), scores, -jnp.inf)


def with_unknown_words(victim: Captioner) -> Captioner:
    """Return a victim whose captions may contain the mark of unknown words, which others never do.

    For reproducing results that were made without `suppress_UNK`.
    """
    return victim._replace(vocabulary=victim.vocabulary.with_unknown())


class Caption(NamedTuple):
    """A decoded caption: `tokens i32[T]` padded with the end token, and `ln P` of it."""

    tokens: Int[Array, " T"]
    log_probability: Float[Array, ""]


def greedy(victim: Captioner, params: Params, features: Features) -> Caption:
    """Say the most probable word at every place, until the end token (paper eq. 3, greedily).

    Words that the vocabulary suppresses are passed over. The log-probability includes the end
    token's, where there was room for one.
    """

    def place(
        carry: tuple[State, Array], _: None
    ) -> tuple[tuple[State, Array], tuple[Array, Array]]:
        state, ended = carry
        scores = jax.nn.log_softmax(victim.logits(params, state))
        best = jnp.argmax(without_suppressed(victim.vocabulary, scores))
        token = jnp.where(ended, END, best.astype(jnp.int32))
        gained = jnp.where(ended, 0.0, scores[token])
        state = victim.advance(params, features, state, token)
        return (state, ended | (token == END)), (token, gained)

    start = (victim.begin(params, features), jnp.zeros((), bool))
    _, (tokens, gained) = jax.lax.scan(place, start, None, length=victim.max_length)
    return Caption(tokens, gained.sum())


def log_probabilities(
    victim: Captioner, params: Params, features: Features, tokens: Int[Array, " T"]
) -> Float[Array, "T V"]:
    """Return `ln P(S_t = . | S_<t, I)` before each place of `tokens` i32[T]; f32[T, V] (eq. 1)."""
    return jax.nn.log_softmax(teacher_forced_logits(victim, params, features, tokens))


def teacher_forced_logits(
    victim: Captioner, params: Params, features: Features, tokens: Int[Array, " T"]
) -> Float[Array, "T V"]:
    """Return the scores before each place when the words before it are those of `tokens`."""
    first = victim.begin(params, features)

    def place(state: State, token: Array) -> tuple[State, State]:
        state = victim.advance(params, features, state, token)
        return state, state

    _, later = jax.lax.scan(place, first, tokens[:-1])
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    return jnp.asarray(jax.vmap(victim.logits, in_axes=(None, 0))(params, states))


def spoken(tokens: Int[Array, " T"]) -> Bool[Array, " T"]:
    """Mark the places that a caption takes, its end token included; bool[T]."""
    return jnp.concatenate([jnp.ones(1, bool), jnp.cumprod(tokens[:-1] != END).astype(bool)])


def caption_log_probability(
    victim: Captioner, params: Params, features: Features, tokens: Int[Array, " T"]
) -> Float[Array, ""]:
    """Return `ln P(S | I)` of a whole caption, its end token included (eq. 1)."""
    scores = log_probabilities(victim, params, features, tokens)
    chosen = jnp.take_along_axis(scores, tokens[:, None], axis=1)[:, 0]
    return jnp.where(spoken(tokens), chosen, 0.0).sum()


class _Beam(NamedTuple):
    """The captions that a search keeps, their `ln P` and whether they ended; a row each."""

    state: State
    tokens: Int[Array, "size T"]
    total: Float[Array, " size"]
    ended: Bool[Array, " size"]


def beam(victim: Captioner, params: Params, features: Features, size: int) -> Caption:
    """Search the `size` most probable captions; `tokens i32[size, T]`, best first.

    Plain beam search on `ln P`, no length normalisation, as the captioners' authors decode;
    `size=1` is `greedy`. Captions that ended keep their place in the beam.
    """
    state = victim.begin(params, features)
    first = jax.eval_shape(victim.logits, params, state)
    vocabulary_size = first.shape[-1]
    words = vocabulary_size - 1 - len(victim.vocabulary.suppressed)
    if not 1 <= size <= words:
        raise InputError(f"beam size {size}: must be from 1 to {words}")
    only_end = jnp.where(jnp.arange(vocabulary_size) == END, 0.0, -jnp.inf)

    def place(beam: _Beam, t: Array) -> tuple[_Beam, None]:
        logits = jax.vmap(victim.logits, in_axes=(None, 0))(params, beam.state)
        scores = without_suppressed(victim.vocabulary, jax.nn.log_softmax(logits))
        scores = jnp.where(beam.ended[:, None], only_end, scores)
        total, flat = jax.lax.top_k((beam.total[:, None] + scores).reshape(-1), size)
        parent, token = flat // vocabulary_size, (flat % vocabulary_size).astype(jnp.int32)
        state = jax.tree.map(lambda x: x[parent], beam.state)
        state = jax.vmap(victim.advance, in_axes=(None, None, 0, 0))(params, features, state, token)
        tokens = beam.tokens[parent].at[:, t].set(token)
        return _Beam(state, tokens, total, beam.ended[parent] | (token == END)), None

    def spread(x: Array) -> Array:
        return jnp.broadcast_to(x, (size, *x.shape))

    start = _Beam(
        state=jax.tree.map(spread, state),
        tokens=jnp.zeros((size, victim.max_length), jnp.int32),
        total=jnp.where(jnp.arange(size) == 0, 0.0, -jnp.inf).astype(first.dtype),
        ended=jnp.zeros(size, bool),
    )
    end, _ = jax.lax.scan(place, start, jnp.arange(victim.max_length))
    return Caption(end.tokens, end.total)
