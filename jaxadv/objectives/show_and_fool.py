"""Show-and-Fool's losses (Chen et al. 2018, section 3), on logits.

Numbers of equations marked [6] are that paper's. All losses are for minimisation; `margin` is its
κ (the released code's default is 1).
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv.data.vocabulary import END, Vocabulary
from jaxadv.objectives.target import PartialCaption, TargetError

_FAR = 10_000.0  # what the gate of [6] eq. 9 puts a barred place at


class Keywords(NamedTuple):
    """Words that the caption shall (or shall not) say, anywhere: `words i32[M]`, 0 for padding."""

    words: Int[Array, " M"]


def parse_keywords(text: str, vocabulary: Vocabulary, capacity: int = 4) -> Keywords:
    """Read keywords separated by commas or blanks, padded to `capacity` so nothing recompiles.

    A word of the victim's that holds a comma or a blank is meant where all of it stands.

    Raises:
      TargetError: none, or more than `capacity`.
      UnknownWordError: a word that the victim does not know, with the nearest ones.
    """
    numbers = [vocabulary.number(word) for word in _keywords(text.strip(), vocabulary)]
    if not 1 <= len(numbers) <= capacity:
        raise TargetError(f"{len(numbers)} keywords: give from 1 to {capacity}")
    return Keywords(jnp.asarray(numbers + [END] * (capacity - len(numbers)), jnp.int32))


def _keywords(text: str, vocabulary: Vocabulary) -> list[str]:
    """Cut at commas, then at blanks, where the whole is no word of the victim's."""
    if text in vocabulary or not re.search(r"[,\s]", text):
        return [text] if text else []
    parts = text.split(",") if "," in text else text.split()
    return [word for part in parts for word in _keywords(part.strip(), vocabulary)]


def best_other(logits: Float[Array, "*places V"], word: Int[Array, ""]) -> Float[Array, "*places"]:
    """`max_{k != word} z(k)`."""
    return jnp.max(jnp.where(jnp.arange(logits.shape[-1]) == word, -jnp.inf, logits), axis=-1)


def caption_logits(logits: Float[Array, "T V"], target: PartialCaption) -> Float[Array, ""]:
    """`-sum_t z_t(S_t)` over the observed places: maximise them ([6] eq. 6).

    Its negative leaves a caption.
    """
    chosen = jnp.take_along_axis(logits, target.tokens[:, None], axis=1)[:, 0]
    return -jnp.where(target.observed, chosen, 0.0).sum()


def caption_margin(
    logits: Float[Array, "T V"], target: PartialCaption, margin: float
) -> Float[Array, ""]:
    """`sum_t max(-κ, max_{k != S_t} z_t(k) - z_t(S_t))` over the observed places ([6] eq. 7)."""
    chosen = jnp.take_along_axis(logits, target.tokens[:, None], axis=1)[:, 0]
    gaps = jax.vmap(best_other)(logits, target.tokens) - chosen
    return jnp.where(target.observed, jnp.maximum(gaps, -margin), 0.0).sum()


def untargeted_caption_margin(
    logits: Float[Array, "T V"], avoided: PartialCaption, margin: float
) -> Float[Array, ""]:
    """`sum_t max(-κ, z_t(S_t) - max_{k != S_t} z_t(k))`: leave the caption that is said now."""
    chosen = jnp.take_along_axis(logits, avoided.tokens[:, None], axis=1)[:, 0]
    gaps = chosen - jax.vmap(best_other)(logits, avoided.tokens)
    return jnp.where(avoided.observed, jnp.maximum(gaps, -margin), 0.0).sum()


def keyword_logits(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords
) -> Float[Array, ""]:
    """`-sum_j max_t z_t(K_j)` over the places of the caption said now: any one place will do.

    Its negative pushes the keywords down where they are highest.
    """
    scores = jnp.where(said[:, None], logits[:, keywords.words], -jnp.inf)
    return -jnp.where(keywords.words != END, scores.max(axis=0), 0.0).sum()


def keyword_margin(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords, margin: float
) -> Float[Array, ""]:
    """`sum_j min_t g_{t,j}( max(-κ, max_{k != K_j} z_t(k) - z_t(K_j)) )` ([6] eqs. 8-9).

    The gate g puts the place far away for `K_j` where another keyword is the top word already, so
    that two keywords do not fight for one place. `said` marks the places of the caption said now.
    """
    words = keywords.words
    gaps = jax.vmap(best_other, in_axes=(None, 0), out_axes=1)(logits, words) - logits[:, words]
    top = jnp.argmax(logits, axis=-1)[:, None]
    taken = ((top == words) & (words != END)).any(axis=1, keepdims=True) & (top != words)
    gated = jnp.where(taken | ~said[:, None], _FAR, jnp.maximum(gaps, -margin))
    return jnp.where(words != END, gated.min(axis=0), 0.0).sum()


def untargeted_keyword_margin(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords, margin: float
) -> Float[Array, ""]:
    """`sum_j max_t max(-κ, z_t(K_j) - max_{k != K_j} z_t(k))`: at no place may a keyword lead."""
    words = keywords.words
    gaps = logits[:, words] - jax.vmap(best_other, in_axes=(None, 0), out_axes=1)(logits, words)
    worst = jnp.where(said[:, None], jnp.maximum(gaps, -margin), -margin).max(axis=0)
    return jnp.where(words != END, worst, 0.0).sum()
