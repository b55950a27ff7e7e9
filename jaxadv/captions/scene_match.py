"""Whether a caption says what a scene shows: colours, shapes and relation, read off its words."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxadv.data.scenes import COLOURS, SHAPES

_NOUN = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")
_RELATION = re.compile(
    r"above|below|to the left of|to the right of|from left to right|from top to bottom"
    r"|in the (?:top|bottom) (?:left|right) corner|at the top|at the bottom"
    r"|on the left|on the right|in the middle"
)


class Facts(NamedTuple):
    """What a caption claims: its objects in order, and how they stand."""

    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    relation: str | None


class Match(NamedTuple):
    """Which claims agree with the nearest true phrasing; `everything` is all three at once."""

    colour: bool
    shape: bool
    relation: bool

    @property
    def everything(self) -> bool:
        """Colours, shapes and relation all right."""
        return all(self)


def facts(caption: str) -> Facts:
    """Read a caption's claims.

    >>> facts("a big red ring is above a blue star")
    Facts(colours=('red', 'blue'), shapes=('ring', 'star'), relation='above')
    """
    nouns = _NOUN.findall(caption)
    relation = _RELATION.search(caption)
    return Facts(
        tuple(colour for colour, _ in nouns),
        tuple(shape for _, shape in nouns),
        relation.group() if relation else None,
    )


def match(caption: str, references: Sequence[str]) -> Match:
    """Compare a caption's claims with the true phrasing that it agrees with most.

    >>> match("a red ring is below a blue star", ["a small red ring is above a blue star"])
    Match(colour=True, shape=True, relation=False)
    """
    said = facts(caption)
    agreements = (Match(*(a == b for a, b in zip(said, facts(r), strict=True))) for r in references)
    return max(agreements, key=sum)
