"""The marginal likelihood of a partial caption by generalised EM (paper section 4.1, eqs. 2-10).

One pass over time serves the E step, the M step and the likelihood. The configurations of the
latent words that are kept form a *trie*: those that share a prefix share one decoder state (a
*lane*), so nothing is run again from the start. At an observed place every lane takes the observed
word; at a latent place each lane branches into its `top` words. The number of lanes alive at a
place depends on the target only through how many latent words lie before it; the decoder runs as
many lanes as the batch needs there (`largest_in_batch`), and none past the last place of interest.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv.captions.captioner import (
    Captioner,
    Features,
    Params,
    State,
    kept,
    sayable,
    without_suppressed,
)
from jaxadv.captions.log_probability import log_probability
from jaxadv.captions.target import PartialCaption
from jaxadv.core.batching import any_in_batch, held, largest_in_batch, scan_switch
from jaxadv.vocabulary import END, Vocabulary

Posterior = Literal["factorised", "joint"]


class Marginal(NamedTuple):
    """What one pass over the kept configurations finds.

    Attributes:
      bound: what the M step ascends (without the norm): eq. 10's expected log-likelihood for
        `factorised`; `ln P(S_O)` over the kept configurations for `joint`.
      log_likelihood: `ln sum_{S_H kept} P(S_O, S_H)`, up to the last observed place: a lower bound
        of eq. 2 that is exact when nothing was cut.
      words: i32[T, top], the kept states of each latent word, most probable first.
      posterior: f32[T, top], their q(S_t), renormalised (eq. 9); zero at observed places. For
        `joint`, the words' marginals under the exact posterior of the kept configurations.
      configurations: i32[lanes, T], the kept captions.
      weights: f32[lanes], q of each configuration; zero where a lane is not in use (its row of
        `configurations` then means nothing).
      said: i32[T], the greedy caption as far as the pass goes, the last observed place at least;
        END after that.
    """

    bound: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    words: Int[Array, "T top"]
    posterior: Float[Array, "T top"]
    configurations: Int[Array, "lanes T"]
    weights: Float[Array, " lanes"]
    said: Int[Array, " T"]


class _Place(NamedTuple):
    """What the target asks at one place; a leading axis of places where it holds them all.

    `here`: the pass goes as far as this; `scored`: at most the last observed place; `last`: it.
    """

    at: Array
    token: Array
    latent: Array
    here: Array
    scored: Array
    last: Array


class _Lanes(NamedTuple):
    """The trie's frontier; everything has a leading axis of lanes.

    Row 0 is no part of the trie: it is the caption that the victim says greedily, carried along
    because a row more costs next to nothing, and a pass of its own does not.

    `log_weight` is ln q of the lane's latent words so far (factorised) or its ln P (joint);
    `score` is ln P of all its words up to the last observed place, and carries the gradient.
    """

    state: State
    token: Array
    log_weight: Array
    score: Array
    configuration: Array


def _lane_counts(top: int, lanes: int) -> list[int]:
    """Numbers of lanes that can be alive: 1, top, top^2, ... and at most `lanes`."""
    counts = [1]
    while top > 1 and counts[-1] < lanes:
        counts.append(min(counts[-1] * top, lanes))
    return counts


def marginal(
    victim: Captioner,
    params: Params,
    features: Features,
    target: PartialCaption,
    *,
    posterior: Posterior = "factorised",
    top: int = 3,
    lanes: int = 27,
    tail: bool = True,
) -> Marginal:
    """Take the E step and the M step's objective at one picture, in one pass.

    Args:
      victim: the captioner.
      params: its parameters.
      features: of the adversarial picture; gradients flow into them.
      target: the partial caption `S_O`.
      posterior: `factorised` is the paper's q (eq. 9), which sees only the words before; `joint`
        weighs whole configurations by their exact likelihood, so that later observed words count.
      top: states kept a latent word (paper: 3).
      lanes: configurations kept at once. The paper keeps `top ** latent`; beyond `lanes` the least
        probable are dropped (27 keeps all for up to three latent words).
      tail: go on after the last observed place, as eq. 10's sum over t does. Where q is the
        model's own distribution those terms have zero expected gradient; cut to `top` states they
        leave a small remainder. `joint` always stops there, which is exact.

    A latent place takes a word, never the end token, since the target has N words, and never a word
    that the vocabulary suppresses.
    """
    length = victim.max_length
    joint = posterior == "joint"
    counts = _lane_counts(top, lanes)
    latent = target.latent
    places = target.reach if joint or not tail else jnp.maximum(target.length, target.reach)
    before = jnp.cumsum(latent) - latent  # latent words before each place
    # 0: nothing to do at this place; i: the decoder runs counts[i - 1] lanes
    level = jnp.where(
        jnp.arange(length) < places, 1 + jnp.minimum(before, len(counts) - 1), 0
    ).astype(jnp.int32)
    level = largest_in_batch(level)
    # level i becomes 2i - 1 where lanes only stay, 2i where some word is latent and they may branch
    kind = jnp.where(level > 0, 2 * level - 1 + any_in_batch(latent), 0)

    state = victim.begin(params, features)
    first = victim.logits(params, state)

    place = _Place(
        at=jnp.arange(length),
        token=target.tokens,
        latent=latent,
        here=jnp.arange(length) < places,
        scored=jnp.arange(length) < target.reach,
        last=jnp.arange(length) == target.reach - 1,
    )

    def spread(x: Array) -> Array:
        return jnp.broadcast_to(x, (1 + lanes, *x.shape))

    frontier = _Lanes(
        state=jax.tree.map(spread, state),
        token=jnp.zeros(1 + lanes, jnp.int32),
        log_weight=jnp.where(jnp.arange(1 + lanes) == 1, 0.0, -jnp.inf).astype(first.dtype),
        score=jnp.zeros(1 + lanes, first.dtype),
        configuration=jnp.zeros((1 + lanes, length), jnp.int32),
    )

    gains = jax.vmap(partial(log_probability, victim.logits), in_axes=(None, 0, 0, 0))
    words = victim.vocabulary
    stay = partial(_stay, top=top, joint=joint)
    branch = partial(_branch_or_stay, vocabulary=words, top=top, joint=joint)
    start = jax.tree.map(lambda x: x[0], place)
    at_start = partial(branch, partial(gains, params))
    frontier, seen = _take_place(words, at_start, frontier, start, jnp.stack([first, first]))

    def rest(
        fixed: tuple[Params, Features], frontier: _Lanes, place: _Place
    ) -> tuple[_Lanes, _Seen]:
        return frontier, _Seen.nothing(top, first.dtype)

    def run(
        count: int,
        move: Callable[[_Gains, _Lanes, _Place, Array], _Move],
        fixed: tuple[Params, Features],
        frontier: _Lanes,
        place: _Place,
    ) -> tuple[_Lanes, _Seen]:
        alive = jax.tree.map(lambda x: x[: 1 + count], (frontier.state, frontier.token))
        state = jax.vmap(victim.advance, in_axes=(None, None, 0, 0))(*fixed, *alive)
        logits = jax.vmap(victim.logits, in_axes=(None, 0))(fixed[0], state)
        moved_on = frontier._replace(state=_over(frontier.state, state))
        at_place = partial(move, partial(gains, fixed[0]))
        return _take_place(words, at_place, moved_on, place, logits)

    frontier, later = scan_switch(
        (rest, *(partial(run, count, how) for count in counts for how in (stay, branch))),
        (params, features),
        frontier,
        kind[1:],
        jax.tree.map(lambda x: x[1:], place),
    )
    seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), seen, later)

    log_likelihood = seen.log_likelihood.sum()  # said at the last observed place alone
    states, q = seen.words, seen.posterior
    log_weight, configurations = frontier.log_weight[1:], frontier.configuration[1:]
    weights = jnp.exp(jax.nn.log_softmax(log_weight) if joint else log_weight)
    if joint:
        states, q = _word_marginals(configurations, weights, latent, top, first.shape[-1])
    return Marginal(
        bound=log_likelihood if joint else seen.term.sum(),
        log_likelihood=log_likelihood,
        words=states,
        posterior=q,
        configurations=configurations,
        weights=weights,
        said=frontier.configuration[0],
    )


class _Seen(NamedTuple):
    """What one place adds: its term of eq. 10 and the kept states with their q (eq. 9).

    `log_likelihood` is `ln sum P` over the lanes at the last observed place, zero elsewhere.
    """

    term: Array
    log_likelihood: Array
    words: Array
    posterior: Array

    @staticmethod
    def nothing(top: int, dtype: Any) -> "_Seen":
        zero = jnp.zeros((), dtype)
        return _Seen(zero, zero, jnp.zeros(top, jnp.int32), jnp.zeros(top, dtype))


def _over(all_lanes: State, some: State) -> State:
    """Put the first lanes' new values over the old ones."""
    return jax.tree.map(lambda old, new: jnp.concatenate([new, old[len(new) :]]), all_lanes, some)


