"""Anchored attacks: toward the features of a picture that makes the target likely, then let go.

Ours; no paper has it. A captioner is hard to move by the likelihood alone, because the descent
begins in the basin of the benign picture's features. Of a *bank* of any pictures take those whose
features make the target likely, the *anchors*. From an anchor's features plan ones near them from
which the victim predicts the target, by the decoder alone; pull the features of the attacked
picture toward these, let go, and finish by the words' margins. An anchor that has not led to a
success within its share of the steps is dropped for the next likeliest, from the benign picture on.
Once the victim is fooled the perturbation is made as small as it can be (`core.minimal`).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.captions.bank import BankOptions, Known, scores, with_bank
from jaxadv.captions.captioner import Captioner, Features
from jaxadv.captions.criteria import says_target
from jaxadv.captions.gem import term as gem_term
from jaxadv.captions.judging import Term, Termed, caption_check, caption_judge, caption_objective
from jaxadv.captions.margins import term as margins_term
from jaxadv.captions.options import CAPTION
from jaxadv.captions.ssvm import first as ssvm_first
from jaxadv.captions.ssvm import term as ssvm_term
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import (
    Attack,
    AttackInfo,
    AttackState,
    Fixed,
    Judge,
    Objective,
    Target,
    Verdict,
    keep_where,
)
from jaxadv.core.method import Method, option, steps
from jaxadv.core.minimal import Shrinking, minimal
from jaxadv.errors import InputError

WEIGHT = 300.0  # of the pull at the first step
SHARE = 1.0  # of an anchor's steps until it is let go
PLANS = 200  # steps of a plan
PLAN_STEP = 0.03  # of each of its moves, in deviations of the bank's features


Loss = Literal["gem", "ssvm", "margins"]


class Goals(NamedTuple):
    """What the features of a picture are pulled toward; a leading axis of anchors.

    Attributes:
      features: planned from the anchors', the likeliest first.
      apart: f32[k], `‖e(x) - e_goal‖²` of each; infinite, so that nothing is pulled, where the bank
        has fewer than k that may be used.
    """

    features: Features
    apart: Float[Array, "*k"]


class Guidance(NamedTuple):
    """Where the pull toward a goal stands.

    Attributes:
      goal: `Goals` of one anchor, without its axis.
      steps: taken so far.
      fooled: whether the victim has been fooled, since when nothing pulls.
      term: the caption loss's own quantities.
    """

    goal: Goals
    steps: Int[Array, ""]
    fooled: Array
    term: Any


def squared_distance(some: Features, others: Features) -> Float[Array, ""]:
    """`‖e - e'‖²` over all that the decoder sees of a picture."""
    gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), some, others)
    return jnp.asarray(sum(jax.tree.leaves(gaps)))


def planned(
    victim: Captioner, known: Known, features: Features, target: PartialCaption
) -> Features:
    """Move an anchor's features until the victim says the target, and no further.

    Adam on the margins of the target's words (`margins.term`), by the decoder alone: no picture is
    encoded. Each leaf of the features moves in units of its deviation over the bank.

    Args:
      victim: the captioner.
      known: its parameters and the bank.
      features: of the anchor.
      target: the caption that is aimed at.
    """
    loss = margins_term(victim, lanes=3)
    enough = 1e-4 - jnp.sum(target.observed)  # every margin is 1
    adam = optax.scale_by_adam(b2=0.99, eps_root=1e-16)
    units = jax.tree.map(lambda x: PLAN_STEP * jnp.std(x, axis=0).mean(), known.bank.features)

    def value(features: Features) -> Float[Array, ""]:
        return loss(known.params, features, target, ()).loss

    def move(carry: tuple[Features, Any], _: None) -> tuple[tuple[Features, Any], None]:
        features, state = carry
        now, slope = jax.value_and_grad(value)(features)
        direction, state = adam.update(slope, state)
        moved = jax.tree.map(lambda x, unit, d: x - unit * d, features, units, direction)
        return (keep_where(now > enough, moved, features), state), None

    (there, _), _ = jax.lax.scan(move, (features, adam.init(features)), None, length=PLANS)
    return there


def goals(
    victim: Captioner,
    known: Known,
    image: Float[Array, "H W 3"],
    target: PartialCaption,
    *,
    anchors: int,
    exclude: bool = True,
) -> Goals:
    """Choose the likeliest anchors for a target, and plan from each.

    Args:
      victim: the captioner.
      known: its parameters and the bank.
      image: f32[H, W, 3], the benign picture.
      target: the caption that is aimed at.
      anchors: how many.
      exclude: take no anchor whose own caption has the target already.

    Raises:
      InputError: the bank has fewer pictures.
    """
    checks.whole("anchors", anchors, 1, len(known.bank.captions))
    likelihood, chosen = jax.lax.top_k(scores(victim, known, target, exclude=exclude), anchors)
    theirs = jax.tree.map(lambda x: x[chosen], known.bank.features)
    there = jax.vmap(lambda features: planned(victim, known, features, target))(theirs)
    own = victim.encode(known.params, image)
    apart = jax.vmap(squared_distance, in_axes=(None, 0))(own, there)
    usable = jnp.isfinite(likelihood) & (apart > 0)
    return Goals(there, jnp.where(usable, apart, jnp.inf))


def guided(
    victim: Captioner,
    term: Term,
    *,
    iterations: int,
    first: Callable[[], Any] = tuple,
    weight: float = WEIGHT,
    share: float = SHARE,
    exclude: bool = True,
) -> Objective:
    """Add to a caption loss a pull toward planned features that fades.

    `w(t) · weight · ‖e(x + ε) - e_goal‖² / ‖e(x) - e_goal‖² + L`, with w falling linearly from 1 to
    0 over the first `share` of the steps, and 0 once the victim is fooled. The picture is encoded
    once a step: the loss L is a function of the same features. The objective's parameters are a
    `Known`; the goal is that of the likeliest anchor.

    Args:
      victim: the captioner.
      term: L: `gem.term(victim)`, `ssvm.term(victim)`, `margins.term(victim)`.
      iterations: steps that the attack will be run.
      first: L's quantities before the first step; `lambda: ssvm.first(victim)` for SSVM.
      weight: of the pull.
      share: of the steps until it is gone.
      exclude: take no anchor whose own caption has the target already.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.callable_("term", term, "jaxadv.captions.gem.term(victim)")
    checks.in_range(iterations=iterations)
    checks.positive("weight", weight)
    checks.positive("share", share)

    def pulled(known: Known, features: Features, target: Any, latent: Guidance) -> Termed:
        found = term(known.params, features, target, latent.term)
        faded = jnp.maximum(1.0 - latent.steps / (share * iterations), 0.0)
        gap = squared_distance(features, latent.goal.features) / latent.goal.apart
        pull = jnp.where(latent.fooled, 0.0, faded * weight) * gap
        went_on = Guidance(
            latent.goal,
            latent.steps + 1,
            latent.fooled | says_target(target, found.said),
            found.latent,
        )
        return Termed(found.loss + pull, went_on, found.said, found.reports | {"pull": pull})

    def init(known: Known, image: Array, target: Target, key: Array) -> Guidance:
        found = goals(victim, known, image, target, anchors=1, exclude=exclude)
        likeliest = jax.tree.map(lambda x: x[0], found)
        return Guidance(likeliest, jnp.zeros((), jnp.int32), jnp.zeros((), bool), first())

    on_known = victim._replace(encode=lambda known, image: victim.encode(known.params, image))
    return caption_objective(on_known, says_target, pulled, 0.0)._replace(init=init)


