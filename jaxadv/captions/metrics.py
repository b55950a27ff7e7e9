"""How close a predicted caption comes to a targeted one, of which some places may be hidden.

The measures of section 5.1 of Xu et al., "Exact Adversarial Attack to Image Captioning via
Structured Output Learning with Latent Variables", CVPR 2019 (eqs. 17-18). All functions take
**one** example of static shape; `jax.vmap` them, and average over all attempts as the paper does:

- `target: i32[T]`, `predicted: i32[T]`: words (non-zero) followed by zeros. Token 0 is the end of
  the caption and the padding behind it.
- `observed: bool[T]`: the places the attacker prescribes, the paper's O. An observed place whose
  target token is 0 is the observed end of the caption; there is at most one.

Two differences from the released code, which counts otherwise than its paper defines:

- it takes for success that the **signed sum** of `predicted - target` over the observed places is
  zero, so that two wrong words can cancel. Here every place is compared.
- it clips the length of the predicted caption to that of the target before it computes the
  precision. Here an overlong caption is judged by the observed end place, in `success_sign`;
  precision and recall count words, at observed places only.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


class CaptionScores(NamedTuple):
    """The three measures of one example; precision >= recall >= success."""

    success: Bool[Array, ""]
    """`bool[]`, eq. 17: `success_sign`."""
    precision: Float[Array, ""]
    """`f32[]`, eq. 18: `precision`."""
    recall: Float[Array, ""]
    """`f32[]`, eq. 18: `recall`."""


def success_sign(
    target: Int[Array, " T"], observed: Bool[Array, " T"], predicted: Int[Array, " T"]
) -> Bool[Array, ""]:
    """Whether the prediction has the target's token at every observed place (`bool[]`, eq. 17).

    The observed end counts: a caption that continues behind it is not the target, nor is one that
    ends before it, at a hidden word (then S*_O does not include that place; padding is no end).

    >>> target, observed = jnp.array([5, 7, 0, 0]), jnp.array([True, True, True, False])
    >>> [bool(success_sign(target, observed, jnp.array(p))) for p in ([5, 7, 0, 0], [5, 7, 9, 0])]
    [True, False]
    """
    reached = jnp.roll(predicted != 0, 1).at[0].set(True)  # a word or the end, not padding
    return jnp.all((predicted == target) & reached | ~observed)


def precision(
    target: Int[Array, " T"], observed: Bool[Array, " T"], predicted: Int[Array, " T"]
) -> Float[Array, ""]:
    """Right words among the words predicted at observed places (`f32[]`, eq. 18).

    |S*_O ∩ S_O| / |S*_O|, where S*_O is the predicted caption at the observed places of words.
    Places behind the end of a short prediction are not in it. A prediction that ends before the
    first of them (S*_O empty) has precision 0; with no observed word there is nothing to get wrong
    and the precision is 1.

    >>> target, observed = jnp.array([5, 7, 8, 0]), jnp.array([True, True, True, True])
    >>> precision(target, observed, jnp.array([5, 9, 0, 0]))
    Array(0.5, dtype=float32)
    """
    words, matches = _words_and_matches(target, observed, predicted)
    return _ratio(matches, words & (predicted != 0), words)


def recall(
    target: Int[Array, " T"], observed: Bool[Array, " T"], predicted: Int[Array, " T"]
) -> Float[Array, ""]:
    """Right words among the observed words (`f32[]`, eq. 18): |S*_O ∩ S_O| / |S_O|.

    With no observed word it is 1, as `precision`.

    >>> target, observed = jnp.array([5, 7, 8, 0]), jnp.array([True, True, False, True])
    >>> recall(target, observed, jnp.array([5, 0, 0, 0]))
    Array(0.5, dtype=float32)
    """
    words, matches = _words_and_matches(target, observed, predicted)
    return _ratio(matches, words, words)


def caption_scores(
    target: Int[Array, " T"], observed: Bool[Array, " T"], predicted: Int[Array, " T"]
) -> CaptionScores:
    """All three measures of one example."""
    return CaptionScores(
        success_sign(target, observed, predicted),
        precision(target, observed, predicted),
        recall(target, observed, predicted),
    )


def _words_and_matches(
    target: Int[Array, " T"], observed: Bool[Array, " T"], predicted: Int[Array, " T"]
) -> tuple[Bool[Array, " T"], Bool[Array, " T"]]:
    """The observed places of words, and those of them where the prediction is right: `bool[T]`."""
    words = observed & (target != 0)
    return words, words & (predicted == target)


def _ratio(
    matches: Bool[Array, " T"], among: Bool[Array, " T"], words: Bool[Array, " T"]
) -> Float[Array, ""]:
    ratio = matches.sum() / jnp.maximum(among.sum(), 1)  # nothing among: no match either, 0 / 1
    return jnp.where(words.any(), ratio, 1.0)
