"""TkML-AP-U's loss (Hu et al. 2021, as the TkMIA paper's sections 3.2 and 4.2 give it)."""

from jax import Array
from jaxtyping import Float

from jaxadv.objectives.labels import LabelTarget
from jaxadv.objectives.ranking import highest
from jaxadv.objectives.tkmia import least


def loss(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, ""]:
    """Push every relevant label out of the first k: `[max_{y in Y} f_y - f_[k+1]]_+`, relaxed.

    `min_λ λ + 1/(c-k) sum_i [max_{y in Y} f_y - f_i - λ]_+`, the first half of eq. 6 with Y for S.
    """
    return least(highest(scores, target.relevant) - scores, scores.shape[-1] - target.k)
