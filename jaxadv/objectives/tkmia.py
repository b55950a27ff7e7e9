"""TkMIA's loss: specified labels out of the first k, the other relevant ones in (eqs. 1-6).

Here f are scores in [0, 1]; Δ_i (eq. 4) is how far the best specified label is above label i, Δ̃_j
(eq. 5) how far label j is above the worst of the other relevant labels. The norm of the
perturbation is added by the attack.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxadv.objectives.labels import LabelTarget
from jaxadv.objectives.ranking import highest, hinge, lowest, mean_of_top


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
