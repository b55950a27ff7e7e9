"""CMLA: pictures and texts that no longer find what they mean in the other modality (eqs. 5-6)."""

from typing import Literal

import jax
import optax
from jax import Array

from jaxadv.attacks.attack import (
    Appraisal,
    Attack,
    Judge,
    Objective,
    Verdict,
    default_optimiser,
    descend,
)
from jaxadv.attacks.constraints import Constraint, ball
from jaxadv.attacks.norms import Norm, length
from jaxadv.data.images import check_size
from jaxadv.objectives.cmla import (
    HashTarget,
    Known,
    Weights,
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
      norm: of the ball. Eq. 2 leaves it open; the distortions of the paper's Table 2 can be had
        with the largest change of a component only, and that is what the released code bounds.
    """
    return ball(BOUNDS[modality] if bound is None else bound, norm, unit=UNITS[modality])


def released(modality: Modality, bound: float | None = None) -> Constraint:
    """Return the released code's constraint: every change between 0 and 10, or 0.01 of a text."""
    radius = RELEASED_BOUNDS[modality] if bound is None else bound
    return ball(radius, unit=UNITS[modality], non_negative=True)


def cmla(
    victim: CrossModalHasher,
    modality: Modality = "image",
    *,
    weights: Weights | None = None,
    norm: Norm = "l2",
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
      constraint: `bounded(modality)` by default; `released(modality)` is the released code's.
      optimiser: Adam at 0.5 for pictures and 0.002 for texts by default.
      stop_at_success: stop at the first success (paper: no).
    """
    rate = LEARNING_RATES[modality]
    return descend(
        objective(victim, modality, weights=weights, norm=norm),
        hash_judge(victim, modality),
        constraint=constraint or bounded(modality),
        optimiser=optimiser or default_optimiser(rate),
        stop_at_success=stop_at_success,
    )


def objective(
    victim: CrossModalHasher,
    modality: Modality = "image",
    *,
    weights: Weights | None = None,
    norm: Norm = "l2",
) -> Objective:
    """One row of eq. 5 or 6; the arguments are `cmla`'s."""
    of = weights or Weights()

    def loss(
        known: Known, example: Array, adversarial: Array, target: HashTarget, latent: tuple
    ) -> tuple[Array, Appraisal]:
        code, own, other = _codes(victim, modality, known, adversarial)
        scale = pair_scale(victim, known.params)
        inter = inter_modal(code, other, target.wanted, scale)
        intra = intra_modal(code, own, target.similar, scale)
        distortion = length(UNITS[modality] * (adversarial - example), norm)
        total = of.inter * inter + of.intra * intra + of.distortion * distortion
        success = _succeeds(victim, jax.lax.stop_gradient(code), other, target)
        return total, Appraisal(latent, success, {"inter": inter, "intra": intra})

    return Objective(init=lambda known, example, target, key: (), loss=loss)


def hash_judge(victim: CrossModalHasher, modality: Modality) -> Judge:
    """Judge an example by the first item that it retrieves in the other modality; says its code."""

    def judge(known: Known, example: Array, target: HashTarget) -> Verdict:
        code, _, other = _codes(victim, modality, known, example)
        return Verdict(_succeeds(victim, code, other, target), code)

    return judge


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
