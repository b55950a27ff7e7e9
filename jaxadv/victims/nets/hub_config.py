"""Reading the `config.json` that a published model comes with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxadv.errors import InputError
from jaxadv.vocabulary import END


def number_of(token: int, end: int) -> int:
    """Number a tokenizer's token as captions do, where number 0 ends a caption.

    The number of a token is the tokenizer's own, but 0 and that of the end token are exchanged.

    >>> [number_of(token, end=2) for token in (0, 1, 2, 3)]
    [2, 1, 0, 3]
    """
    return {END: end, end: END}.get(token, token)


@dataclass(frozen=True)
class Section:
    """A part of a `config.json`.

    Attributes:
      values: what it says.
      path: the keys on the way to it, each followed by a dot; errors name values in full.
    """

    values: Mapping[str, Any]
    path: str = ""

    def section(self, key: str) -> "Section":
        """Return the part that is called so."""
        return Section(self._typed(key, Mapping, "an object"), f"{self.path}{key}.")

    def size(self, key: str) -> int:
        """Return a positive whole number."""
        value = self._typed(key, int, "a whole number")
        return value if value > 0 else self._refuse(key, "a positive whole number")

    def token(self, key: str, vocabulary_size: int) -> int:
        """Return a token of a vocabulary of that size."""
        value = self._typed(key, int, "a whole number")
        inside = 0 <= value < vocabulary_size
        return value if inside else self._refuse(key, f"a token from 0 to {vocabulary_size - 1}")

    def epsilon(self, key: str) -> float:
        """Return a small positive number."""
        value = self._typed(key, int | float, "a number")
        return float(value) if value > 0 else self._refuse(key, "a positive number")

    def choice(self, key: str, *known: str) -> str:
        """Return one of the words that are known."""
        value = self._typed(key, str, "a text")
        return value if value in known else self._refuse(key, " or ".join(known))

    def expect(self, **supported: Any) -> None:
        """Refuse a model that differs from the network that is written; what is absent does not."""
        for key, value in supported.items():
            if self.values.get(key, value) != value:
                self._refuse(key, repr(value))

    def parted(self, units: str, heads: str) -> tuple[int, int]:
        """Return a number of units, and that of the heads among which they are parted equally."""
        of_units, of_heads = self.size(units), self.size(heads)
        if of_units % of_heads:
            self._refuse(units, f"a multiple of {self.path}{heads}, {of_heads}")
        return of_units, of_heads

    def _typed(self, key: str, kind: Any, name: str) -> Any:
        if key not in self.values:
            raise InputError(f"config.json: {self.path}{key} is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self._refuse(key, name)
        return value

    def _refuse(self, key: str, supported: str) -> Any:
        raise InputError(
            f"config.json: {self.path}{key} is {self.values[key]!r:.80}, supported is {supported}"
        )
