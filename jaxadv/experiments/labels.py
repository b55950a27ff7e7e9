"""Many attacks on a tagger: labels specified as the TkMIA paper does, its tables' rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.data.label_types import EVERY
from jaxadv.labels.classifier import first_labels
from jaxadv.labels.ranking import in_top
from jaxadv.labels.target import LabelError, LabelTarget, is_valid, specify_global, specify_random


class Selection(NamedTuple):
    """Which pictures are attacked, and why others are not.

    Attributes:
      numbers: i64[n], of the pictures.
      targets: what to aim at, stacked.
      left_out: how many pictures were left out, by reason.
    """

    numbers: np.ndarray
    targets: LabelTarget
    left_out: dict[str, int]


def labels_of_type(name: str, classes: Sequence[str]) -> np.ndarray:
    """Return which labels are of a type, bool[c], to suppress everywhere.

    A type is one of the paper's Tables 6-8 (`data.label_types`), for victims that know all of its
    labels, or else a word: all labels that have it.

    >>> labels_of_type("red", ("red circle", "blue circle", "red star")).tolist()
    [True, False, True]

    Raises:
      LabelError: no label is of that type.
    """
    name = " ".join(name.lower().split())
    known = {label.lower() for label in classes}
    for types in EVERY:
        if name in types and known.issuperset(types[name]):
            return np.array([label.lower() in types[name] for label in classes])
    found = np.array([name in label.lower().split() for label in classes])
    if not found.any():
        raise LabelError(f"no label is of type {name!r}, and none has that word")
    return found


def choose(
    labels: np.ndarray,
    k: int,
    *,
    wanted: np.ndarray | None = None,
    number: int = 1,
    delta: int | None = None,
    scores: np.ndarray | None = None,
    most: int | None = None,
    seed: int = 0,
) -> Selection:
    """Specify labels and keep the pictures that the paper attacks: `|Y| >= k + |S|`, S not empty.

    The paper draws S from "ground-truth labels" (section 4.2), so that some of S may be out of the
    first k before the attack, which then counts as a success. Its released code asks the victim
    first: with `scores`, S2 draws from the relevant labels among the first k of the benign
    picture, of which there must be `number`, and S1 leaves out pictures where no label of S is
    among them. Section 5.1's "specified categories in the top-k set" reads like the code.

    Args:
      labels: bool[n, c], Y of each picture.
      k: how many labels count as said.
      wanted: bool[c], the labels to suppress everywhere (global selection, S1); None draws
        `number` of each picture's own (random selection, S2).
      number: the paper's m.
      delta: labels that must leave the first k; pictures with fewer in S are left out.
      scores: f32[n, c], logits of the benign pictures, to choose as the released code does.
      most: stop at this number of valid pictures (paper: 1000); those after them are not counted.
      seed: of the random selection; a picture's draw does not depend on the other pictures.
    """
    relevant = jnp.asarray(labels)
    said = relevant
    if scores is not None:
        said = relevant & jax.vmap(in_top, in_axes=(0, None))(jnp.asarray(scores), k)
    if wanted is None:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            jax.random.key(seed), jnp.arange(len(labels))
        )
        specified = jax.vmap(specify_random, in_axes=(0, None, 0))(said, number, keys)
        drawn = specified.sum(axis=1) == jnp.minimum(number, relevant.sum(axis=1))
    else:
        specified = jax.vmap(specify_global, in_axes=(0, None))(relevant, jnp.asarray(wanted))
        drawn = (specified & said).any(axis=1)
    targets = LabelTarget(relevant, specified, jnp.full(len(labels), k, jnp.int32))
    empty = ~specified.any(axis=1)
    enough = specified.sum(axis=1) >= (delta or 0)
    valid = np.asarray(jax.vmap(is_valid)(targets) & drawn & enough)
    reasons = np.select(
        [empty & (scores is None), ~drawn, ~enough],
        [
            "no specified label",
            "too few specified labels among the first k",
            f"fewer than {delta} specified labels",
        ],
        "too few relevant labels",
    )
    numbers = np.flatnonzero(valid)[:most]
    looked_at = len(labels) if most is None or len(numbers) < most else int(numbers[-1]) + 1
    kept: LabelTarget = jax.tree.map(lambda x: x[numbers], targets)
    return Selection(numbers, kept, dict(Counter(reasons[:looked_at][~valid[:looked_at]].tolist())))


def named(mask: Any, classes: Sequence[str]) -> list[str]:
    """Name the labels of a mask bool[c]."""
    return [name for name, here in zip(classes, np.asarray(mask), strict=True) if here]


def first(logits: Any, classes: Sequence[str], k: int) -> list[str]:
    """Name the k labels of the highest logits f32[c], the highest first."""
    return [classes[i] for i in first_labels(logits, k)]