def _inherit(values: Array, parent: Array) -> Array:
    """`values[parent]` over the leading axis of lanes, as a product: its transpose scatters not."""
    if jnp.issubdtype(values.dtype, jnp.integer):  # carries no gradient
        return values[parent]
    chosen = (parent[:, None] == jnp.arange(len(values))).astype(values.dtype)
    return jnp.tensordot(chosen, values, axes=1, precision=jax.lax.Precision.HIGHEST)


class _Move(NamedTuple):
    """What lanes do at a place.

    `lanes`: those that may be alive after it, with their words and weights; `gained`:
    `ln P(S_t | S_<t)` of each; `words`, `posterior`: the kept states and their q, if it is latent.
    """

    lanes: _Lanes
    gained: Array
    words: Array
    posterior: Array


_Gains = Callable[[State, Array, Array], Array]  # `log_probability` of each lane's word


def _take_place(
    vocabulary: Vocabulary,
    move: Callable[[_Lanes, _Place, Array], _Move],
    frontier: _Lanes,
    place: _Place,
    logits: Array,
) -> tuple[_Lanes, _Seen]:
    """Give every lane its word at a place; `logits` f32[1 + count, V] are the scores before it."""
    row = jax.tree.map(lambda x: x[:1], frontier)
    speaker = _speak(row, place, without_suppressed(vocabulary, logits[:1]))
    frontier, logits = jax.tree.map(lambda x: x[1:], (frontier, logits))
    moved, gained, words, q = move(frontier, place, logits)
    gained = kept(gained)
    used = moved.log_weight > -jnp.inf
    at = jnp.arange(frontier.configuration.shape[-1]) == place.at
    new = moved._replace(
        score=moved.score + jnp.where(used & place.scored, gained, 0.0),
        configuration=jnp.where(at, moved.token[:, None], moved.configuration),
    )
    reached = jax.nn.logsumexp(jnp.where(used, new.score, -jnp.inf))
    # past the last place of interest everything stays as it is
    old = jax.tree.map(lambda x: x[: len(gained)], frontier)
    new = _over(frontier, jax.tree.map(lambda x, y: jnp.where(place.here, x, y), new, old))
    expected = jnp.where(used, jnp.exp(moved.log_weight) * gained, 0.0).sum()  # eq. 10's term at t
    new = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), speaker, new)
    return new, _Seen(
        jnp.where(place.here, expected, 0.0),
        jnp.where(place.last, reached, 0.0),
        jnp.where(place.here & place.latent, words, END),
        jnp.where(place.here & place.latent, q, 0.0),
    )


