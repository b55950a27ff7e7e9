"""What the attacks on taggers share: judging by the ranking, one pass over the picture a step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from jaxadv.attacks.attack import Appraisal, Judge, Objective, Verdict
from jaxadv.data.images import check_size
from jaxadv.objectives.labels import LabelTarget, excluded, leaves_top
from jaxadv.victims.classifier import MultiLabelClassifier, Params

ITERATIONS = 300  # of the paper's tables; it also runs 100 and 500
TRADEOFF = 1e-4  # α and the learning rate are searched in {1e-3, 5e-4, 1e-4, 5e-5}
LEARNING_RATE = 5e-4  # these two are the released commands'


class Termed(NamedTuple):
    """What a method's own loss finds at a picture's scores, and its latent for the next step."""

    loss: Float[Array, ""]
    latent: Any


Term = Callable[[Float[Array, " c"], LabelTarget, Any], Termed]
"""`(scores f32[c], target, latent) -> Termed`."""


def stateless(loss: Callable[[Float[Array, " c"], LabelTarget], Float[Array, ""]]) -> Term:
    """Make a term of a loss that carries nothing from step to step."""
    return lambda scores, target, latent: Termed(loss(scores, target), latent)


def label_optimiser(learning_rate: float = LEARNING_RATE) -> optax.GradientTransformation:
    """SGD with momentum 0.9, as in the paper's section 5.1."""
    return optax.sgd(learning_rate, momentum=0.9)


def label_judge(victim: MultiLabelClassifier, delta: int | None = None) -> Judge:
    """Judge a picture by how many specified labels are out of the first k; says the scores."""

    def judge(params: Params, image: Array, target: LabelTarget) -> Verdict:
        check_size(image, victim.image_shape)
        scores = victim.scores(params, image)
        return Verdict(leaves_top(target, scores, delta), scores)

    return judge


def label_objective(
    victim: MultiLabelClassifier,
    term: Term,
    tradeoff: float,
    *,
    delta: int | None = None,
    first: Callable[[], Any] = tuple,
) -> Objective:
    """Make an objective of a term on the scores: `term + α/2 ‖ε‖²` (eqs. 3 and 6).

    ε is the perturbation of the picture in [-1, 1], where the paper attacks: twice that of ours.

    Args:
      victim: the tagger.
      term: the method's own loss.
      tradeoff: α.
      delta: δ, how many specified labels must leave the first k; None for all.
      first: the method's latent quantities before the first step.
    """

    def loss(
        params: Params, image: Array, adversarial: Array, target: LabelTarget, latent: Any
    ) -> tuple[Float[Array, ""], Appraisal]:
        scores = victim.scores(params, adversarial)
        found = term(scores, target, latent)
        total = found.loss + tradeoff / 2 * jnp.sum((2 * (adversarial - image)) ** 2)
        seen = jax.lax.stop_gradient(scores)
        reports = {"excluded": excluded(target, seen)}
        return total, Appraisal(found.latent, leaves_top(target, seen, delta), reports)

    return Objective(init=lambda params, image, target, key: first(), loss=loss)
