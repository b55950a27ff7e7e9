"""Anchored attacks: toward the features of a picture that makes the target likely, then let go.

Ours; no paper has it. A captioner is hard to move by the likelihood alone, because the descent
begins in the basin of the benign picture's features. Of a *bank* of any pictures take those whose
features make the target likely, the *anchors*; pull the features of the attacked picture toward
one, let go, and finish by the likelihood. Several anchors are tried as *lanes*, one of which takes
a step at a time, so that a step is one pass over the victim; the worst are dropped early
(successive halving, Jamieson and Talwalkar 2016). Once the victim is fooled the perturbation is
made as small as it can be (`core.minimal`).
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.captions import gem
from jaxadv.captions.captioner import Captioner, Features, Params, greedy
from jaxadv.captions.criteria import says_target
from jaxadv.captions.judging import Term, Termed, caption_check, caption_judge, caption_objective
from jaxadv.captions.marginal import marginal
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import (
    Attack,
    AttackInfo,
    AttackState,
    Judge,
    Objective,
    Target,
    Verdict,
    keep_where,
)
from jaxadv.core.minimal import Shrinking, minimal

WEIGHT = 100.0  # of the pull at the first step
SHARE = 0.3  # of a lane's steps until it is let go
LANES = 4


class Bank(NamedTuple):
    """What a victim makes of some pictures; a leading axis of pictures throughout.

    Attributes:
      features: of each picture, as `Captioner.encode` gives them.
      captions: i32[N, T], what it says of each greedily.
    """

    features: Features
    captions: Int[Array, "N T"]


class Known(NamedTuple):
    """What is known of the victim, and takes the place of its parameters: all examples share it.

    Attributes:
      params: its parameters.
      bank: what it makes of the pictures that anchors are taken from.
    """

    params: Params
    bank: Bank


def bank_of(victim: Captioner, params: Params, pictures: Array, batch: int = 64) -> Bank:
    """Encode and caption the pictures of a bank.

    Args:
      victim: the captioner.
      params: its parameters.
      pictures: f32[N, H, W, 3] in [0, 1], any; the attacked ones had better not be among them.
      batch: pictures at once.

    Raises:
      InputError: the victim is no captioner, or there is no picture.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.whole("batch", batch, 1)
    checks.whole("number of pictures", len(pictures), 1)
    return _encoded(victim, params, jnp.asarray(pictures), min(batch, len(pictures)))


@partial(jax.jit, static_argnames=("victim", "batch"))
def _encoded(victim: Captioner, params: Params, pictures: Array, batch: int) -> Bank:
    def one(picture: Array) -> Bank:
        features = victim.encode(params, picture)
        return Bank(features, greedy(victim, params, features).tokens)

    bank: Bank = jax.lax.map(one, pictures, batch_size=batch)
    return bank


def scores(
    victim: Captioner,
    known: Known,
    target: PartialCaption,
    *,
    exclude: bool = True,
    top: int = 3,
    lanes: int = 9,
    batch: int = 64,
) -> Float[Array, " N"]:
    """Score every picture of the bank by `ln P(S_O)` of the target, latent words summed over.

    Args:
      victim: the captioner.
      known: its parameters and the bank.
      target: what shall be said.
      exclude: minus infinity where the picture's own caption has the target already, so that an
        evaluation rests on no picture that is an answer.
      top: states kept a latent word.
      lanes: configurations kept at once.
      batch: pictures at once.

    Returns:
      f32[N].
    """

    def one(features: Features) -> Array:
        found = marginal(
            victim, known.params, features, target, posterior="joint", top=top, lanes=lanes
        )
        return found.log_likelihood

    features, captions = known.bank
    likelihood = jax.lax.map(one, features, batch_size=min(batch, len(captions)))
    if not exclude:
        return likelihood
    answers = jax.vmap(partial(says_target, target))(captions)
    return jnp.where(answers, -jnp.inf, likelihood)


class Guidance(NamedTuple):
    """Where the pull toward an anchor stands.

    Attributes:
      anchors: i32[k], pictures of the bank, the likeliest first.
      apart: f32[k], `‖e(x) - e_anchor‖²` of each; infinite, so that nothing is pulled, where the
        bank has fewer than k that may be used.
      lane: which of them pulls.
      steps: taken so far.
      fooled: whether the victim has been fooled, since when nothing pulls.
      term: the caption loss's own quantities.
    """

    anchors: Int[Array, " k"]
    apart: Float[Array, " k"]
    lane: Int[Array, ""]
    steps: Int[Array, ""]
    fooled: Array
    term: Any


