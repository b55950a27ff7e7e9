"""What the commands for hashers share: the victim, and a database of scenes that it hashed."""

from typing import Any, NamedTuple

import numpy as np

from jaxadv import loading
from jaxadv.data.pairs import SCENE_CLASSES, Pairs
from jaxadv.experiments.hash_attacks import Codes, encode
from jaxadv.experiments.retrieval import Subject
from jaxadv.experiments.retrieval_pools import check_knows_scenes, scenes_of
from jaxadv.hashing.metrics import Comparison, search
from jaxadv.hashing.similarity import comparison


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


def scene_hasher(name: str) -> Subject:
    """Load a hasher of scenes.

    Raises:
      InputError: there is none of that name, or it does not know scenes.
    """
    victim = loading.load(name)
    check_knows_scenes(victim.name, victim.hasher)
    return Subject(victim.name, victim.hasher, victim.params)


def scene_library(subject: Subject, count: int, start: int) -> Library:
    """Hash held-out scenes from number `start` on."""
    pairs = scenes_of(subject.hasher, count, start)
    codes = encode(subject.hasher, subject.params, pairs)
    by = comparison(subject.hasher)
    return Library(pairs, codes, Codes(by.keep(codes.image), by.keep(codes.text)), by)


def find(code: np.ndarray, library: Library, modality: Any, top: int) -> list[Hit]:
    """Return the first items of a modality for a code f32[K]."""
    by = library.by
    rows, values = search(by.keep(code[None])[0], getattr(library.kept, modality), top, by)
    return [Hit(row, value) for row, value in zip(rows.tolist(), values.tolist(), strict=True)]


def labels_of(mask: np.ndarray) -> str:
    """Name labels."""
    return ", ".join(name for name, here in zip(SCENE_CLASSES, mask, strict=True) if here)
