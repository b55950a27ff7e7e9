"""One perturbation for many pictures, from any objective (after TkML-AP's universal attack).

Hu et al. (2021) go through the pictures one by one, as universal perturbations were first found:
where the perturbation does not fool the victim yet, they attack that picture until it does, add
what was found, and project back into a ball, until a share ξ of the pictures is fooled. Here the
pictures that are not fooled yet are descended on together, a mini-batch a step; the ball and the
end are theirs.
"""

from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jaxadv import checks
from jaxadv.core.attack import Judge, Objective, Params, Target
from jaxadv.core.norms import Norm, project
from jaxadv.core.run import check_batch
from jaxadv.errors import InputError


class Universal(NamedTuple):
    """One perturbation for many pictures.

    Attributes:
      perturbation: f32[H, W, 3], within the budget.
      fooled: the share of the pictures that it fooled during the last epoch.
      epochs: i32[], how many were run.
    """

    perturbation: Float[Array, "H W 3"]
    fooled: Float[Array, ""]
    epochs: Int[Array, ""]


def universal(
    objective: Objective,
    params: Params,
    images: Float[Array, "N H W 3"],
    targets: Target,
    *,
    budget: float,
    norm: Norm = "l2",
    optimiser: optax.GradientTransformation | None = None,
    epochs: int = 100,
    batch: int = 32,
    enough: float = 0.7,
    key: PRNGKeyArray | None = None,
) -> Universal:
    """Descend on the mean objective of the pictures that are not fooled yet, in a norm ball.

    One compiled loop over mini-batches, shuffled again each epoch; what does not fill the last one
    waits for the next epoch. Latent quantities are not carried from step to step: objectives that
    have none (`tkmia.objective` with the exact inner minimum, `tkml_ap_u.objective`) are meant.

    Args:
      objective: what to minimise at each picture, and when it counts as fooled.
      params: the victim's parameters.
      images: f32[N, H, W, 3] in [0, 1].
      targets: the targets, stacked along a leading axis.
      budget: the ball's radius, in units of pictures in [0, 1] (TkML-AP's command: an l2 norm of
        100 at 300 x 300 pixels, in its tanh coordinates).
      norm: of the ball.
      optimiser: SGD at 0.1 with momentum 0.9 by default.
      epochs: the most passes over the pictures.
      batch: pictures a step.
      enough: end when this share of an epoch's pictures was fooled (Hu et al.: ξ, 0.7).
      key: of the shuffling.

    Raises:
      ImageError: a picture holds NaN, or values outside [0, 1], or whole numbers.
      InputError: another argument is of another kind, or outside its range.
    """
    optimiser = optax.sgd(0.1, momentum=0.9) if optimiser is None else optimiser
    checks.made_of("objective", objective, Objective, "jaxadv.labels.tkmia_objective(victim)")
    checks.made_of(
        "optimiser", optimiser, optax.GradientTransformation, "optax.adam(learning_rate)"
    )
    checks.params(params)
    images = check_batch(images, targets)
    checks.positive("budget", budget)
    checks.one_of("norm", norm, get_args(Norm))
    checks.whole("epochs", epochs, 1, checks.MOST_STEPS)
    checks.whole("batch", batch, 1)
    checks.share("enough", enough)
    key = checks.key(key)
    batch = min(batch, len(images))
    return _universal(
        objective, optimiser, norm, epochs, batch, params, images, targets, budget, enough, key
    )


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _universal(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    norm: Norm,
    epochs: int,
    batch: int,
    params: Params,
    images: Array,
    targets: Target,
    budget: Array,
    enough: Array,
    key: PRNGKeyArray,
) -> Universal:
    steps = len(images) // batch

    def losses(perturbation: Array, image: Array, target: Target) -> tuple[Array, Array]:
        adversarial = apply(perturbation, image)
        latent = objective.init(params, image, target, key)
        value, appraisal = objective.loss(params, image, adversarial, target, latent)
        return value, appraisal.success

    def mean_of_unfooled(perturbation: Array, rows: Array) -> tuple[Array, Array]:
        some = jax.tree.map(lambda x: x[rows], targets)
        values, fooled = jax.vmap(losses, in_axes=(None, 0, 0))(perturbation, images[rows], some)
        return jnp.where(fooled, 0.0, values).sum() / jnp.maximum(1, (~fooled).sum()), fooled

    def step(carry: tuple[Array, optax.OptState], rows: Array) -> tuple[tuple, Array]:
        perturbation, state = carry
        gradient, fooled = jax.grad(mean_of_unfooled, has_aux=True)(perturbation, rows)
        updates, state = optimiser.update(gradient, state, perturbation)
        return (project(perturbation + updates, budget, norm), state), fooled.mean()

    def epoch(carry: tuple) -> tuple:
        number, perturbation, state, _ = carry
        order = jax.random.permutation(jax.random.fold_in(key, number), len(images))
        rows = order[: steps * batch].reshape(steps, batch)
        (perturbation, state), shares = jax.lax.scan(step, (perturbation, state), rows)
        return number + 1, perturbation, state, shares.mean()

    def unfinished(carry: tuple) -> Array:
        number, _, _, share = carry
        return (number < epochs) & (share < enough)

    still = jnp.zeros_like(images[0])
    start = (jnp.zeros((), jnp.int32), still, optimiser.init(still), jnp.zeros((), still.dtype))
    number, perturbation, _, share = jax.lax.while_loop(unfinished, epoch, start)
    return Universal(perturbation, share, number)


def apply(
    perturbation: Float[Array, "H W 3"], image: Float[Array, "H W 3"]
) -> Float[Array, "H W 3"]:
    """Add a perturbation that was not made for this picture: clipped to [0, 1].

    Raises:
      InputError: the two are of different shapes.
    """
    if jnp.shape(perturbation) != jnp.shape(image):
        raise InputError(
            f"perturbation {list(jnp.shape(perturbation))}: must be of the picture's shape "
            f"{list(jnp.shape(image))}"
        )
    return jnp.clip(image + perturbation, 0.0, 1.0)


def fooled_by(
    judge: Judge,
    params: Params,
    images: Float[Array, "N H W 3"],
    targets: Target,
    perturbation: Float[Array, "H W 3"],
) -> Bool[Array, " N"]:
    """Return which pictures the perturbation fools the victim on, seen before or not; bool[N].

    Raises:
      ImageError, InputError: as `universal`, or a perturbation that is not finite.
    """
    checks.callable_("judge", judge, "jaxadv.labels.label_judge(victim)")
    checks.params(params)
    images = check_batch(images, targets)
    checks.all_finite("perturbation", perturbation)
    return _fooled_by(judge, params, images, targets, perturbation)


@partial(jax.jit, static_argnums=0)
def _fooled_by(
    judge: Judge, params: Params, images: Array, targets: Target, perturbation: Array
) -> Array:
    def one(image: Array, target: Target) -> Array:
        return judge(params, apply(perturbation, image), target).success

    return jax.vmap(one)(images, targets)
