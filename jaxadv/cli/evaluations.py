"""What the evaluations have in common: their options and their folder."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.formats.files import write_text

TABLE = "table.json"


def write_table(out: Path, table: Mapping[str, Any]) -> None:
    """Write a table, in place of one that was there; numbers that JSON has not are null."""
    write_text(out / TABLE, json.dumps(_in_json(table), indent=1, allow_nan=False) + "\n")


def whole_numbers(option: str, text: str, most: int, wanted: str) -> list[int]:
    """Read whole numbers from 1 on, separated by commas, each once.

    >>> whole_numbers("--k", "3, 5,3", 9, "numbers from 1 to 9")
    [3, 5]

    Raises:
      InputError: one is none, or above `most`; says what is wanted.
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(p) if p.isascii() and p.isdecimal() and len(p) < 10 else 0 for p in parts]
    if not all(1 <= number <= most for number in numbers):
        raise InputError(f"{option} {quoted(text)}: give {wanted}")
    return list(dict.fromkeys(numbers))


def _in_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _in_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(one) for one in value]
    return value
