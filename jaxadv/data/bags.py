"""Bags of words that a person writes: the tags of a text, 1 where one is given."""

import difflib
from collections.abc import Sequence

import numpy as np

from jaxadv.data.vocabulary import tokenize
from jaxadv.errors import InputError


class BagError(InputError):
    """A text that is no bag of the victim's tags."""


def parse_bag(text: str, tags: Sequence[str]) -> np.ndarray:
    """Read the tags of a text; f32[T]. Parts between commas may be tags of several words.

    >>> parse_bag("Red circle, at night", ("circle", "red", "star", "at night")).tolist()
    [1.0, 1.0, 0.0, 1.0]
    >>> parse_bag("red circel", ("circle", "red", "star"))
    Traceback (most recent call last):
    ...
    jaxadv.data.bags.BagError: unknown tag 'circel': did you mean 'circle'?

    Raises:
      BagError: no tag, or one that the victim does not know, with the nearest that it does.
    """
    numbers = {tag.lower(): number for number, tag in enumerate(tags)}
    bag = np.zeros(len(tags), np.float32)
    for part in text.lower().split(","):
        whole = " ".join(part.split())
        for word in [whole] if whole in numbers else tokenize(part):
            if word not in numbers:
                raise BagError(f"unknown tag {word!r}: {_hint(word, tags)}")
            bag[numbers[word]] = 1
    if not bag.any():
        raise BagError(f"text {text!r}: no tag; give some of the {_some(tags)}")
    return bag


def say_bag(bag: np.ndarray, tags: Sequence[str]) -> str:
    """Name what is in a bag, with its weight where that is neither 0 nor 1.

    >>> say_bag(np.array([1.0, 0.0, 0.25]), ("circle", "red", "star"))
    'circle star=0.25'
    """
    given = [(tag, weight) for tag, weight in zip(tags, bag, strict=True) if weight]
    return " ".join(tag if weight == 1 else f"{tag}={weight:.2g}" for tag, weight in given)


def _hint(word: str, tags: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, [tag.lower() for tag in tags], n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(tag) for tag in near) + "?"
    return f"the victim knows {_some(tags)}"


def _some(tags: Sequence[str]) -> str:
    return f"{len(tags)} tags, such as " + ", ".join(repr(tag) for tag in sorted(tags)[:8])
