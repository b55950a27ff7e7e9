"""What the readers raise, and how they name what a file holds."""

import re
from collections.abc import Iterable

from jaxadv.errors import InputError

MOST_CHARACTERS = 80
MOST_NAMES = 5


# what steers a terminal or forges a line: control codes, line separators, changes of direction,
# halves of characters
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class FormatError(InputError):
    """A file that cannot be used as a whole: what it is, what was expected, what to do."""


class PortingError(InputError):
    """A checkpoint that cannot be read or does not fit: one line with the file and the reason."""


def quoted(text: object) -> str:
    """Quote what a file holds for a message: on one line, at most 80 characters, no control codes.

    >>> quoted("cat\\x1b[2J")
    "'cat\\\\x1b[2J'"
    >>> len(quoted("a" * 1000))
    85
    """
    shown = text if isinstance(text, str) else repr(text)
    cut = f"{shown[:MOST_CHARACTERS]}..." if len(shown) > MOST_CHARACTERS else shown
    return repr(cut)


def listed(names: Iterable[object]) -> str:
    """List names for a message: the first five, and how many more there are.

    >>> listed(["a", "b"]), listed(range(3000))
    ("'a', 'b'", "'0', '1', '2', '3', '4' and 2,995 more")
    """
    every = list(names)
    first = ", ".join(quoted(name) for name in every[:MOST_NAMES])
    more = len(every) - MOST_NAMES
    return f"{first} and {more:,} more" if more > 0 else first


def printable(text: str) -> str:
    """Escape what would steer a terminal; everything else is as it was.

    >>> printable("naïve [red] cat\\x1b[2J")
    'naïve [red] cat\\\\x1b[2J'
    """
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)
