"""What the commands for hashers share: the victim, and a database that it hashed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import typer

from jaxadv.cli.options import refuse_unread
from jaxadv.data.pairs import Pairs
from jaxadv.experiments.hash_attacks import Codes, encode
from jaxadv.experiments.retrieval import Subject
from jaxadv.experiments.retrieval_pools import GIVEN, OF_SCENES, SHIPPED, Searched, searched
from jaxadv.hashing.metrics import Comparison, search
from jaxadv.hashing.similarity import comparison
from jaxadv.victims.zoo import Victim


class Library(NamedTuple):
    """Pairs that a hasher has hashed, to search in.

    Attributes:
      pairs: what is found.
      codes: of it.
      kept: of these codes, to compare them.
      by: how that is done.
    """

    pairs: Pairs
    codes: Codes
    kept: Codes
    by: Comparison


class Hit(NamedTuple):
    """An item that was found: its row, and in how many bits it differs, or how similar it is."""

    row: int
    value: int | float


def what_is_searched(
    context: typer.Context, victim: Victim, data: Sequence[str], count: int, start: int = 0
) -> Searched:
    """Return what a command searches in; options for scenes are refused where it is no scenes.

    Raises:
      InputError: the data are not there, or not what the victim knows; or such an option.
    """
    found = searched(victim, data, count, start)
    of_scenes = {OF_SCENES: ("database", "scenes"), SHIPPED: (), GIVEN: ()}
    refuse_unread(context, found.kind, of_scenes)
    return found


def subject_of(victim: Victim) -> Subject:
    """Return a hasher with its weights."""
    return Subject(victim.name, victim.hasher, victim.params)


def library_of(subject: Subject, found: Searched) -> Library:
    """Hash what is searched."""
    codes = encode(subject.hasher, subject.params, found.pairs)
    by = comparison(subject.hasher)
    kept = Codes(by.keep(codes.image), by.keep(codes.text))
    return Library(found.pairs, codes, kept, by)


def find(code: np.ndarray, library: Library, modality: Any, top: int) -> list[Hit]:
    """Return the first items of a modality for a code f32[K]."""
    by = library.by
    rows, values = search(by.keep(code[None])[0], getattr(library.kept, modality), top, by)
    return [Hit(row, value) for row, value in zip(rows.tolist(), values.tolist(), strict=True)]


def labels_of(mask: np.ndarray, library: Library) -> str:
    """Name labels."""
    return ", ".join(name for name, here in zip(library.pairs.classes, mask, strict=True) if here)
