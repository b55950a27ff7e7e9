"""Checks of the values that JSON and its like hold: nothing is coerced.

What a person leaves empty is absent (null, or NaN where pandas wrote the file); one text is a list
of one; everything else that is not of the type wanted is refused.
"""

import math
import re
from typing import Any

from jaxadv.formats.errors import quoted

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class ValueFault(ValueError):
    """A value that is not what is wanted, in words; the reader adds which entry holds it."""


def is_absent(value: Any) -> bool:
    """Whether a value stands for nothing: null, or NaN as pandas writes an empty cell."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any, what: str) -> str:
    """Return a text as it is.

    Raises:
      ValueFault: no text, or one with half a character (a lone surrogate).

    >>> as_text(3, "caption")
    Traceback (most recent call last):
    ...
    jaxadv.formats.values.ValueFault: caption: must be a text, not 3
    """
    if not isinstance(value, str):
        raise ValueFault(f"{what}: must be a text, not {_shown(value)}")
    if not is_whole(value):
        raise ValueFault(f"{what}: holds half a character (a lone surrogate)")
    return value


def is_whole(text: str) -> bool:
    """Whether a text can be written: half a character (a lone surrogate) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_texts(value: Any, what: str) -> tuple[str, ...] | None:
    """Return a list of texts; a text is a list of one, nulls in a list are left out.

    Returns None where the value is absent.

    Raises:
      ValueFault: anything else.

    >>> as_texts("a dog", "captions"), as_texts(["a", None], "captions"), as_texts(None, "captions")
    (('a dog',), ('a',), None)
    """
    if is_absent(value):
        return None
    if isinstance(value, str):
        return (as_text(value, what),)
    if not isinstance(value, list):
        raise ValueFault(f"{what}: must be a text or a list of texts, not {_shown(value)}")
    return tuple(as_text(one, what) for one in value if not is_absent(one))


def as_names(value: Any, what: str) -> tuple[str, ...] | None:
    """Return the names that are there: a list of texts, or an object of 0s and 1s by name.

    Names are stripped of blanks around them; a name twice in one list counts once.

    Raises:
      ValueFault: anything else, or an empty name.

    >>> as_names({"cat": 1, "dog": 0}, "labels"), as_names(["cat", " cat"], "labels")
    (('cat',), ('cat',))
    """
    if isinstance(value, dict):
        odd = [flag for flag in value.values() if not isinstance(flag, int) or flag not in (0, 1)]
        if odd:
            raise ValueFault(f"{what}: an object must say 0 or 1 by name, not {_shown(odd[0])}")
        value = [name for name, flag in value.items() if flag]
    found = as_texts(value, what)
    if found is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in found))
    if "" in names:
        raise ValueFault(f"{what}: an empty name")
    return names


def as_number(value: Any, what: str) -> float:
    """Return a finite number.

    Raises:
      ValueFault: anything else, true and false included.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueFault(f"{what}: must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueFault(f"{what}: must be a finite number, not {_shown(value)}")
    return number


def as_whole(value: Any, what: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a whole number from `least` to `most`.

    Raises:
      ValueFault: anything else; 3.0 included.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueFault(f"{what}: must be a whole number, not {_shown(value)}")
    if not least <= value <= most:
        raise ValueFault(f"{what}: must be from {least} to {most}, not {_shown(value)}")
    return value


def parse_number(text: str, what: str) -> float:
    """Read a finite number as files write it: decimal digits, a point, an exponent.

    Raises:
      ValueFault: anything else, such as `nan`, `1,5` and `1_000`.

    >>> parse_number(" -1.5e3 ", "left")
    -1500.0
    """
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped) is None:
        raise ValueFault(f"{what}: must be a number, not {quoted(text)}")
    number = float(stripped)
    if math.isinf(number):
        raise ValueFault(f"{what}: must be a finite number, not {quoted(text)}")
    return number


def parse_whole(text: str, what: str, most: int) -> int:
    """Read a whole number from 0 to `most`, of decimal digits alone.

    Raises:
      ValueFault: anything else, such as `-1`, `1.0` and `²`.

    >>> parse_whole("07", "class", 80)
    7
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= most:
        raise ValueFault(f"{what}: must be from 0 to {most}, not {quoted(text)}")
    return number


def _shown(value: Any) -> str:
    """Write a value for a message, whatever its size."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
