"""Where the pictures of a table on taggers come from: crowded scenes, or labelled photographs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxadv.data import scenes
from jaxadv.data.images import resize
from jaxadv.data.records import DataSet, FolderError, Record, label_matrix, load
from jaxadv.errors import InputError
from jaxadv.formats.errors import listed
from jaxadv.labels.classifier import MultiLabelClassifier, Params


class Pool(NamedTuple):
    """Pictures to choose from, which are read only when they are attacked.

    Attributes:
      ids: of each picture.
      labels: bool[n, c], Y of each, in the order of the victim's classes.
      read: the picture of that number, f32[H, W, 3].
    """

    ids: list[str]
    labels: np.ndarray
    read: Callable[[int], np.ndarray]


def scene_pool(count: int, first: int = 0) -> Pool:
    """Draw held-out crowded scenes, from that number on."""
    drawn = [scenes.crowd(scenes.HELD_OUT_SEED, first + index) for index in range(count)]
    labels = np.array([e.labels for e in drawn], bool).reshape(count, len(scenes.LABELS))
    return Pool([e.id for e in drawn], labels, lambda number: drawn[number].picture)


def photo_pools(
    found: DataSet,
    classes: Sequence[str],
    side: int,
    held_out: Sequence[str] | None,
    most: int | None = None,
) -> tuple[Pool, Pool]:
    """Part photographs into those to attack and the others, which a search may use.

    Args:
      found: photographs with labels, and their classes.
      classes: the victim's, in its order.
      side: of its pictures, in pixels.
      held_out: ids of the photographs that the victim was not trained on; None where nobody knows,
        and all are attacked.
      most: of those to attack.

    Raises:
      FolderError: the victim's classes are not the photographs', or none of these was held out.
    """
    theirs = found.classes or ()
    if odd := sorted(set(theirs) ^ set(classes)):
        whose = "the victim" if odd[0] in classes else "the photographs"
        raise FolderError(
            f"the victim's {len(classes)} classes are not the photographs' {len(theirs)}: "
            f"{odd[0]!r} is only of {whose}"
        )
    aside = set(p.id for p in found.records) if held_out is None else set(held_out)
    attacked = [p for p in found.records if p.id in aside][:most]
    if not attacked:
        raise FolderError("none of the photographs was held out when the victim was trained")
    others = [p for p in found.records if p.id not in aside]
    ordered = found._replace(classes=tuple(classes))
    return _photos(ordered, attacked, side), _photos(ordered, others, side)


def _photos(data: DataSet, photos: list[Record], side: int) -> Pool:
    def read(number: int) -> np.ndarray:
        return resize(load(photos[number]), (side, side))

    labels = label_matrix(data._replace(records=tuple(photos)))
    return Pool([p.id for p in photos], labels, read)


def benign_scores(
    victim: MultiLabelClassifier, params: Params, pool: Pool, batch: int = 50
) -> np.ndarray:
    """Ask the victim about every picture of a pool; its logits, f32[n, c].

    Raises:
      InputError: those of a picture are not finite.
    """
    score = jax.jit(jax.vmap(victim.logits, in_axes=(None, 0)))
    found = [np.zeros((0, len(victim.classes)), np.float32)]
    for start in range(0, len(pool.ids), batch):
        some = range(start, min(start + batch, len(pool.ids)))
        found.append(np.asarray(score(params, np.stack([pool.read(i) for i in some]))))
    logits = np.concatenate(found)
    odd = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if odd.size:
        raise InputError(
            f"the victim's scores of {odd.size} pictures are not finite: "
            f"{listed(pool.ids[int(i)] for i in odd)}"
        )
    return logits
