"""What the attacks on captioners share: judging by the spoken caption, one encoding a step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxadv.attacks.attack import Appraisal, Judge, Objective, Verdict
from jaxadv.data.images import check_size
from jaxadv.objectives.criteria import Criterion
from jaxadv.objectives.target import PartialCaption, check_places
from jaxadv.victims.captioner import Captioner, Features, Params, greedy


class Termed(NamedTuple):
    """What a method's own loss finds at a picture.

    Attributes:
      loss: without the distance.
      latent: the method's quantities for the next step.
      said: i32[T], what the victim says greedily, as far as the criterion looks.
      reports: named scalars for the trace.
    """

    loss: Float[Array, ""]
    latent: Any
    said: Int[Array, " T"]
    reports: dict[str, Float[Array, ""]]


Term = Callable[[Params, Features, Any, Any], Termed]
"""`(params, features, target, latent) -> Termed`."""


def say(victim: Captioner, params: Params, features: Features) -> Int[Array, " T"]:
    """Decode greedily what the victim says now; no gradient flows."""
    return greedy(victim, params, jax.lax.stop_gradient(features)).tokens


def caption_judge(victim: Captioner, criterion: Criterion) -> Judge:
    """Judge a picture by the caption that the victim says greedily (paper eq. 3)."""

    def judge(params: Params, image: Array, target: Any) -> Verdict:
        said = greedy(victim, params, victim.encode(params, image)).tokens
        return Verdict(criterion(target, said), said)

    return judge


def squared_l2(perturbation: Float[Array, "H W 3"]) -> Float[Array, ""]:
    """‖ε‖₂², the papers' distance."""
    return jnp.sum(perturbation**2)


def caption_objective(
    victim: Captioner,
    criterion: Criterion,
    term: Term,
    tradeoff: float,
    *,
    first: Callable[[], Any] = tuple,
    distance: Callable[[Float[Array, "H W 3"]], Float[Array, ""]] = squared_l2,
) -> Objective:
    """Make an objective of a term on the features: `term + tradeoff * distance(ε)`.

    The picture is encoded once a step; the term says from the same features which caption it gets
    now, so that success is known at every step.

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
    ) -> tuple[Float[Array, ""], Appraisal]:
        if isinstance(target, PartialCaption):
            check_places(target, victim.max_length)
        check_size(image, victim.image_shape)
        features = victim.encode(params, adversarial)
        found = term(params, features, target, latent)
        total = found.loss + tradeoff * distance(adversarial - image)
        return total, Appraisal(found.latent, criterion(target, found.said), found.reports)

    return Objective(init=lambda params, image, target, key: first(), loss=loss)
