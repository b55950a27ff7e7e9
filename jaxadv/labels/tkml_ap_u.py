"""TkML-AP-U (Hu et al. 2021): every relevant label leaves the first k.

As sections 3.2 and 4.2 and appendix B.2 of the TkMIA paper give it.
"""

import optax
from jax import Array
from jaxtyping import Float

from jaxadv.core.attack import Attack, Objective, descend
from jaxadv.core.constraints import Constraint, signed
from jaxadv.core.method import Method
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import (
    TRADEOFF,
    label_check,
    label_judge,
    label_objective,
    label_optimiser,
    stateless,
)
from jaxadv.labels.options import DescentOptions, check_space, descent
from jaxadv.labels.ranking import highest
from jaxadv.labels.target import LabelTarget
from jaxadv.labels.tkmia import least


def loss(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, ""]:
    """Push every relevant label out of the first k: `[max_{y in Y} f_y - f_[k+1]]_+`, relaxed.

    `min_λ λ + 1/(c-k) sum_i [max_{y in Y} f_y - f_i - λ]_+`, the first half of eq. 6 with Y for S.
    """
    return least(highest(scores, target.relevant) - scores, scores.shape[-1] - target.k)


def tkml_ap_u(
    victim: MultiLabelClassifier,
    *,
    tradeoff: float = TRADEOFF,
    delta: int | None = None,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = True,
) -> Attack:
    """Minimise `min_λ λ + 1/(c-k) sum_i [max_{y in Y} f_y - f_i - λ]_+ + α/2 ‖ε‖²`.

    The loss is of all relevant labels; what counts as success is `tkmia`'s, of the specified ones.

    Args:
      victim: the tagger.
      tradeoff: α.
      delta: δ, how many specified labels must leave the first k; None for all.
      constraint: `signed()` by default; `tanh_of_picture()` is the released code's.
      optimiser: SGD at 5e-4 with momentum 0.9 by default.
      stop_at_success: stop at the first picture that fools the victim (paper: yes).

    Raises:
      InputError: the victim is no tagger, or an argument is outside its range.
    """
    return descend(
        objective(victim, tradeoff=tradeoff, delta=delta),
        label_judge(victim, delta),
        constraint=signed() if constraint is None else constraint,
        optimiser=label_optimiser() if optimiser is None else optimiser,
        stop_at_success=stop_at_success,
        check=label_check(victim, delta),
        victim=victim,
    )


def objective(
    victim: MultiLabelClassifier, *, tradeoff: float = TRADEOFF, delta: int | None = None
) -> Objective:
    """Return what it minimises; the arguments are `tkml_ap_u`'s."""
    return label_objective(victim, stateless(loss), tradeoff, delta=delta)


METHOD = Method(
    name="tkml-ap-u",
    options=DescentOptions,
    make=lambda victim, options: tkml_ap_u(victim, **descent(options)),
    iterations=lambda options: options.iterations,
    check=check_space,
)
