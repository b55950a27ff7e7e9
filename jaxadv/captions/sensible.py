"""Simple measures of whether captions make sense, to be read with rates of success."""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

LONG_PHRASE = 4


class Sensible(NamedTuple):
    """Simple measures of a set of captions.

    Attributes:
      captions: how many there are.
      distinct: how many of them differ.
      repeated_bigrams: share of the captions in which some pair of adjacent words comes twice.
      unknown_words: share of all words that are the mark of unknown ones.
    """

    captions: int
    distinct: int
    repeated_bigrams: float
    unknown_words: float


def sensible(captions: Sequence[Sequence[Hashable]], unknown: Hashable | None = None) -> Sensible:
    """Measure captions, each a sequence of words; `unknown` is the mark of unknown words, if any.

    >>> sensible([("a", "UNK"), ("a", "UNK"), ("a", "dog", "a", "dog")], unknown="UNK")
    Sensible(captions=3, distinct=2, repeated_bigrams=0.3333333333333333, unknown_words=0.25)
    """
    words = sum(map(len, captions))
    marks = sum(word == unknown for caption in captions for word in caption)
    twice = sum(len(set(pairwise(c))) < len(c) - 1 for c in captions)
    return Sensible(
        len(captions),
        len(set(map(tuple, captions))),
        twice / len(captions) if captions else 0.0,
        0.0 if unknown is None or not words else marks / words,
    )


def repeats_phrase(caption: Sequence[Hashable]) -> bool:
    """Whether a caption says a phrase twice in a row, or one of four words anywhere.

    A decoder that is stuck does so; people seldom do.

    >>> repeats_phrase("a dog on on the grass".split()), repeats_phrase("a dog and a cat".split())
    (True, False)
    """
    n = len(caption)
    in_a_row = any(
        caption[at : at + size] == caption[at + size : at + 2 * size]
        for size in range(1, n // 2 + 1)
        for at in range(n - 2 * size + 1)
    )
    long = [tuple(caption[at : at + LONG_PHRASE]) for at in range(n - LONG_PHRASE + 1)]
    return in_a_row or len(set(long)) < len(long)
