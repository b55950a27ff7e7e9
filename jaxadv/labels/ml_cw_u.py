"""ML-CW-U, the untargeted multi-label version of C&W (TkMIA paper, appendix B.2)."""

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
from jaxadv.labels.ranking import highest, hinge, lowest
from jaxadv.labels.target import LabelTarget


def loss(scores: Float[Array, " c"], target: LabelTarget) -> Float[Array, ""]:
    """Put every irrelevant label above every relevant one: `[max_{j in Y} f_j - min_{i∉Y} f_i]_+`.

    The paper prints `[max_{i∉Y} f_i - min_{j in Y} f_j]_+`, the targeted loss with Y as the labels
    to reach: its minimum is a perfect ranking, and it is zero already where the victim is right.
    The untargeted version exchanges the two sets. (ML-CW-U is absent from the released code.)
    """
    return hinge(highest(scores, target.relevant) - lowest(scores, ~target.relevant))


def ml_cw_u(
    victim: MultiLabelClassifier,
    *,
    tradeoff: float = TRADEOFF,
    delta: int | None = None,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = True,
) -> Attack:
    """Minimise `[max_{j in Y} f_j - min_{i∉Y} f_i]_+ + α/2 ‖ε‖²`; `loss` says why this sign.

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
        check=label_check(victim, delta, needs_others=True),
        victim=victim,
    )


def objective(
    victim: MultiLabelClassifier, *, tradeoff: float = TRADEOFF, delta: int | None = None
) -> Objective:
    """Return what it minimises; the arguments are `ml_cw_u`'s."""
    return label_objective(victim, stateless(loss), tradeoff, delta=delta)


METHOD = Method(
    name="ml-cw-u",
    options=DescentOptions,
    make=lambda victim, options: ml_cw_u(victim, **descent(options)),
    iterations=lambda options: options.iterations,
    check=check_space,
)