class Restarts(NamedTuple):
    """Which anchor the attack goes by, and what it begins from again with the next one.

    Attributes:
      state: the `AttackState` of the present anchor's attack.
      fresh: the `AttackState` before its first step.
      goals: of all anchors, the likeliest first.
      anchor: i32[], the number of the present one.
      taken: i32[], steps taken by way of all anchors together.
    """

    state: AttackState
    fresh: AttackState
    goals: Goals
    anchor: Int[Array, ""]
    taken: Int[Array, ""]


def anchored(
    victim: Captioner,
    *,
    iterations: int,
    anchors: int = 1,
    loss: Term | None = None,
    first: Callable[[], Any] = tuple,
    exclude: bool = True,
) -> Attack:
    """Reach a (partial) caption by way of anchors, with the smallest perturbation that does.

    There is no rate and no weight to choose. A step is one pass over the victim. The attack's
    parameters are a `Known`; of its result `best` counts: the smallest perturbation whose picture
    of 8 bits fools the victim.

    Args:
      victim: the captioner.
      iterations: steps that the attack will be run.
      anchors: how many are tried, each for an equal share of the steps while nothing succeeds.
      loss: of the features; the margins of the words by default (`guided`'s `term`).
      first: as `guided`.
      exclude: take no anchor whose own caption has the target already.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.in_range(iterations=iterations)
    checks.whole("anchors", anchors, 1)
    share = -(-iterations // anchors)
    objective = guided(
        victim,
        margins_term(victim) if loss is None else loss,
        iterations=share,
        first=first,
        exclude=exclude,
    )
    judge = _of_known(caption_judge(victim, says_target))
    check_target = caption_check(victim)

    def check(known: Any, image: Any, target: Any) -> None:
        example = "jaxadv.captions.Known(params, jaxadv.captions.bank_of(victim, params, pictures))"
        checks.made_of("params", known, Known, example)
        if anchors > (count := len(known.bank.captions)):
            raise InputError(
                f"bank: {count} pictures are too few; give at least {anchors}, one an anchor"
            )
        check_target(known.params, image, target)

    one = minimal(objective, judge, iterations=iterations)
    return Attack(
        partial(_begin, one, partial(goals, victim, anchors=anchors, exclude=exclude)),
        partial(_step, one, share),
        judge,
        check,
        Fixed(victim),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnchoredOptions(BankOptions):
    """What the anchored attack can be told.

    Attributes:
      iterations: steps, each a pass over the victim.
      anchors: how many are tried.
      objective: of the features, in addition to the pull.
    """

    iterations: int = option(1000, "steps, each a pass over the victim", check=steps)
    anchors: int = option(
        1, "how many are tried while none succeeds", check=partial(checks.whole, least=1)
    )
    objective: Loss = option("margins", "added to the pull: margins, gem (joint posterior) or ssvm")


def _make(victim: Captioner, options: AnchoredOptions) -> Attack:
    loss, first = losses(victim)[options.objective]
    return anchored(
        victim,
        iterations=options.iterations,
        anchors=options.anchors,
        loss=loss,
        first=first,
        exclude=options.exclude,
    )


METHOD = Method(
    name="anchored",
    options=AnchoredOptions,
    make=_make,
    iterations=lambda options: options.iterations,
    reports="best",
    aims_at=lambda options: CAPTION,
    with_bank=with_bank,
)


def losses(victim: Captioner) -> dict[Loss, tuple[Term, Callable[[], Any]]]:
    """Return the losses that an anchored attack may have, and their quantities before a step."""
    return {
        "margins": (margins_term(victim), tuple),
        "gem": (gem_term(victim, posterior="joint", lanes=9), tuple),
        "ssvm": (ssvm_term(victim), partial(ssvm_first, victim)),
    }


def _of_known(judge: Judge) -> Judge:
    """Judge by a victim whose parameters come with a bank."""

    def of_params(known: Known, image: Array, target: Target) -> Verdict:
        return judge(known.params, image, target)

    return of_params


def _begin(
    one: Attack,
    choose: Callable[[Known, Array, Target], Goals],
    known: Known,
    image: Array,
    target: Target,
    key: Array,
) -> AttackState:
    """Begin by the likeliest anchor, from the benign picture."""
    fresh = one.init(known, image, target, key)  # its own goal is not used, and not computed
    found = choose(known, image, target)
    zero = jnp.zeros((), jnp.int32)
    state = _toward(fresh, found, zero, zero)
    latent = Restarts(state, state, found, zero, zero)
    return state._replace(variable=jnp.zeros(0, image.dtype), optimiser=(), latent=latent)


def _toward(
    fresh: AttackState, found: Goals, anchor: Int[Array, ""], taken: Int[Array, ""]
) -> AttackState:
    """Return the state of an attack that begins after `taken` steps, toward an anchor's goal."""
    shrinking: Shrinking = fresh.latent
    goal = jax.tree.map(lambda x: x[anchor], found)
    guidance = shrinking.objective._replace(goal=goal)
    return fresh._replace(latent=shrinking._replace(objective=guidance, taken=taken))


def _step(
    one: Attack, share: int, known: Known, image: Array, target: Target, state: AttackState
) -> tuple[AttackState, AttackInfo]:
    """Take a step by the present anchor, or by the next one if this one's share is used up."""
    now: Restarts = state.latent
    last = len(now.goals.apart) - 1
    used_up = now.taken == (now.anchor + 1) * share
    drop = used_up & (now.anchor < last) & ~now.state.latent.objective.fooled
    anchor = now.anchor + drop
    restarted = _toward(now.fresh, now.goals, anchor, now.taken)
    begun = keep_where(drop, restarted, now.state)
    new, info = one.step(known, image, target, begun)
    better = new.best_norm < state.best_norm
    best, norm = keep_where(better, (new.best, new.best_norm), (state.best, state.best_norm))
    found = Restarts(new, now.fresh, now.goals, anchor, now.taken + 1)
    return AttackState(new.perturbation, state.variable, (), found, best, norm, new.status), info