def squared_distance(some: Features, others: Features) -> Float[Array, ""]:
    """`‖e - e'‖²` over all that the decoder sees of a picture."""
    gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), some, others)
    return jnp.asarray(sum(jax.tree.leaves(gaps)))


def guided(
    victim: Captioner,
    term: Term,
    *,
    iterations: int,
    first: Callable[[], Any] = tuple,
    anchors: int = 1,
    weight: float = WEIGHT,
    share: float = SHARE,
    exclude: bool = True,
) -> Objective:
    """Add to a caption loss a pull toward an anchor's features that fades.

    `w(t) · weight · ‖e(x + ε) - e_anchor‖² / ‖e(x) - e_anchor‖² + L`, with w falling linearly from
    1 to 0 over the first `share` of the steps, and 0 once the victim is fooled. The picture is
    encoded once a step: the loss L is a function of the same features. The objective's parameters
    are a `Known`.

    Args:
      victim: the captioner.
      term: L: `gem.term(victim)`, `ssvm.term(victim)`, `margins.term(victim)`.
      iterations: steps that the attack will be run.
      first: L's quantities before the first step; `lambda: ssvm.first(victim)` for SSVM.
      anchors: how many are ranked; the first pulls.
      weight: of the pull.
      share: of the steps until it is gone.
      exclude: take no anchor whose own caption has the target already.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.callable_("term", term, "jaxadv.captions.gem.term(victim)")
    checks.in_range(iterations=iterations)
    checks.whole("anchors", anchors, 1)
    checks.positive("weight", weight)
    checks.positive("share", share)

    def pulled(known: Known, features: Features, target: Any, latent: Guidance) -> Termed:
        found = term(known.params, features, target, latent.term)
        faded = jnp.maximum(1.0 - latent.steps / (share * iterations), 0.0)
        anchor = jax.tree.map(lambda x: x[latent.anchors[latent.lane]], known.bank.features)
        gap = squared_distance(features, anchor) / latent.apart[latent.lane]
        pull = jnp.where(latent.fooled, 0.0, faded * weight) * gap
        went_on = latent._replace(
            steps=latent.steps + 1,
            fooled=latent.fooled | says_target(target, found.said),
            term=found.latent,
        )
        return Termed(found.loss + pull, went_on, found.said, found.reports | {"pull": pull})

    def init(known: Known, image: Array, target: Target, key: Array) -> Guidance:
        checks.whole("anchors", anchors, 1, len(known.bank.captions))
        likelihood, chosen = jax.lax.top_k(scores(victim, known, target, exclude=exclude), anchors)
        own = victim.encode(known.params, image)
        theirs = jax.tree.map(lambda x: x[chosen], known.bank.features)
        apart = jax.vmap(squared_distance, in_axes=(None, 0))(own, theirs)
        usable = jnp.isfinite(likelihood) & (apart > 0)
        return Guidance(
            anchors=chosen,
            apart=jnp.where(usable, apart, jnp.inf),
            lane=jnp.zeros((), jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            fooled=jnp.zeros((), bool),
            term=first(),
        )

    on_known = victim._replace(encode=lambda known, image: victim.encode(known.params, image))
    return caption_objective(on_known, says_target, pulled, 0.0)._replace(init=init)


class Lanes(NamedTuple):
    """One attack under way for each anchor, and which of them goes on.

    Attributes:
      states: their `AttackState`s, with a leading axis of lanes.
      losses: f32[k], what each found last, the pull left out; infinite before that.
      order: i32[k], the lanes, the best of the last round first.
      taken: steps taken by all of them together.
    """

    states: AttackState
    losses: Float[Array, " k"]
    order: Int[Array, " k"]
    taken: Int[Array, ""]


def rounds(lanes: int, iterations: int) -> list[tuple[int, int]]:
    """Share steps out by successive halving: `(first step, lanes alive)` of each round.

    Half of all steps belong to the last lane; the rounds before it share the other half.

    >>> rounds(4, 1000)
    [(0, 4), (250, 2), (500, 1)]
    >>> rounds(1, 1000)
    [(0, 1)]
    """
    alive = [max(lanes >> i, 1) for i in range(lanes.bit_length())]
    each = iterations / 2 / max(len(alive) - 1, 1)
    return [(round(i * each), count) for i, count in enumerate(alive)]


def _of_last(lanes: int, iterations: int) -> int:
    """Count the steps that the lane takes which is never dropped."""
    starts = [*rounds(lanes, iterations), (iterations, 1)]
    spans = pairwise(starts)
    return max(sum(-(-(end - start) // count) for (start, count), (end, _) in spans), 1)


def anchored(
    victim: Captioner,
    *,
    iterations: int,
    anchors: int = LANES,
    loss: Term | None = None,
    first: Callable[[], Any] = tuple,
    exclude: bool = True,
) -> Attack:
    """Reach a (partial) caption by way of anchors, with the smallest perturbation that does.

    There is no rate and no weight to choose. A step is one pass over the victim, by one lane. The
    attack's parameters are a `Known`; of its result `best` counts: the smallest perturbation whose
    picture of 8 bits fools the victim.

    Args:
      victim: the captioner.
      iterations: steps that the attack will be run.
      anchors: lanes.
      loss: of the features; GEM's with the joint posterior by default (`guided`'s `term`).
      first: as `guided`.
      exclude: take no anchor whose own caption has the target already.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.in_range(iterations=iterations)
    checks.whole("anchors", anchors, 1)
    longest = _of_last(anchors, iterations)
    objective = guided(
        victim,
        gem.term(victim, posterior="joint", lanes=9) if loss is None else loss,
        iterations=longest,
        first=first,
        anchors=anchors,
        exclude=exclude,
    )
    judge = of_known(caption_judge(victim, says_target))
    check_target = caption_check(victim)
    one = minimal(objective, judge, iterations=longest)
    return Attack(
        partial(_begin, one, anchors),
        partial(_step, one, tuple(rounds(anchors, iterations))),
        judge,
        lambda known, image, target: check_target(known.params, image, target),
    )


