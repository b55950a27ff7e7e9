"""What the attacks on captioners share: judging by the spoken caption, one encoding a step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, Features, Params, greedy
from jaxadv.captions.criteria import Criterion
from jaxadv.captions.target import Keywords, PartialCaption, TargetError, check_places
from jaxadv.core.attack import Appraisal, Check, Judge, Objective, Verdict
from jaxadv.data.images import check_size
from jaxadv.formats.errors import quoted


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
    """Judge a picture by the caption that the victim says greedily (paper eq. 3).

    A caption whose scores are not finite fools nobody.

    Raises:
      InputError: the victim is no captioner.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.callable_("criterion", criterion, "jaxadv.captions.says_target")

    def judge(params: Params, image: Array, target: Any) -> Verdict:
        said = greedy(victim, params, victim.encode(params, image))
        success = criterion(target, said.tokens) & jnp.isfinite(said.log_probability)
        return Verdict(success, said.tokens)

    return judge


def caption_check(victim: Captioner, kind: type[Any] = PartialCaption) -> Check:
    """Refuse targets of another kind than `kind`, for another length, or of unknown words.

    Raises:
      InputError: the victim is no captioner, or `kind` no kind of target.
    """
    checks.victim(victim, Captioner, "captioner")
    if kind not in _MAKERS:
        raise checks.wrong("kind", kind, "PartialCaption or Keywords")

    def check(params: Params, image: Any, target: Any) -> None:
        checks.made_of("target", target, kind, _MAKERS[kind])
        check_size(image, victim.image_shape)
        words = "tokens" if kind is PartialCaption else "words"
        if np.ndim(getattr(target, words)) != 1:
            raise TargetError(
                f"target.{words}: shape {np.shape(getattr(target, words))}; must be that of one "
                "target, with a place for each word"
            )
        if kind is PartialCaption:
            check_places(target, victim.max_length)
            if not np.any(target.observed):
                raise TargetError("the target observes no word: nothing to say")
        for token in np.ravel(target.tokens if kind is PartialCaption else target.words):
            if not 0 <= token < victim.vocabulary.size:
                raise TargetError(
                    f"the target has the word number {token}: this victim's are from 0 to "
                    f"{victim.vocabulary.size - 1}"
                )
            if token in victim.vocabulary.suppressed:
                raise TargetError(
                    f"the target has the word {quoted(victim.vocabulary.words[token - 1])}, which "
                    "no caption contains"
                )

    return check


_MAKERS: dict[type[Any], str] = {
    PartialCaption: "jaxadv.captions.target.parse_target(text, vocabulary, max_length)",
    Keywords: "jaxadv.captions.target.parse_keywords(text, vocabulary)",
}


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

    Raises:
      InputError: the victim is no captioner, or λ is negative or not finite.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.callable_("criterion", criterion, "jaxadv.captions.says_target")
    checks.callable_("term", term, "a function of the features")
    checks.in_range(tradeoff=tradeoff)
    checks.callable_("first", first, "tuple")
    checks.callable_("distance", distance, "jaxadv.captions.judging.squared_l2")

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
