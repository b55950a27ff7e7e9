"""How hashers retrieve: what the CMLA paper's tables and figures are made of."""

from typing import NamedTuple

import numpy as np

from jaxadv.errors import InputError
from jaxadv.experiments.hash_attacks import (
    Codes,
)
from jaxadv.hashing.cmla import Modality
from jaxadv.hashing.hasher import CrossModalHasher, Params
from jaxadv.hashing.metrics import HAMMING, Comparison, Retrieval, retrieval

NONE, FULL, ABLATED = "none", "CMLA", "no intra-modal"


class Subject(NamedTuple):
    """A hasher to be evaluated, with its weights."""

    name: str
    hasher: CrossModalHasher
    params: Params


class Asked(NamedTuple):
    """A database that queries ask.

    Attributes:
      codes: of the database.
      labels: bool[n, c], of the database.
      query_labels: bool[m, c].
      by: how its codes are compared.
    """

    codes: Codes
    labels: np.ndarray
    query_labels: np.ndarray
    by: Comparison = HAMMING


def without_relevant(query_labels: np.ndarray, labels: np.ndarray) -> int:
    """Return to how many queries nothing in a database is relevant; they count as 0 in MAP.

    >>> without_relevant(np.eye(2, dtype=bool), np.array([[True, False]]))
    1

    Raises:
      InputError: there is no other query.
    """
    count = int((~(query_labels @ labels.T).any(axis=1)).sum())
    if count == len(query_labels):
        raise InputError(
            f"none of the {len(labels)} items of the database is relevant to any of the {count} "
            "queries: give a database that shares labels with them"
        )
    return count


def measure(codes: np.ndarray, asked: Asked, modality: Modality) -> Retrieval:
    """Rank a database's items of one modality for queries f32[m, K].

    Raises:
      InputError: their codes are not of one length.
    """
    others = asked.codes.image if modality == "image" else asked.codes.text
    bits = others.shape[1]
    if codes.shape[1] != bits:
        raise InputError(
            f"queries of {codes.shape[1]} bits cannot ask a database of {bits} bits: hash both "
            "with one victim"
        )
    by, labels = asked.by, (asked.query_labels, asked.labels)
    return retrieval(by.keep(codes), by.keep(others), *labels, bits=bits, by=by)


def check_alike(one: CrossModalHasher, other: CrossModalHasher, names: str) -> None:
    """Check that two victims can be shown the same pictures and texts.

    Raises:
      InputError: they cannot; `names` says whose they are.
    """
    for what in ("image_shape", "tags", "classes", "reader"):
        if getattr(one, what) != getattr(other, what):
            raise InputError(
                f"victims {names} differ in their {what.replace('_', ' ')}: evaluate them one by "
                "one"
            )
