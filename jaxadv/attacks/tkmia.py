"""TkMIA: specified labels leave the first k, the others stay (TkMIA paper, Algorithm 1)."""

from typing import Literal, get_args

import jax.numpy as jnp
import optax
from jax import Array

from jaxadv import checks
from jaxadv.attacks.attack import Attack, Objective, descend
from jaxadv.attacks.constraints import Constraint, signed
from jaxadv.attacks.labels import (
    LEARNING_RATE,
    TRADEOFF,
    Termed,
    label_check,
    label_judge,
    label_objective,
    label_optimiser,
    stateless,
)
from jaxadv.objectives import tkmia as losses
from jaxadv.objectives.labels import LabelTarget
from jaxadv.objectives.tkmia import Multipliers
from jaxadv.victims.classifier import MultiLabelClassifier

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
        value = losses.loss_at(scores, target, latent)
        return Termed(value, losses.step_multipliers(scores, target, latent, multiplier_rate))

    if inner == "exact":
        return label_objective(victim, stateless(losses.least_loss), tradeoff, delta=delta)
    return label_objective(victim, gradient, tradeoff, delta=delta, first=_first_multipliers)


def _first_multipliers() -> Multipliers:
    return Multipliers(jnp.zeros(()), jnp.zeros(()))