def _branch_or_stay(
    gains: _Gains,
    frontier: _Lanes,
    place: _Place,
    logits: Array,
    *,
    vocabulary: Vocabulary,
    top: int,
    joint: bool,
) -> _Move:
    """Branch where the place is latent; where it is observed take its word."""
    lanes = len(frontier.token)
    count = len(logits)
    room = min(count * top, lanes)  # lanes that may be alive afterwards
    log_p = jax.nn.log_softmax(logits)
    log_weight = frontier.log_weight[:count]
    words, q, log_q, of_lane = _branch(vocabulary, log_p, log_weight, top, joint)

    # a latent place: each lane branches; the likeliest configurations are kept
    grown, branches = jax.lax.top_k((log_weight[:, None] + log_q).reshape(-1), room)
    if not joint:  # a no-op unless configurations were dropped
        grown = jax.nn.log_softmax(grown)
    # an observed place: every lane stays and takes the observed word
    stay = jnp.minimum(jnp.arange(room), count - 1)
    parent = kept(jnp.where(place.latent, branches // top, stay))
    token = jnp.where(place.latent, of_lane.reshape(-1)[branches], place.token)
    token = kept(token.astype(jnp.int32))

    inherited: _Lanes = jax.tree.map(lambda x: _inherit(x[:count], parent), frontier)
    if room > count:  # fewer states than words: the reverse pass takes the gradients by state
        here = jnp.arange(log_p.shape[-1]) == token[:, None]
        gained = jnp.where(here, _inherit(kept(log_p), parent), 0.0).sum(axis=-1)
    else:
        gained = gains(inherited.state, token, _inherit(log_p, parent))
    stayed = jnp.where(jnp.arange(room) < count, log_weight[stay], -jnp.inf)
    if joint:  # the branches' ln P is in `grown` already
        stayed = stayed + jax.lax.stop_gradient(gained)
    kept_weight = kept(jnp.where(place.latent, grown, stayed))
    return _Move(inherited._replace(token=token, log_weight=kept_weight), gained, words, q)


def _stay(
    gains: _Gains, frontier: _Lanes, place: _Place, logits: Array, *, top: int, joint: bool
) -> _Move:
    """Do what `_branch_or_stay` does where the place is observed in the whole batch."""
    count = len(logits)
    token = jnp.full(count, place.token, jnp.int32)
    stayed: _Lanes = jax.tree.map(lambda x: x[:count], frontier)
    gained = gains(stayed.state, token, jax.nn.log_softmax(logits))
    log_weight = stayed.log_weight
    if joint:
        log_weight = log_weight + jax.lax.stop_gradient(gained)
    nothing = jnp.zeros(top, jnp.int32), jnp.zeros(top, logits.dtype)
    return _Move(stayed._replace(token=token, log_weight=log_weight), gained, *nothing)


def _speak(speaker: _Lanes, place: _Place, logits: Array) -> _Lanes:
    """Let the one row of `speaker` say its likeliest word, unless it has ended."""
    ended = (speaker.token == END) & (place.at > 0)
    token = jnp.where(ended, END, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
    at = (jnp.arange(speaker.configuration.shape[-1]) == place.at) & place.here
    return speaker._replace(
        token=token, configuration=jnp.where(at, token[:, None], speaker.configuration)
    )


def _branch(
    vocabulary: Vocabulary,
    log_p: Float[Array, "count V"],
    log_weight: Float[Array, " count"],
    top: int,
    joint: bool,
) -> tuple[
    Int[Array, " top"], Float[Array, " top"], Float[Array, "count top"], Int[Array, "count top"]
]:
    """Choose the `top` states of a latent word (E step).

    Returns the kept states and their q, i32[top], f32[top], and for each lane the log-weights and
    numbers of its branches, f32[count, top], i32[count, top].
    """
    log_p = held(log_p)
    is_word = sayable(vocabulary) & (np.arange(vocabulary.size) != END)
    if joint:  # each lane branches into its own likeliest words; q follows from the leaves
        log_q, of_lane = jax.lax.top_k(jnp.where(is_word, log_p, -jnp.inf), top)
        return jnp.zeros(top, jnp.int32), jnp.zeros(top, log_p.dtype), log_q, of_lane
    # eq. 9: q(S_t = k) ∝ exp( sum_{S_<t,H} q(S_<t,H) ln P(S_t = k | S_<t) ), one for all lanes
    expected = (jnp.exp(log_weight)[:, None] * log_p).sum(axis=0)
    best, states = jax.lax.top_k(jnp.where(is_word, expected, -jnp.inf), top)
    log_q = jax.nn.log_softmax(best)  # cut to the top states and renormalised
    shape = (len(log_p), top)
    return (
        states.astype(jnp.int32),
        jnp.exp(log_q),
        jnp.broadcast_to(log_q, shape),
        jnp.broadcast_to(states, shape),
    )


def _word_marginals(
    configurations: Int[Array, "lanes T"],
    weights: Float[Array, " lanes"],
    latent: Bool[Array, " T"],
    top: int,
    vocabulary_size: int,
) -> tuple[Int[Array, "T top"], Float[Array, "T top"]]:
    """Sum the configurations' weights word by word, and keep each place's `top`."""

    def at(column: Array, is_latent: Array) -> tuple[Array, Array]:
        mass = jnp.zeros(vocabulary_size, weights.dtype).at[column].add(weights)
        q, words = jax.lax.top_k(mass, top)
        return jnp.where(is_latent, words, END).astype(jnp.int32), jnp.where(is_latent, q, 0.0)

    return jax.vmap(at, in_axes=(1, 0))(configurations, latent)
