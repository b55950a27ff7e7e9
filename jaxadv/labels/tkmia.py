"""TkMIA: specified labels leave the first k, the others stay (eqs. 1-6, Algorithm 1).

Here f are scores in [0, 1]; Δ_i (eq. 4) is how far the best specified label is above label i, Δ̃_j
(eq. 5) how far label j is above the worst of the other relevant labels. The norm of the
perturbation is added by the attack.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.core.attack import Attack, Objective, descend
from jaxadv.core.constraints import Constraint, signed
from jaxadv.core.method import Method, option
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import (
    LEARNING_RATE,
    TRADEOFF,
    Termed,
    label_check,
    label_judge,
    label_objective,
    label_optimiser,
    stateless,
)
from jaxadv.labels.options import DescentOptions, check_space, descent
from jaxadv.labels.ranking import highest, hinge, lowest, mean_of_top
from jaxadv.labels.target import LabelTarget


class Multipliers(NamedTuple):
    """λ1 and λ2 of eq. 6, each in [0, 1]."""

    first: Float[Array, ""]
    second: Float[Array, ""]


def above_others(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, " c"]:
    """`Δ_i = max_{s in S} f_s - f_i` (eq. 4, before its hinge); f32[c]."""
    return highest(scores, target.specified) - scores


def above_kept(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, " c"]:
    """`Δ̃_j = f_j - min_{y in Y without S} f_y` (eq. 5, before its hinge); f32[c]."""
    return scores - lowest(scores, target.relevant & ~target.specified)


def relaxed(
    gaps: Float[Array, " c"], number: Int[Array, ""], multiplier: Float[Array, ""]
) -> Float[Array, ""]:
    """`λ + (1/m) sum_i [Δ_i - λ]_+`: one half of eq. 6 (Lemma 4.2 drops the inner hinge)."""
    return multiplier + hinge(gaps - multiplier).sum() / number


def least(gaps: Float[Array, " c"], number: Int[Array, ""]) -> Float[Array, ""]:
    """`min_{λ in [0, 1]} λ + (1/m) sum_i [Δ_i - λ]_+`, exactly (Lemma 4.1).

    The minimum is at the order statistic λ = [Δ_[m]]_+, where it is the mean of the m largest
    hinged gaps; so is its gradient.
    """
    return mean_of_top(hinge(gaps), number)


def least_loss(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, ""]:
    """Return eq. 6 without the norm, minimised over λ1 and λ2."""
    others = scores.shape[-1] - target.k
    return least(above_others(scores, target), others) + least(above_kept(scores, target), target.k)


def loss_at(
    scores: Float[Array, " c"], target: LabelTarget, multipliers: Multipliers
) -> Float[Array, ""]:
    """Return eq. 6 without the norm, at the given λ1 and λ2."""
    others = scores.shape[-1] - target.k
    return relaxed(above_others(scores, target), others, multipliers.first) + relaxed(
        above_kept(scores, target), target.k, multipliers.second
    )


def step_multipliers(
    scores: Float[Array, " c"], target: LabelTarget, multipliers: Multipliers, rate: float
) -> Multipliers:
    """One gradient step on λ1 and λ2 (Algorithm 1, line 4), clipped to [0, 1].

    `∇λ = 1 - (1/m) #{i : Δ_i > λ}`.
    """

    def step(
        gaps: Float[Array, " c"], number: Int[Array, ""], multiplier: Float[Array, ""]
    ) -> Float[Array, ""]:
        slope = 1 - (gaps > multiplier).sum() / number
        return jnp.clip(multiplier - rate * slope, 0.0, 1.0).astype(multiplier.dtype)

    others = scores.shape[-1] - target.k
    return Multipliers(
        step(above_others(scores, target), others, multipliers.first),
        step(above_kept(scores, target), target.k, multipliers.second),
    )


Inner = Literal["exact", "gradient"]


def tkmia(
    victim: MultiLabelClassifier,
    *,
    tradeoff: float = TRADEOFF,
    inner: Inner = "exact",
    multiplier_rate: float = LEARNING_RATE,
    delta: int | None = None,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = True,
) -> Attack:
    """Minimise eq. 6 over ε, in one pass over the victim a step.

    `λ1 + λ2 + α/2 ‖ε‖² + 1/(c-k) sum_i [max_{s in S} f_s - f_i - λ1]_+
    + 1/k sum_j [f_j - min_{y in Y without S} f_y - λ2]_+`, with ε of the picture in [-1, 1].

    Algorithm 1 updates `x* = x* + ε` in line 5, which would add up the ε of all steps; here the
    adversarial picture is x + ε, the one that eq. 2 and the returned ε are about.

    Args:
      victim: the tagger.
      tradeoff: α (paper: one of 1e-3, 5e-4, 1e-4, 5e-5).
      inner: "exact" minimises over λ1 and λ2 at every picture (Lemma 4.1); "gradient" takes one
        gradient step on them a step, clipped to [0, 1], from 0 (Algorithm 1, which does not say
        where λ starts).
      multiplier_rate: η of that step; the paper's is the learning rate of ε.
      delta: δ, how many specified labels must leave the first k; None for all (the paper's under
        global selection).
      constraint: `signed()` by default; `tanh_of_picture()` is the released code's.
      optimiser: SGD at 5e-4 with momentum 0.9 by default.
      stop_at_success: stop at the first picture that fools the victim (paper: yes).

    Raises:
      InputError: the victim is no tagger, or an argument is outside its range.
    """
    return descend(
        objective(
            victim, tradeoff=tradeoff, inner=inner, multiplier_rate=multiplier_rate, delta=delta
        ),
        label_judge(victim, delta),
        constraint=signed() if constraint is None else constraint,
        optimiser=label_optimiser() if optimiser is None else optimiser,
        stop_at_success=stop_at_success,
        check=label_check(victim, delta),
        victim=victim,
    )


def objective(
    victim: MultiLabelClassifier,
    *,
    tradeoff: float = TRADEOFF,
    inner: Inner = "exact",
    multiplier_rate: float = LEARNING_RATE,
    delta: int | None = None,
) -> Objective:
    """Eq. 6; the arguments are `tkmia`'s.

    Raises:
      InputError: as `tkmia`.
    """
    checks.one_of("inner", inner, get_args(Inner))
    checks.in_range(multiplier_rate=multiplier_rate)

    def gradient(scores: Array, target: LabelTarget, latent: Multipliers) -> Termed:
        value = loss_at(scores, target, latent)
        return Termed(value, step_multipliers(scores, target, latent, multiplier_rate))

    if inner == "exact":
        return label_objective(victim, stateless(least_loss), tradeoff, delta=delta)
    return label_objective(victim, gradient, tradeoff, delta=delta, first=_first_multipliers)


def _first_multipliers() -> Multipliers:
    return Multipliers(jnp.zeros(()), jnp.zeros(()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TkmiaOptions(DescentOptions):
    """What TkMIA can be told.

    Attributes:
      inner: how λ1 and λ2 are minimised over.
    """

    inner: Inner = option("exact", "λ exactly minimised, or by a gradient step (Algorithm 1)")


METHOD = Method(
    name="tkmia",
    options=TkmiaOptions,
    make=lambda victim, options: tkmia(
        victim, inner=options.inner, multiplier_rate=options.learning_rate, **descent(options)
    ),
    iterations=lambda options: options.iterations,
    check=check_space,
)
