"""A reliable attack: specified labels leave the first k, right ones take their places, no rates.

Ours; no paper has it. The aim is TkMIA's (eq. 2), as one margin of the logits: with S the labels
that must leave, Y the relevant ones and N the others,

    m(x) = (k-th largest of Y without S) - (largest of S and N),

which is positive where no label of S and none of N is among the first k, so that TkAcc, P@k, AP@k
and NDCG@k are at their best. As logits are compared with each other, their scale does not matter:
a saturated tagger has slopes too. Of the pictures that reach a positive margin the one nearest to
the benign picture is sought (`core.minimal`).

Where that is out of reach, some labels of N are allowed among the first k: none in the first half
of the budget; then, while no picture succeeds, one more at a time until k are. So a picture with
fewer wrong labels always comes before one with more, and only among equals the norm decides.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv.core.attack import (
    Appraisal,
    Attack,
    Fixed,
    Objective,
    Params,
)
from jaxadv.core.method import AttackOptions, Method, option, steps
from jaxadv.core.minimal import minimal, normed_directions
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import label_check, label_judge
from jaxadv.labels.options import delta_option
from jaxadv.labels.ranking import highest, in_top, lowest
from jaxadv.labels.target import LabelTarget, excluded

BUDGET = 1000
CLEARANCE = 1e-4  # of the spread of the logits: the margin of a success, beyond rounding errors


class Allowance(NamedTuple):
    """How many wrong labels a picture may have among its first k to be a success.

    Attributes:
      taken: steps taken.
      wrong: how many are allowed; never more from the first success on.
      found: whether there was a success.
    """

    taken: Int[Array, ""]
    wrong: Int[Array, ""]
    found: Bool[Array, ""]


def leaving(
    logits: Float[Array, " c"], target: LabelTarget, delta: int | None = None
) -> Bool[Array, " c"]:
    """Return which labels must leave the first k: all of S, or the δ of them that are lowest.

    >>> target = LabelTarget(jnp.ones(4, bool), jnp.array([1, 1, 1, 0], bool), jnp.array(1))
    >>> leaving(jnp.array([3.0, 1.0, 2.0, 0.0]), target, 2).tolist()
    [False, True, True, False]
    """
    if delta is None:
        return target.specified
    falling = jnp.where(target.specified, -logits, -jnp.inf)
    return target.specified & in_top(falling, delta)


def margin(
    logits: Float[Array, " c"],
    target: LabelTarget,
    delta: int | None = None,
    wrong: Int[Array, ""] | int = 0,
) -> Float[Array, ""]:
    """Return by how much the first k are what is wanted; positive exactly where they are.

    With S the labels that must leave and w the wrong labels that are allowed: let the k - w highest
    labels of Y without S and the w highest of what else is not in S be the *filling* F. The margin
    is the smaller of

        min_{i in F} f_i - max_{s in S} f_s
        f_[k-w] of Y without S - max_{i in N without F} f_i

    and with w = 0 the module's m(x). Where Y without S has fewer than k - w labels, w is larger.

    Args:
      logits: f32[c].
      target: Y, S and k.
      delta: δ, how many labels of S must leave; None for all.
      wrong: w, from 0 to k.

    >>> relevant, specified = jnp.array([1, 1, 1, 0], bool), jnp.array([1, 0, 0, 0], bool)
    >>> target = LabelTarget(relevant, specified, jnp.array(2))
    >>> float(margin(jnp.array([1.0, 4.0, 2.0, 1.5]), target))
    0.5
    >>> float(margin(jnp.array([1.0, 4.0, 2.0, 3.0]), target))
    -1.0
    >>> float(margin(jnp.array([1.0, 4.0, 2.0, 3.0]), target, wrong=1))
    2.0
    """
    gone = leaving(logits, target, delta)
    kept, others = target.relevant & ~gone, ~target.relevant
    sure = kept & in_top(jnp.where(kept, logits, -jnp.inf), target.k - wrong)
    filling = _first(target.k, sure, ~gone, logits)
    return jnp.minimum(
        lowest(logits, filling) - highest(logits, gone & ~filling),
        lowest(logits, sure) - highest(logits, others & ~filling),
    )


def _first(
    k: Int[Array, ""],
    sure: Bool[Array, " c"],
    able: Bool[Array, " c"],
    logits: Float[Array, " c"],
) -> Bool[Array, " c"]:
    """Return k labels: those that are sure, then the highest that are able, then the others."""
    order = jnp.lexsort((-logits, ~able, ~sure))
    return jnp.zeros_like(able).at[order].set(jnp.arange(order.size) < k)


def reliable(
    victim: MultiLabelClassifier, *, budget: int = BUDGET, delta: int | None = None
) -> Attack:
    """Make labels leave the first k, put other relevant ones there, and make the norm small.

    There is no rate, no weight and no number of steps to choose. A step is one pass over the
    victim, forward and back. Of the result `best` counts: of the pictures of 8 bits that fool the
    victim with the fewest wrong labels among the first k, the nearest.

    Args:
      victim: the tagger.
      budget: passes over the victim, and steps that the attack will be run.
      delta: δ, how many specified labels must leave the first k; None for all.

    Raises:
      InputError: the victim is no tagger, or an argument is outside its range.
    """
    one = minimal(
        objective(victim, budget=budget, delta=delta),
        label_judge(victim, delta),
        iterations=budget,
        check=label_check(victim, delta),
        directions=normed_directions(),
    )
    return one._replace(victim=Fixed(victim))


def objective(
    victim: MultiLabelClassifier, *, budget: int = BUDGET, delta: int | None = None
) -> Objective:
    """Return minus the margin, and as a success a margin beyond rounding errors.

    The arguments are `reliable`'s.
    """
    label_check(victim, delta)
    steps("budget", budget)

    def loss(
        params: Params, image: Array, adversarial: Array, target: LabelTarget, latent: Allowance
    ) -> tuple[Float[Array, ""], Appraisal]:
        logits = victim.logits(params, adversarial)
        reached = margin(logits, target, delta, latent.wrong)
        seen = jax.lax.stop_gradient(logits)
        success = reached > CLEARANCE * (seen.max() - seen.min())
        found = (in_top(seen, target.k) & ~target.relevant).sum()
        reports = {"excluded": excluded(target, seen), "wrong": found}
        allowed = _allow(latent, success, found, target.k, budget)
        return -reached, Appraisal(allowed, success, reports)

    def init(params: Params, image: Array, target: LabelTarget, key: Array) -> Allowance:
        nothing = jnp.zeros((), jnp.int32)
        return Allowance(nothing, nothing, jnp.zeros((), bool))

    return Objective(init, loss)


def _allow(
    latent: Allowance,
    success: Bool[Array, ""],
    found: Int[Array, ""],
    k: Int[Array, ""],
    budget: int,
) -> Allowance:
    """Allow wrong labels while nothing succeeds: from half of the budget on, all k at 3/4 of it.

    A success allows no more than it has; `found` says how many.
    """
    taken, any_found = latent.taken + 1, latent.found | success
    share = jnp.clip(4 * taken / budget - 2, 0.0, 1.0)
    more = jnp.where(any_found, latent.wrong, jnp.ceil(share * k).astype(jnp.int32))
    fewer = jnp.minimum(latent.wrong, found.astype(jnp.int32))
    return Allowance(taken, jnp.where(success, fewer, more), any_found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliableOptions(AttackOptions):
    """What the reliable attack can be told.

    Attributes:
      budget: passes over the victim.
      delta: δ, how many specified labels must leave the first k; None for all.
    """

    budget: int = option(BUDGET, "passes over the victim, each a step", check=steps)
    delta: int | None = delta_option()


METHOD = Method(
    name="reliable",
    options=ReliableOptions,
    make=lambda victim, options: reliable(victim, budget=options.budget, delta=options.delta),
    iterations=lambda options: options.budget,
    reports="best",
)
