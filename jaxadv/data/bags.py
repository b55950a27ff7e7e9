"""Bags of words that a person writes: the tags of a text, 1 where one is given."""

import difflib
import re
from collections.abc import Sequence

import numpy as np

from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.vocabulary import tokenize

FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "its", "of"),
        *("on", "or", "some", "that", "the", "their", "to", "with"),
    )
)
"""What a sentence has and few bags: not missed where it is no tag."""


class BagError(InputError):
    """A text that is no bag of the victim's tags."""


def parse_bag(text: str, tags: Sequence[str]) -> np.ndarray:
    """Read the tags of a text; f32[T]. The longest tag that the text says at a place is meant.

    A tag is found as it is spelled, with its commas and blanks; else whatever its case. A sentence
    may be given: its function words are passed over where they are no tags.

    >>> parse_bag("Red circle, at night", ("circle", "red", "star", "at night")).tolist()
    [1.0, 1.0, 0.0, 1.0]
    >>> parse_bag("a red circle", ("circle", "red", "star")).tolist()
    [1.0, 1.0, 0.0]
    >>> parse_bag("red circel", ("circle", "red", "star"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    jaxadv.data.bags.BagError: unknown tag 'circel': did you mean 'circle'? ...

    Raises:
      BagError: no tag, or one that the victim does not know, with the nearest that it does.
    """
    exact = {_plain(tag): number for number, tag in enumerate(tags)}
    folded = {_plain(tag).casefold(): number for number, tag in reversed([*enumerate(tags)])}
    longest = max((len(_PIECES.findall(tag)) for tag in tags), default=0)
    bag = np.zeros(len(tags), np.float32)
    pieces = list(_PIECES.finditer(text))
    place = 0
    while place < len(pieces):
        for end in range(min(place + longest, len(pieces)), place, -1):
            said = _plain(text[pieces[place].start() : pieces[end - 1].end()])
            number = exact.get(said, folded.get(said.casefold()))
            if number is not None:
                bag[number] = 1
                place = end
                break
        else:
            for word in tokenize(pieces[place][0]):
                number = exact.get(word, folded.get(word))
                if number is None and word in FUNCTION_WORDS:
                    continue
                if number is None:
                    raise BagError(f"unknown tag {quoted(word)}: {_hint(word, tags)}")
                bag[number] = 1
            place += 1
    if not bag.any():
        raise BagError(f"text {quoted(text)}: no tag; give some of the {_some(tags)}")
    return bag


_PIECES = re.compile(r"[^\s,]+|,")


def _plain(text: str) -> str:
    """One blank where there are several."""
    return " ".join(text.split())


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
        names = " or ".join(quoted(tag) for tag in near)
        return f"did you mean {names}? (the victim knows {len(tags):,} tags)"
    return f"the victim knows {_some(tags)}"


def _some(tags: Sequence[str]) -> str:
    return f"{len(tags)} tags, such as " + ", ".join(quoted(tag) for tag in sorted(tags)[:8])
