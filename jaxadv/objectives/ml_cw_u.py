"""ML-CW-U's loss: the untargeted multi-label version of C&W (TkMIA paper, appendix B.2)."""

from jax import Array
from jaxtyping import Float

from jaxadv.objectives.labels import LabelTarget
from jaxadv.objectives.ranking import highest, hinge, lowest


def loss(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, ""]:
    """Put every irrelevant label above every relevant one: `[max_{j in Y} f_j - min_{i∉Y} f_i]_+`.

    The paper prints `[max_{i∉Y} f_i - min_{j in Y} f_j]_+`, the targeted loss with Y as the labels
    to reach: its minimum is a perfect ranking, and it is zero already where the victim is right.
    The untargeted version exchanges the two sets. (ML-CW-U is absent from the released code.)
    """
    return hinge(highest(scores, target.relevant) - lowest(scores, ~target.relevant))