def of_known(judge: Judge) -> Judge:
    """Judge by a victim whose parameters come with a bank."""

    def of_params(known: Known, image: Array, target: Target) -> Verdict:
        return judge(known.params, image, target)

    return of_params


def _begin(
    one: Attack, count: int, known: Known, image: Array, target: Target, key: Array
) -> AttackState:
    """Begin a lane for each anchor from the benign picture."""
    state = one.init(known, image, target, key)
    numbers = jnp.arange(count, dtype=jnp.int32)

    def lane(number: Array) -> AttackState:
        shrinking: Shrinking = state.latent
        guidance = shrinking.objective._replace(lane=number)
        return state._replace(latent=shrinking._replace(objective=guidance))

    lanes = Lanes(
        jax.vmap(lane)(numbers),
        jnp.full(count, jnp.inf, image.dtype),
        numbers,
        jnp.zeros((), jnp.int32),
    )
    return state._replace(variable=(), optimiser=(), latent=lanes)


def _step(
    one: Attack,
    halvings: tuple[tuple[int, int], ...],
    known: Known,
    image: Array,
    target: Target,
    state: AttackState,
) -> tuple[AttackState, AttackInfo]:
    """Let the lane whose turn it is take a step."""
    lanes: Lanes = state.latent
    starts, alive = (jnp.asarray(column) for column in zip(*halvings, strict=True))
    present = jnp.sum(lanes.taken >= starts) - 1
    order = jnp.where(lanes.taken == starts[present], _best_first(lanes), lanes.order)
    turn = order[(lanes.taken - starts[present]) % alive[present]]
    new, info = one.step(known, image, target, jax.tree.map(lambda x: x[turn], lanes.states))
    states = jax.tree.map(lambda all_, own: all_.at[turn].set(own), lanes.states, new)
    better = new.best_norm < state.best_norm
    best, norm = keep_where(better, (new.best, new.best_norm), (state.best, state.best_norm))
    found = Lanes(
        states, lanes.losses.at[turn].set(info.loss - info.reports["pull"]), order, lanes.taken + 1
    )
    return AttackState(new.perturbation, (), (), found, best, norm, jnp.min(states.status)), info


def _best_first(lanes: Lanes) -> Int[Array, " k"]:
    """Order lanes: the smallest success first, then the least loss; those that diverged last."""
    losses = jnp.where(lanes.states.status == 0, lanes.losses, jnp.inf)
    order = jnp.lexsort((losses, lanes.states.best_norm))
    return order.astype(jnp.int32)
