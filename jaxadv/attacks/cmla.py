"""CMLA: pictures and texts that no longer find what they mean in the other modality (eqs. 5-6)."""

from typing import Any, Literal, get_args

import jax
import numpy as np
import optax
from jax import Array

from jaxadv import checks
from jaxadv.attacks.attack import (
    Appraisal,
    Attack,
    Check,
    Judge,
    Objective,
    Verdict,
    default_optimiser,
    descend,
)
from jaxadv.attacks.constraints import Constraint, ball
from jaxadv.attacks.norms import Norm, length
from jaxadv.data.images import check_size
from jaxadv.errors import InputError
from jaxadv.objectives.cmla import (
    Codes,
    HashTarget,
    Known,
    Weights,
    context_codes,
    finds_wanted,
    inter_modal,
    intra_modal,
)
from jaxadv.victims.hasher import CrossModalHasher, pair_scale

Modality = Literal["image", "text"]

ITERATIONS = 500  # the paper's tables also have 100 and 200
BOUNDS = {"image": 8.0, "text": 0.01}  # ε: of pixels in 0..255, and of weights in 0..1
RELEASED_BOUNDS = {"image": 10.0, "text": 0.01}
LEARNING_RATES = {"image": 0.5, "text": 0.002}
UNITS = {"image": 255.0, "text": 1.0}


def bounded(modality: Modality, bound: float | None = None, norm: Norm = "linf") -> Constraint:
    """Return the paper's constraint: a ball, and pictures in 0..255 or weights in 0..1.

    Args:
      modality: of what is attacked.
      bound: its radius, of pixels in 0..255 or of weights; ε (8 and 0.01) by default.
      norm: of the ball. Eq. 2 leaves it open; the released code bounds the largest change of a
        component. No norm agrees with the paper's Table 2: if every component changes by at most
        ε, D is at most ε, 0.031 for pictures and 0.01 for texts, and 8 of its 24 distortions of
        pictures and all of its texts' are larger (up to 0.041, and 0.017 to 0.048).

    Raises:
      InputError: an unknown modality or norm, or a radius that is not positive and finite.
    """
    checks.one_of("modality", modality, get_args(Modality))
    if bound is not None:
        checks.in_range(bound=bound)
    return ball(BOUNDS[modality] if bound is None else bound, norm, unit=UNITS[modality])


def released(modality: Modality, bound: float | None = None) -> Constraint:
    """Return the released code's constraint: every change between 0 and 10, or 0.01 of a text.

    Raises:
      InputError: an unknown modality, or a radius that is not positive and finite.
    """
    checks.one_of("modality", modality, get_args(Modality))
    if bound is not None:
        checks.in_range(bound=bound)
    radius = RELEASED_BOUNDS[modality] if bound is None else bound
    return ball(radius, unit=UNITS[modality], non_negative=True)


def cmla(
    victim: CrossModalHasher,
    modality: Modality = "image",
    *,
    weights: Weights | None = None,
    norm: Norm = "l2",
    codes: Codes = "unit",
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
    stop_at_success: bool = False,
) -> Attack:
    """Minimise eq. 5 over the perturbation of a picture, or eq. 6 over that of a text.

    What attacks take as parameters is `Known`: the victim's, and the codes of the context. An
    example is a picture f32[H, W, 3] or a bag of words f32[T], both in [0, 1]. Pixels are those of
    0..255 in the norm, the bound and the learning rate, as in the paper: Adam at 0.5 and ε = 8 are
    0.5/255 and 8/255 here. It succeeds where the first item that the code retrieves in the other
    modality is wanted; the output is the code. A dual encoder is attacked likewise, with its logit
    scale for the ½ of eqs. 3 and 4.

    Args:
      victim: the pair of hash functions.
      modality: which of the two is attacked.
      weights: of the terms; all 1 by default (paper).
      norm: p of the distortion term. The paper allows 1, 2 and infinity and does not say which it
        used. The released code has the mean of absolute changes, with 1 for a weight; their sum at
        that weight holds most pixels where they are, far below the paper's distortions.
      codes: of the context, as `context_codes` makes them: "unit" (default), "outputs" (paper) or
        "signs" (released code; not of a dual encoder). The embeddings of a dual encoder all have
        norm 1 and stay as they are.
      constraint: `bounded(modality)` by default; `released(modality)` is the released code's.
      optimiser: Adam at 0.5 for pictures and 0.002 for texts by default.
      stop_at_success: stop at the first success (paper: no).

    Raises:
      InputError: the victim is no hasher, or an argument is outside its range.
    """
    aim = objective(victim, modality, weights=weights, norm=norm, codes=codes)
    rate = LEARNING_RATES[modality]
    return descend(
        aim,
        hash_judge(victim, modality),
        constraint=bounded(modality) if constraint is None else constraint,
        optimiser=default_optimiser(rate) if optimiser is None else optimiser,
        stop_at_success=stop_at_success,
        check=hash_check(victim, modality),
    )


