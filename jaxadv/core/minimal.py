"""The smallest perturbation whose saved picture still fools the victim, for any objective.

After Rony et al., "Decoupling Direction and Norm" (CVPR 2019, Algorithm 1): after a success the
ball around the benign picture shrinks by a factor 1 - γ, after a failure it grows by 1 + γ, and the
picture is continued within it. Theirs starts in a ball; here there is none before the first
success. Theirs moves by normed gradients; here moves are Adam's, or averages of normed gradients,
whose lengths are known beforehand, too. As theirs, every picture is rounded to 8 bits before the
victim sees it, so that what counts as a success is a picture as a user would save it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.core.attack import (
    Appraisal,
    Attack,
    AttackInfo,
    AttackState,
    Check,
    Judge,
    Objective,
    Params,
    Target,
    accept,
    end_step,
)
from jaxadv.core.norms import l2_norm
from jaxadv.data.images import round_8bit

STEP = 0.5  # l2 norm of a move before the first success, where its direction has norm 1
LAST_STEP = 0.05  # of the last one
MOMENTUM = 0.9  # of normed gradients
SHRINK, LAST_SHRINK = 0.05, 0.002  # γ after the first success, and at the end


class Shrinking(NamedTuple):
    """Where the search for the smallest perturbation stands.

    Attributes:
      objective: the objective's own quantities.
      radius: of the ball that the perturbation stays in; infinite before the first success.
      largest: what the radius may grow to again: the norm of the best picture, before rounding.
      taken: steps taken.
      found: steps that were taken before the first success; the last step's number while none.
    """

    objective: Any
    radius: Float[Array, ""]
    largest: Float[Array, ""]
    taken: Int[Array, ""]
    found: Int[Array, ""]


def adam_directions() -> optax.GradientTransformation:
    """Move all pixels by about the same: Adam's direction over the root of the number of pixels."""
    return optax.chain(
        optax.scale_by_adam(eps_root=1e-16),
        optax.stateless(lambda direction, _: direction / jnp.sqrt(1.0 * direction.size)),
    )


def normed_directions() -> optax.GradientTransformation:
    """Move along the gradient: a moving average of `g / ‖g‖₂` over the steps, from 0 on.

    Of all moves of one l2 norm the gradient's changes the loss most. Adam's direction is nearly the
    gradient's sign, and takes a larger perturbation to the same end.
    """
    return optax.chain(
        optax.stateless(lambda gradient, _: _normed(gradient)),
        optax.ema(MOMENTUM, debias=False),
    )


def _normed(gradient: Float[Array, "*picture"]) -> Float[Array, "*picture"]:
    """Return a gradient of norm 1; one of zero as it is."""
    norm = l2_norm(gradient)
    return gradient / jnp.where(norm > 0, norm, 1.0)


