"""Expectation over transformations: an objective that holds for what becomes of a picture.

Athalye et al., "Synthesizing Robust Adversarial Examples" (2018), section 2.1: in place of the
loss at the adversarial picture x', minimise its mean over a distribution T of transformations,
the distance being that of `t(x')` to `t(x)`. The mean is estimated from a few draws a step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from jaxadv import checks
from jaxadv.core.attack import Appraisal, Objective, Params, Target
from jaxadv.core.transformations import Transformation


class Drawing(NamedTuple):
    """The latent quantities of an expectation.

    Attributes:
      key: the example's own randomness.
      step: i32[], steps taken; with the key it fixes what is drawn.
      inner: the objective's own latent quantities.
    """

    key: PRNGKeyArray
    step: Int[Array, ""]
    inner: Any


def over_transformations(
    objective: Objective, transformation: Transformation, *, draws: int = 4
) -> Objective:
    """Minimise the mean of an objective over transformations of the picture, drawn at each step.

    A picture counts as fooling the victim where each draw of the step does, so that `best` is one
    that survived; what a run comes to is judged on the untransformed picture all the same. The
    objective's own latent quantities for the next step are those found at the first draw. Its
    `survived` report is the share of draws that fooled.

    Args:
      objective: any objective.
      transformation: `(key, picture) -> picture`, of the same shape, differentiable.
      draws: transformations a step; the victim sees that many pictures.

    Raises:
      InputError: no objective, no function, or less than one draw.
    """
    checks.made_of("objective", objective, Objective, "jaxadv.labels.tkmia_objective(victim)")
    checks.callable_("transformation", transformation, "noise(0.01)")
    checks.whole("draws", draws, 1)

    def init(
        params: Params, image: Float[Array, "*picture"], target: Target, key: PRNGKeyArray
    ) -> Drawing:
        inner_key, own = jax.random.split(key)
        inner = objective.init(params, image, target, inner_key)
        return Drawing(own, jnp.zeros((), jnp.int32), inner)

    def loss(
        params: Params,
        image: Float[Array, "*picture"],
        adversarial: Float[Array, "*picture"],
        target: Target,
        latent: Drawing,
    ) -> tuple[Float[Array, ""], Appraisal]:
        def at_one(key: PRNGKeyArray) -> tuple[Float[Array, ""], Appraisal]:
            benign, seen = transformation(key, image), transformation(key, adversarial)
            return objective.loss(params, benign, seen, target, latent.inner)

        keys = jax.random.split(jax.random.fold_in(latent.key, latent.step), draws)
        losses, found = jax.vmap(at_one)(keys)
        inner = jax.tree.map(lambda x: x[0], found.latent)
        reports = {name: jnp.mean(x, axis=0) for name, x in found.reports.items()}
        return losses.mean(), Appraisal(
            latent=Drawing(latent.key, latent.step + 1, inner),
            success=found.success.all(),
            reports={**reports, "survived": found.success.mean()},
        )

    return Objective(init, loss)
