"""CMLA: queries that no longer find what they mean in the other modality (eqs. 3-6).

Li et al., "Cross-Modal Learning with Adversarial Samples", NeurIPS 2019. The codes of the context
stay as they are, so that eq. 5's double sum over i and j falls apart into a loss for each attacked
example i: what is here is one row, `Ĥ f32[K]` against N items of a modality, `H f32[N, K]`. Texts
are attacked by the same loss with the modalities exchanged (eq. 6).

`Ĥ` and `H` are outputs of the hash layers, before the sign (section 3.1). Of a dual encoder they
are embeddings of norm 1, and its logit scale takes the place of the ½: Γ and Θ are the logits of a
pair that the victim was trained by, in both cases.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float

from jaxadv import checks
from jaxadv.core.attack import (
    Appraisal,
    Attack,
    Check,
    Judge,
    Objective,
    Verdict,
    default_optimiser,
    descend,
)
from jaxadv.core.constraints import Constraint, ball
from jaxadv.core.norms import Norm, length
from jaxadv.data.images import check_size
from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher, binary_code, pair_scale

Codes = Literal["unit", "outputs", "signs"]


class Known(NamedTuple):
    """What is known of the victim: all examples of a batch share it.

    Attributes:
      params: its parameters.
      image_codes, text_codes: f32[N, K], what it makes of the context, a set of pictures with
        their texts: the outputs of its hash layers, which `context_codes` scales.
    """

    params: Any
    image_codes: Float[Array, "N K"]
    text_codes: Float[Array, "N K"]


class HashTarget(NamedTuple):
    """Which items of the context are similar to an example, and which it is to find.

    Attributes:
      similar: bool[N], the example's row of S: items that share a label with it.
      wanted: bool[N], items that it is to find in the other modality: the paper's attack wants
        all but the similar ones, a targeted one (which the paper lacks) the attacker's choice.
    """

    similar: Bool[Array, " N"]
    wanted: Bool[Array, " N"]


class Weights(NamedTuple):
    """Of the three terms: α, β and γ of eq. 5, λ, ξ and η of eq. 6 (paper: all 1).

    The released code averages over the context and over an example's M components, and has no ½ in
    Γ and Θ: its loss is this one with `Weights(1 / N, 1 / N, 1 / M)` and twice the signs as codes
    of the context.

    Attributes:
      inter: of the inter-modal term.
      intra: of the intra-modal term; 0 is the paper's ablation (Figure 5).
      distortion: of the perturbation's norm.
    """

    inter: float = 1.0
    intra: float = 1.0
    distortion: float = 1.0


def hash_target(
    labels: Bool[Array | np.ndarray, " c"],
    context: Bool[Array | np.ndarray, "N c"],
    toward: Bool[Array | np.ndarray, " c"] | None = None,
) -> HashTarget:
    """Make the target of an example.

    Args:
      labels: bool[c], of the example.
      context: bool[N, c], of the context.
      toward: bool[c], labels of what it is to find, any of them; None to find what is not similar.

    >>> context = jnp.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    >>> hash_target(context[0], context).wanted.tolist()
    [False, True, True]
    >>> hash_target(context[0], context, toward=context[1]).wanted.tolist()
    [False, True, False]

    Raises:
      InputError: the labels are not as many as those of the context.
    """
    for name, mask in (("labels", labels), ("toward", toward)):
        if mask is not None and mask.shape != context.shape[1:]:
            raise InputError(
                f"{name} {list(mask.shape)}: must be as many as the context's, {context.shape[1]}"
            )
    similar = jnp.any(context & labels, axis=-1)
    wanted = ~similar if toward is None else jnp.any(context & toward, axis=-1)
    return HashTarget(similar, wanted)


def context_codes(outputs: Float[Array, "N K"], codes: Codes = "unit") -> Float[Array, "N K"]:
    """Return the codes H of a modality's context from the outputs of its hash layer.

    Eqs. 3 and 4 take the outputs as they are. Where those of one modality are larger than those of
    the other, as DCMH's of pictures are, its term outweighs the other one, whatever α and β say.

    Args:
      outputs: f32[N, K].
      codes: "unit" divides by the root mean square over all N · K outputs, so that both modalities
        count alike; "outputs" are the paper's; "signs" are the released code's.

    >>> context_codes(jnp.array([[3.0, -3.0]])).tolist()
    [[1.0, -1.0]]
    """
    if codes == "signs":
        return binary_code(outputs)
    if codes == "outputs":
        return outputs
    square = jnp.mean(outputs**2)
    return outputs / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def inter_modal(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    wanted: Bool[Array, " N"],
    scale: Float[Array, ""] | float = 0.5,
) -> Float[Array, ""]:
    """`sum_j log(1 + exp(-Γ_j)) + S_j Γ_j` with `Γ_j = ½ Ĥ H_jᵀ` (eq. 3), S what is not wanted.

    It is the negative log-likelihood of what is wanted being similar. The ½ is `scale`.
    """
    gamma = scale * (codes @ code)
    return jnp.sum(jax.nn.softplus(-gamma) + jnp.where(wanted, 0.0, gamma))


def intra_modal(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    similar: Bool[Array, " N"],
    scale: Float[Array, ""] | float = 0.5,
) -> Float[Array, ""]:
    """`sum_j log(1 + exp(Θ_j)) - S_j Θ_j` with `Θ_j = ½ Ĥ H_jᵀ` (eq. 4); the ½ is `scale`."""
    theta = scale * (codes @ code)
    return jnp.sum(jax.nn.softplus(theta) - jnp.where(similar, theta, 0.0))


def finds_wanted(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    wanted: Bool[Array, " N"],
    *,
    signs: bool = True,
) -> Bool[Array, ""]:
    """Return whether the first item that a code retrieves is wanted; bool[].

    The first is that of least Hamming distance, or of the largest inner product, of equal ones the
    first in the context. A code that is not finite finds nothing.

    Args:
      code: f32[K].
      codes: f32[N, K], of the context.
      wanted: bool[N].
      signs: whether codes are compared by their signs; embeddings are not.
    """
    # of signs it is K - 2 Hamming distances
    agreement = binary_code(codes) @ binary_code(code) if signs else codes @ code
    return wanted[jnp.argmax(agreement)] & jnp.isfinite(code).all()


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
        victim=victim,
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
    checks.made_of("weights", of, Weights, "jaxadv.hashing.Weights(intra=0.5)")
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
        code, own, other = codes_of(victim, modality, known, adversarial)
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
        code, _, other = codes_of(victim, modality, known, example)
        return Verdict(_succeeds(victim, code, other, target), code)

    return judge


def hash_check(victim: CrossModalHasher, modality: Modality) -> Check:
    """Refuse examples that are not of the modality, and targets for which nothing can be done.

    Raises:
      InputError: the victim reads texts of tokens, which cannot be changed a little, and they are
        to be attacked.
    """
    _check_victim(victim, modality)
    if modality == "text" and victim.reader is not None:
        raise InputError(
            "modality: this victim's texts are sequences of tokens, which cannot be changed a "
            "little; must be image (the method substitution attacks such texts)"
        )
    shape = victim.image_shape if modality == "image" else victim.text_shape

    def check(known: Any, example: Any, target: Any) -> None:
        check_target(known, target)
        if not jnp.issubdtype(np.asarray(example).dtype, jnp.floating):
            raise InputError(f"a {modality} of {np.asarray(example).dtype}: must be of floats")
        if np.shape(example) != tuple(shape) and modality == "text":
            raise InputError(
                f"a text of shape {np.shape(example)}: this victim reads a bag of {shape[0]} tags"
            )
        if modality == "image":
            check_size(example, victim.image_shape)

    return check


def check_target(known: Any, target: Any) -> None:
    """Refuse what is no target over a context, or one for which nothing can be done.

    Raises:
      InputError: it is one of these.
    """
    checks.made_of("params", known, Known, "Known(params, image_codes, text_codes)")
    checks.made_of("target", target, HashTarget, "hash_target(labels, context)")
    items = len(known.image_codes)
    for name, of in (("similar", target.similar), ("wanted", target.wanted)):
        if np.shape(of) != (items,):
            raise InputError(
                f"target {name}: shape {np.shape(of)}; must be ({items},), one an item of the "
                "context"
            )
    if not np.any(target.wanted):
        raise InputError("no item of the context is wanted: there is nothing to be found")


def _check_victim(victim: CrossModalHasher, modality: Modality) -> None:
    checks.victim(victim, CrossModalHasher, "hasher")
    checks.one_of("modality", modality, get_args(Modality))


def _succeeds(victim: CrossModalHasher, code: Array, other: Array, target: HashTarget) -> Array:
    return finds_wanted(code, other, target.wanted, signs=victim.logit_scale is None)


def codes_of(
    victim: CrossModalHasher, modality: Modality, known: Known, example: Array
) -> tuple[Array, Array, Array]:
    """Return the code of an example, and those of the context in its and in the other modality.

    Raises:
      ImageError: a picture of another size than the victim sees.
    """
    if modality == "image":
        check_size(example, victim.image_shape)
        return victim.image_code(known.params, example), known.image_codes, known.text_codes
    return victim.text_code(known.params, example), known.text_codes, known.image_codes
