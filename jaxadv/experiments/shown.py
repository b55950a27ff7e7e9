"""What a person looks at in a record: what a victim says before an attack and after it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Item(NamedTuple):
    """An entry of a ranking: a label, or what is retrieved.

    Attributes:
      text: its name.
      kind: what it is to the attack, such as "relevant"; empty where there is nothing to say.
    """

    text: str
    kind: str = ""


Said = str | tuple[Item, ...]
"""A text, or a ranking, the best first."""


class Shown(NamedTuple):
    """What a person looks at.

    Attributes:
      aim: what the attack is to reach, in words.
      before: what the victim says of what is attacked.
      after: what it says of what came of it, of the 8 bits that a file holds where that is known.
    """

    aim: str
    before: Said
    after: Said


def texts(row: Row, aim: str, before: str, after: Sequence[str]) -> Shown:
    """Show a record of texts by its columns, the first of `after` that it has."""
    named = [str(row[name]) for name in after if row.get(name) is not None]
    return Shown(_text(row, aim), _text(row, before), named[0] if named else "")


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)