def objective(
    victim: CrossModalHasher,
    modality: Modality = "image",
    *,
    weights: Weights | None = None,
    norm: Norm = "l2",
    codes: Codes = "unit",
) -> Objective:
    """One row of eq. 5 or 6; the arguments are `cmla`'s.

    Raises:
      InputError: as `cmla`.
    """
    _check_victim(victim, modality)
    of = Weights() if weights is None else weights
    checks.made_of("weights", of, Weights, "jaxadv.objectives.cmla.Weights(intra=0.5)")
    checks.in_range(inter=of.inter, intra=of.intra, distortion=of.distortion)
    checks.one_of("norm", norm, get_args(Norm))
    checks.one_of("codes", codes, get_args(Codes))
    embeds = victim.logit_scale is not None
    if embeds and codes == "signs":
        raise InputError("codes 'signs': this victim compares embeddings, which have none")
    shown: Codes = "outputs" if embeds else codes

    def loss(
        known: Known, example: Array, adversarial: Array, target: HashTarget, latent: tuple
    ) -> tuple[Array, Appraisal]:
        code, own, other = _codes(victim, modality, known, adversarial)
        scale = pair_scale(victim, known.params)
        inter = inter_modal(code, context_codes(other, shown), target.wanted, scale)
        intra = intra_modal(code, context_codes(own, shown), target.similar, scale)
        distortion = length(UNITS[modality] * (adversarial - example), norm)
        total = of.inter * inter + of.intra * intra + of.distortion * distortion
        success = _succeeds(victim, jax.lax.stop_gradient(code), other, target)
        return total, Appraisal(latent, success, {"inter": inter, "intra": intra})

    return Objective(init=lambda known, example, target, key: (), loss=loss)


def hash_judge(victim: CrossModalHasher, modality: Modality) -> Judge:
    """Judge an example by the first item that it retrieves in the other modality; says its code.

    Raises:
      InputError: the victim is no hasher, or the modality is unknown.
    """
    _check_victim(victim, modality)

    def judge(known: Known, example: Array, target: HashTarget) -> Verdict:
        code, _, other = _codes(victim, modality, known, example)
        return Verdict(_succeeds(victim, code, other, target), code)

    return judge


def hash_check(victim: CrossModalHasher, modality: Modality) -> Check:
    """Refuse examples that are not of the modality, and targets for which nothing can be done."""
    _check_victim(victim, modality)
    shape = victim.image_shape if modality == "image" else (len(victim.tags),)

    def check(known: Any, example: Any, target: Any) -> None:
        checks.made_of("params", known, Known, "Known(params, image_codes, text_codes)")
        checks.made_of("target", target, HashTarget, "hash_target(labels, context)")
        if np.shape(example) != tuple(shape) and modality == "text":
            raise InputError(
                f"a text of shape {np.shape(example)}: this victim reads a bag of {shape[0]} tags"
            )
        if modality == "image":
            check_size(example, victim.image_shape)
        items = len(known.image_codes)
        for name, of in (("similar", target.similar), ("wanted", target.wanted)):
            if np.shape(of) != (items,):
                raise InputError(
                    f"target {name}: shape {np.shape(of)}; must be ({items},), one an item of the "
                    "context"
                )
        if not np.any(target.wanted):
            raise InputError("no item of the context is wanted: there is nothing to be found")

    return check


def _check_victim(victim: CrossModalHasher, modality: Modality) -> None:
    checks.victim(victim, CrossModalHasher, "hasher")
    checks.one_of("modality", modality, get_args(Modality))


def _succeeds(victim: CrossModalHasher, code: Array, other: Array, target: HashTarget) -> Array:
    return finds_wanted(code, other, target.wanted, signs=victim.logit_scale is None)


def _codes(
    victim: CrossModalHasher, modality: Modality, known: Known, example: Array
) -> tuple[Array, Array, Array]:
    """Return the code of an example, and those of the context in its and in the other modality."""
    if modality == "image":
        check_size(example, victim.image_shape)
        return victim.image_code(known.params, example), known.image_codes, known.text_codes
    return victim.text_code(known.params, example), known.text_codes, known.image_codes
