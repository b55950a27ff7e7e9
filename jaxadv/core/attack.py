"""What an attack is: `init` and `step`, for one example, as an optimiser is in Optax.

An attack here is made of four pieces that know nothing of each other: an *objective* (what the
attacker wants), a *constraint* (which pictures are allowed), an *optimiser*
(any `optax.GradientTransformation`) and a *judge* (what counts as success). `descend` puts them
together; the papers' attacks are calls of it with the papers' defaults.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxadv import checks
from jaxadv.core.constraints import Constraint
from jaxadv.core.norms import l2_norm, measured

Params = Any
Target = Any


class Verdict(NamedTuple):
    """How a picture does: whether it fools the victim, and what the victim says of it."""

    success: Array
    output: Any


Judge = Callable[[Params, Array, Target], Verdict]
"""`(params, image, target) -> Verdict`, by decoding, ranking or retrieving."""


class Appraisal(NamedTuple):
    """What an objective finds at one picture, in addition to its loss.

    Attributes:
      latent: the method's own quantities for the next step (completed words, multipliers, ...).
      success: whether this picture fools the victim, from the same pass over it.
      reports: named scalars for the trace.
    """

    latent: Any
    success: Array
    reports: dict[str, Array]


class Objective(NamedTuple):
    """What the attacker wants, to be minimised over the adversarial picture.

    Attributes:
      init: `(params, image, target, key) -> latent`.
      loss: `(params, image, adversarial, target, latent) -> (loss f32[], Appraisal)`.
    """

    init: Callable[[Params, Array, Target, Array], Any]
    loss: Callable[[Params, Array, Array, Target, Any], tuple[Array, Appraisal]]


class AttackState(NamedTuple):
    """Where the attack on one example stands.

    Attributes:
      perturbation: adversarial minus benign picture, f32[H, W, 3] (or bag of words, f32[T], or
        tokens, i32[T]).
      variable: what the optimiser moves (the constraint's coordinates of the picture).
      optimiser: the state of the `optax.GradientTransformation`.
      latent: the method's own quantities.
      best: perturbation of least norm among the iterates that fooled the victim.
      best_norm: its l2 norm; infinite while none has.
      status: a `Status`; anything but RUNNING freezes the example.
    """

    perturbation: Array
    variable: Any
    optimiser: Any
    latent: Any
    best: Array
    best_norm: Array
    status: Array


class AttackInfo(NamedTuple):
    """What one step saw at the picture it started from.

    Attributes:
      loss: the whole objective.
      success: whether that picture fooled the victim.
      norm: l2 norm of its perturbation.
      reports: the objective's own named scalars.
    """

    loss: Array
    success: Array
    norm: Array
    reports: dict[str, Array]


@jax.tree_util.register_static
class Fixed:
    """A value that trees of arrays carry along: no leaf of theirs, equal to itself alone.

    Attributes:
      value: any object, such as a victim's functions.
    """

    def __init__(self, value: Any) -> None:
        """Keep the value."""
        self.value = value

    def __eq__(self, other: object) -> bool:
        """Return whether the other carries the same object."""
        return isinstance(other, Fixed) and self.value is other.value

    def __hash__(self) -> int:
        """Return the object's own number."""
        return id(self.value)


Check = Callable[[Params, Any, Target], None]
"""`(params, image, target)` of one example, not traced; an `InputError` if nothing can be done."""


def accept(params: Params, image: Any, target: Target) -> None:
    """Accept any example: the check of an attack that makes none."""


class Attack(NamedTuple):
    """A pure attack on one example.

    Attributes:
      init: `(params, image, target, key) -> AttackState`.
      step: `(params, image, target, AttackState) -> (AttackState, AttackInfo)`, one optimiser
        step, differentiable.
      judge: `(params, image, target) -> Verdict`; drivers need it to judge the last picture and
        the one that a user would save.
      check: `(params, image, target)`, raises an `InputError` for what cannot be attacked; drivers
        call it on what is not traced.
      victim: the functions that are attacked, for code that shows a result; of `None` where the
        attack does not say.
    """

    init: Callable[[Params, Array, Target, Array], AttackState]
    step: Callable[[Params, Array, Target, AttackState], tuple[AttackState, AttackInfo]]
    judge: Judge
    check: Check = accept
    victim: Fixed = Fixed(None)


class Status:
    """Why an example stopped; `MESSAGES` says it in words."""

    RUNNING = 0
    FOOLED = 1
    DIVERGED = 2
    MESSAGES = (
        "ran all its iterations",
        "stopped at the first picture that fooled the victim",
        "stopped: the loss, its gradient or the step was not finite",
    )


def default_optimiser(learning_rate: float = 1e-3) -> optax.GradientTransformation:
    """Adam as in the paper's section 5.1.

    `eps_root` keeps the second derivative finite where a gradient is exactly zero, so that an
    attack can be differentiated through (`unroll`); it is far below what changes a step.

    Raises:
      InputError: the learning rate is not positive and finite.
    """
    checks.in_range(learning_rate=learning_rate)
    return optax.adam(learning_rate, eps_root=1e-16)


def descend(
    objective: Objective,
    judge: Judge,
    *,
    constraint: Constraint,
    optimiser: optax.GradientTransformation,
    start: float = 0.0,
    stop_at_success: bool = False,
    check: Check = accept,
    victim: Any = None,
) -> Attack:
    """Minimise an objective by gradient steps on one picture.

    Args:
      objective: what to minimise.
      judge: what counts as success.
      constraint: keeps the picture a picture.
      optimiser: any Optax transformation.
      start: the perturbation that every pixel starts from.
      stop_at_success: freeze the example at the first picture that fools the victim.
      check: what refuses an example that cannot be attacked; none by default.
      victim: the functions that are attacked, so that `jaxadv.show` can draw what comes of it.

    Raises:
      InputError: an argument is of another kind, or outside its range.
    """
    checks.made_of("objective", objective, Objective, "jaxadv.labels.tkmia_objective(victim)")
    checks.callable_("judge", judge, "jaxadv.labels.label_judge(victim)")
    checks.made_of("constraint", constraint, Constraint, "jaxadv.clip()")
    checks.made_of(
        "optimiser", optimiser, optax.GradientTransformation, "optax.adam(learning_rate)"
    )
    checks.finite("start", start)
    checks.true_or_false("stop_at_success", stop_at_success)
    checks.callable_("check", check, "jaxadv.core.attack.accept")

    def init(params: Params, image: Array, target: Target, key: Array) -> AttackState:
        variable = constraint.enter(image, jnp.full_like(image, start))
        return AttackState(
            perturbation=constraint.picture(variable, image) - image,
            variable=variable,
            optimiser=optimiser.init(variable),
            latent=objective.init(params, image, target, key),
            best=jnp.zeros_like(image),
            best_norm=jnp.asarray(jnp.inf, image.dtype),
            status=jnp.asarray(Status.RUNNING, jnp.int32),
        )

    def step(
        params: Params, image: Array, target: Target, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        def loss(variable: Array) -> tuple[Array, Appraisal]:
            adversarial = constraint.picture(variable, image)
            return objective.loss(params, image, adversarial, target, state.latent)

        (value, appraisal), gradient = jax.value_and_grad(loss, has_aux=True)(state.variable)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.variable)
        variable = constraint.project(state.variable + updates, image)
        moved = AttackState(
            perturbation=constraint.picture(variable, image) - image,
            variable=variable,
            optimiser=optimiser_state,
            latent=appraisal.latent,
            best=state.best,
            best_norm=state.best_norm,
            status=state.status,
        )
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient) & jnp.isfinite(variable))
        new, norm = end_step(state, moved, appraisal.success, finite, stop_at_success)
        return new, AttackInfo(value, appraisal.success, norm, appraisal.reports)

    return Attack(init, step, judge, check, Fixed(victim))


def end_step(
    state: AttackState, moved: AttackState, success: Array, finite: Array, stop_at_success: bool
) -> tuple[AttackState, Array]:
    """End a step: take it or freeze the example, and keep the best picture that fooled the victim.

    Args:
      state: where the step began.
      moved: where it leads.
      success: whether the picture it began from fools the victim.
      finite: whether all that was found there is; a step that is not is not taken, so that the
        last picture stays one.
      stop_at_success: whether the first success freezes the example.

    Returns:
      the new state, and the norm of the perturbation that the step began from.
    """
    norm = l2_norm(measured(state.perturbation))
    better = success & (norm < state.best_norm)
    stop = success & stop_at_success
    stopped = jnp.where(finite, Status.FOOLED, Status.DIVERGED).astype(jnp.int32)
    new = keep_where(finite & ~stop, moved, state._replace(status=stopped))
    new = new._replace(
        best=jnp.where(better, state.perturbation, state.best),
        best_norm=jnp.where(better, norm, state.best_norm),
    )
    return new, norm


def keep_where(condition: Array, yes: Any, no: Any) -> Any:
    """Choose between two trees of the same structure by one boolean."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
