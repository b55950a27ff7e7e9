"""When a caption counts as fooled: one boolean of the target and the words that are said."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxadv.captions.metrics import success_sign
from jaxadv.captions.target import Keywords, PartialCaption
from jaxadv.vocabulary import END

Criterion = Callable[..., Bool[Array, ""]]
"""`(target, tokens i32[T]) -> bool[]`."""


def says_target(target: PartialCaption, tokens: Int[Array, " T"]) -> Bool[Array, ""]:
    """Every observed place says its word, and the end is where it was demanded (eq. 17)."""
    return success_sign(target.tokens, target.observed, tokens)


def leaves_caption(avoided: PartialCaption, tokens: Int[Array, " T"]) -> Bool[Array, ""]:
    """The caption is another one than `avoided`."""
    return ~says_target(avoided, tokens)


def _spoken(keywords: Keywords, tokens: Int[Array, " T"]) -> Bool[Array, " M"]:
    return (keywords.words[:, None] == tokens[None, :]).any(axis=1)


def says_keywords(keywords: Keywords, tokens: Int[Array, " T"]) -> Bool[Array, ""]:
    """Every keyword is said, anywhere."""
    return jnp.all(_spoken(keywords, tokens) | (keywords.words == END))


def avoids_keywords(keywords: Keywords, tokens: Int[Array, " T"]) -> Bool[Array, ""]:
    """No keyword is said anywhere."""
    return ~jnp.any(_spoken(keywords, tokens) & (keywords.words != END))
