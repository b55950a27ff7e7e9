"""How far a long job is."""

from typing import NamedTuple


class Progress(NamedTuple):
    """How far a long job is.

    Attributes:
      done: units done.
      total: units in all.
      message: what was last found, for a person.
    """

    done: int
    total: int
    message: str