def minimal(
    objective: Objective,
    judge: Judge,
    *,
    iterations: int,
    check: Check = accept,
    directions: optax.GradientTransformation | None = None,
) -> Attack:
    """Fool the victim, then shrink the perturbation while the saved picture still does.

    Every perturbation, `best` among them, is one of a picture of 8 bits a channel (bags of words
    are saved as they are); the rounding's gradient is taken as 1. Moves and γ shrink along half a
    wave of the cosine from the first success to the last step, which goes back to the best picture,
    so that a result's `final` is it, too.

    Args:
      objective: what to minimise; give its own weight of the norm as 0.
      judge: what counts as success.
      iterations: steps that the attack will be run.
      check: what refuses an example that cannot be attacked; none by default.
      directions: makes of gradients directions of an l2 norm of about 1; `adam_directions()` by
        default.

    Raises:
      InputError: an argument is of another kind, or outside its range.
    """
    checks.made_of("objective", objective, Objective, "jaxadv.labels.tkmia_objective(victim)")
    checks.callable_("judge", judge, "jaxadv.labels.label_judge(victim)")
    checks.in_range(iterations=iterations)
    checks.callable_("check", check, "jaxadv.core.attack.accept")
    directions = adam_directions() if directions is None else directions
    checks.made_of("directions", directions, optax.GradientTransformation, "normed_directions()")

    def init(params: Params, image: Array, target: Target, key: Array) -> AttackState:
        nothing, infinite = jnp.zeros_like(image), jnp.asarray(jnp.inf, image.dtype)
        return AttackState(
            perturbation=saved(image) - image,
            variable=nothing,
            optimiser=directions.init(nothing),
            latent=Shrinking(
                objective.init(params, image, target, key),
                radius=infinite,
                largest=infinite,
                taken=jnp.zeros((), jnp.int32),
                found=jnp.asarray(iterations - 1, jnp.int32),
            ),
            best=nothing,
            best_norm=infinite,
            status=jnp.zeros((), jnp.int32),
        )

    def step(
        params: Params, image: Array, target: Target, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        def loss(perturbation: Array) -> tuple[Array, Appraisal]:
            adversarial = saved(image + perturbation)
            return objective.loss(params, image, adversarial, target, state.latent.objective)

        (value, appraisal), gradient = jax.value_and_grad(loss, has_aux=True)(state.variable)
        latent, pace = _shrink(state, appraisal, iterations)
        direction, optimiser = directions.update(gradient, state.optimiser)
        length = STEP + (LAST_STEP - STEP) * pace
        moved = state.variable - length * direction
        variable = jnp.clip(image + _within(moved, latent.radius), 0.0, 1.0) - image
        going = state._replace(
            perturbation=saved(image + variable) - image,
            variable=variable,
            optimiser=optimiser,
            latent=latent,
        )
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient) & jnp.isfinite(variable))
        new, norm = end_step(state, going, appraisal.success, finite, False)
        ended = (latent.taken >= iterations) & jnp.isfinite(new.best_norm)
        new = new._replace(perturbation=jnp.where(ended, new.best, new.perturbation))
        return new, AttackInfo(value, appraisal.success, norm, appraisal.reports)

    return Attack(init, step, judge, check)


def saved(picture: Float[Array, "*picture"]) -> Float[Array, "*picture"]:
    """Return the picture as it comes back from a file of 8 bits, with the gradient of the picture.

    >>> (255 * saved(jnp.full((1, 1, 3), 0.5))).ravel().tolist()
    [128.0, 128.0, 128.0]
    """
    if picture.ndim != 3:
        return picture
    rounded = round_8bit(jnp.clip(picture, 0.0, 1.0)).astype(picture.dtype)
    return picture + jax.lax.stop_gradient(rounded - picture)


def _shrink(
    state: AttackState, appraisal: Appraisal, iterations: int
) -> tuple[Shrinking, Float[Array, ""]]:
    """Choose the next ball, from whether the picture that a step begins from fools the victim.

    Returns:
      where the search stands next, and how far it is from the first success (0) to the end (1).
    """
    latent, success, norm = state.latent, appraisal.success, l2_norm(state.variable)
    found = jnp.where(success, jnp.minimum(latent.found, latent.taken), latent.found)
    share = jnp.clip((latent.taken - found) / jnp.maximum(iterations - 1 - found, 1), 0.0, 1.0)
    pace = (1 - jnp.cos(jnp.pi * share)) / 2
    factor = SHRINK + (LAST_SHRINK - SHRINK) * pace
    better = success & (l2_norm(state.perturbation) < state.best_norm)
    largest = jnp.where(better, norm, latent.largest)
    smaller = jnp.minimum(latent.radius, norm) * (1 - factor)
    radius = jnp.where(success, smaller, jnp.minimum(latent.radius * (1 + factor), largest))
    return (
        Shrinking(appraisal.latent, radius, largest, latent.taken + 1, found),
        pace.astype(norm.dtype),
    )


def _within(
    perturbation: Float[Array, "*picture"], radius: Float[Array, ""]
) -> Float[Array, "*picture"]:
    """Return the nearest perturbation in a ball whose radius may be infinite."""
    norm = l2_norm(perturbation)
    outside = norm > radius
    shrunk = jnp.where(outside, radius, 1.0) / jnp.where(outside, norm, 1.0)
    return perturbation * shrunk
