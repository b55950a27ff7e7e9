"""What a sweep is made of: cells, each a victim, a method with its options, and what it attacks."""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any

from jaxadv.core.method import Chosen
from jaxadv.errors import InputError

OLD_NAMES = {"rounds": "iterations"}
"""What options were called before, in sweep files (until the next version) and in records."""
VERSION = 2
"""Of digests; counts up when an option that is not given comes to mean something else."""


class PlanError(InputError):
    """A sweep file that cannot be carried out; the message names the key and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Design(ABC):
    """What a cell attacks: a base of frozen dataclasses, one a family; defaults are the paper's."""

    @property
    @abstractmethod
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""

    @property
    def unread(self) -> dict[str, tuple[str, ...]]:
        """The keys that are not read as the others are set, by why."""
        return {}

    @property
    def drawing(self) -> int:
        """Counts up when other targets are drawn of the same data, so that no cell mixes both."""
        return 0


@dataclasses.dataclass(frozen=True)
class Cell:
    """A victim, a method with its options, and what is attacked.

    Attributes:
      task: the name of the family (`families.FAMILIES`).
      victim: its name or folder.
      seed: of the choice of targets and of what the attacks draw.
      method: the method with its options.
      design: what is attacked.
    """

    task: str
    victim: str
    seed: int
    method: Chosen
    design: Any

    @property
    def columns(self) -> dict[str, Any]:
        """What its records say of it: the victim, and every option that the method uses."""
        return {"task": self.task, "victim": self.victim, "seed": self.seed, **self.method.used}

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for all of it.

        They are of what differs from the defaults, so that an option that is added later changes no
        digest of a cell that does not use it.
        """
        everything = {
            "version": VERSION,
            "task": self.task,
            "victim": self.victim,
            "seed": self.seed,
            "method": self.method.name,
            "options": _given(self.method.options),
            "design": _given(self.design),
        }
        if drawing := getattr(self.design, "drawing", 0):
            everything["drawing"] = drawing
        text = json.dumps(everything, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _given(of: Any) -> dict[str, Any]:
    """Return the fields that are not at their defaults."""
    fields = dataclasses.fields(of)
    return {f.name: getattr(of, f.name) for f in fields if getattr(of, f.name) != f.default}
