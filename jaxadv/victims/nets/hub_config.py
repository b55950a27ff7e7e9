"""Reading the `config.json` that a published model comes with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxadv.errors import InputError


@dataclass(frozen=True)
class TextConfig:
    """The sizes of the layers that read words.

    Attributes:
      vocabulary_size: tokens.
      units: of the model.
      layers: how many.
      heads: of each attention.
      wide: units between the two linear maps of a layer.
      positions: the most tokens that are read.
      epsilon: of the layer norms.
      activation: between the two linear maps, as `attention.ACTIVATIONS` names it.
    """

    vocabulary_size: int
    units: int
    layers: int
    heads: int
    wide: int
    positions: int
    epsilon: float
    activation: str


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

    def with_defaults(self, defaults: Mapping[str, Any]) -> "Section":
        """Fill in what a file leaves out, or writes null for, because its writer's defaults say it.

        >>> Section({"layers": None, "heads": 2}).with_defaults({"layers": 12, "heads": 1}).values
        {'layers': 12, 'heads': 2}
        """
        said = {key: value for key, value in self.values.items() if value is not None}
        return Section({**defaults, **said}, self.path)

    def size(self, key: str) -> int:
        """Return a positive whole number."""
        value = self._typed(key, int, "a whole number")
        return value if value > 0 else self.refuse(key, "a positive whole number")

    def whole(self, key: str, least: int, most: int) -> int:
        """Return a whole number in a range."""
        value = self._typed(key, int, "a whole number")
        inside = least <= value <= most
        return value if inside else self.refuse(key, f"a whole number from {least} to {most}")

    def token(self, key: str, vocabulary_size: int) -> int:
        """Return a token of a vocabulary of that size."""
        value = self._typed(key, int, "a whole number")
        inside = 0 <= value < vocabulary_size
        return value if inside else self.refuse(key, f"a token from 0 to {vocabulary_size - 1}")

    def epsilon(self, key: str) -> float:
        """Return a positive number, such as the epsilon of a norm."""
        value = self._typed(key, int | float, "a number")
        return float(value) if value > 0 else self.refuse(key, "a positive number")

    def choice(self, key: str, *known: str) -> str:
        """Return one of the words that are known."""
        value = self._typed(key, str, "a text")
        return value if value in known else self.refuse(key, " or ".join(known))

    def expect(self, **supported: Any) -> None:
        """Refuse a model that differs from the network that is written; what is absent does not."""
        for key, value in supported.items():
            if self.values.get(key, value) != value:
                self.refuse(key, repr(value))

    def parted(self, units: str, heads: str) -> tuple[int, int]:
        """Return a number of units, and that of the heads among which they are parted equally."""
        of_units, of_heads = self.size(units), self.size(heads)
        if of_units % of_heads:
            self.refuse(units, f"a multiple of {self.path}{heads}, {of_heads}")
        return of_units, of_heads

    def refuse(self, key: str, supported: str) -> Any:
        """Raise an error that says what a value is and what is supported instead."""
        raise InputError(
            f"config.json: {self.path}{key} is {self.values[key]!r:.80}, supported is {supported}"
        )

    def _typed(self, key: str, kind: Any, name: str) -> Any:
        if key not in self.values:
            raise InputError(f"config.json: {self.path}{key} is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(key, name)
        return value
