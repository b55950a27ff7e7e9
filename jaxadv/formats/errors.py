"""What the readers raise, and how they name what a file holds."""

from collections.abc import Iterable

from jaxadv.errors import InputError

MOST_CHARACTERS = 80
MOST_NAMES = 5


class FormatError(InputError):
    """A file that cannot be used as a whole: what it is, what was expected, what to do."""


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
