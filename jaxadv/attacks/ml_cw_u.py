"""ML-CW-U: every irrelevant label above every relevant one (TkMIA paper, appendix B.2)."""

import optax

from jaxadv.attacks.attack import Attack, Objective, descend
from jaxadv.attacks.constraints import Constraint, signed
from jaxadv.attacks.labels import (
    TRADEOFF,
    label_check,
    label_judge,
    label_objective,
    label_optimiser,
    stateless,
)
from jaxadv.objectives import ml_cw_u as losses
from jaxadv.victims.classifier import MultiLabelClassifier


def ml_cw_u(
    victim: MultiLabelClassifier,
    *,
    tradeoff: float = TRADEOFF,
    delta: int | None = None,
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = True,
) -> Attack:
    """Minimise `[max_{j in Y} f_j - min_{i∉Y} f_i]_+ + α/2 ‖ε‖²`; `objectives.ml_cw_u` on its sign.

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
    )


def objective(
    victim: MultiLabelClassifier, *, tradeoff: float = TRADEOFF, delta: int | None = None
) -> Objective:
    """Return what it minimises; the arguments are `ml_cw_u`'s."""
    return label_objective(victim, stateless(losses.loss), tradeoff, delta=delta)
