"""What the attacks on captioners share: judging by the spoken caption, one encoding a step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.attacks.attack import Appraisal, Judge, Objective, Verdict
from jaxadv.objectives.criteria import Criterion
from jaxadv.victims.captioner import Captioner, Features, Params, greedy

Term = Callable[[Params, Features, Any, Any, Array], tuple[Array, Any, dict[str, Array]]]
"""`(params, features, target, latent, said i32[T]) -> (loss, latent, reports)`."""


def caption_judge(victim: Captioner, criterion: Criterion) -> Judge:
    """Judge a picture by the caption that the victim says greedily (paper eq. 3)."""

    def judge(params: Params, image: Array, target: Any) -> Verdict:
        said = greedy(victim, params, victim.encode(params, image)).tokens
        return Verdict(criterion(target, said), said)

    return judge


def squared_l2(perturbation: Array) -> Array:
    """‖ε‖₂², the papers' distance."""
    return jnp.sum(perturbation**2)


def caption_objective(
    victim: Captioner,
    criterion: Criterion,
    term: Term,
    tradeoff: float,
    *,
    first: Callable[[], Any] = tuple,
    distance: Callable[[Array], Array] = squared_l2,
) -> Objective:
    """Make an objective of a term on the features: `term + tradeoff * distance(ε)`.

    The picture is encoded once a step; the caption that it gets now is decoded from the same
    features, so that success is known at every step.

    Args:
      victim: the captioner.
      criterion: when a caption counts as fooled.
      term: the method's own loss.
      tradeoff: the papers' λ.
      first: the method's latent quantities before the first step.
      distance: of the perturbation.
    """

    def loss(
        params: Params, image: Array, adversarial: Array, target: Any, latent: Any
    ) -> tuple[Array, Appraisal]:
        features = victim.encode(params, adversarial)
        said = greedy(victim, params, jax.lax.stop_gradient(features)).tokens
        value, latent, reports = term(params, features, target, latent, said)
        total = value + tradeoff * distance(adversarial - image)
        return total, Appraisal(latent, criterion(target, said), reports)

    return Objective(init=lambda params, image, target, key: first(), loss=loss)
