"""Pairs of a picture and a text with labels: what cross-modal hashers learn from.

Two pairs are **similar** if they share a label (CMLA, Li et al. 2019, section 3.1). On scenes the
labels are the six **shapes**, so that of two random pairs 0.47 are similar; random codes have a MAP
of about that. (In the papers' sets of 21 and 24 labels it is of the same order.) The 48 coloured
shapes that taggers say would not do: random pairs share one in 8 of 100 cases, a bag of words does
not tell which colour belongs to which shape, and 32 bits cannot say what three of 48 share with
what: codes fitted to the labels themselves had a MAP of 0.64, and codes fitted to bags 0.41.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data import scenes
from jaxadv.data.images import resize
from jaxadv.errors import InputError

SCENE_TAGS: tuple[str, ...] = scenes.TAGS
SCENE_CLASSES: tuple[str, ...] = scenes.SHAPES


Read = Callable[[str], np.ndarray]
"""Turns a text into what a victim takes, such as tokens i32[length]."""


class PairsError(InputError):
    """Pairs that do not fit together, or not the hasher."""


class Pairs(NamedTuple):
    """Pictures with their texts and labels, one row each.

    Attributes:
      pictures: u8[n, H, W, 3]; or published features f32[n, d] in [0, 1].
      texts: bags of words f32[n, T], 1 where a word is given (an attacked text has values between);
        or tokens i32[n, length], for a retriever that reads sequences.
      labels: bool[n, c].
      ids: n names.
      classes: c names of labels.
    """

    pictures: np.ndarray
    texts: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    classes: tuple[str, ...]


def scene_pairs(
    seed: int, count: int, start: int = 0, side: int = scenes.SIDE, read: Read | None = None
) -> Pairs:
    """Draw `count` scenes of the sequence `seed` from number `start` on, pictures of that side.

    A scene's text is the bag of its tags; or its caption, for `read`.

    >>> pairs = scene_pairs(0, 3)
    >>> pairs.pictures.shape, pairs.texts.shape, pairs.labels.shape
    ((3, 64, 64, 3), (3, 22), (3, 6))
    >>> pairs.ids
    ('scene-0-0', 'scene-0-1', 'scene-0-2')
    """
    pictures = np.empty((count, side, side, 3), np.uint8)
    tags = np.empty((count, len(SCENE_TAGS)), np.float32)
    ids, texts = [], []
    for row, example in enumerate(scenes.examples(seed, count, start)):
        pictures[row] = np.round(255 * resize(example.picture, (side, side)))
        tags[row] = example.tags
        ids.append(example.id)
        if read is not None:
            assert example.captions is not None  # scenes of so few objects have them
            texts.append(read(example.captions[0]))
    places = [SCENE_TAGS.index(name) for name in SCENE_CLASSES]
    said = np.stack(texts) if texts else tags
    return Pairs(pictures, said, tags[:, places] > 0, tuple(ids), SCENE_CLASSES)


def as_examples(pictures: Any) -> Any:
    """Return the pictures of pairs as victims take them, f32 in [0, 1]; features as they are."""
    return pictures * np.float32(1 / 255) if pictures.dtype == np.uint8 else pictures


def similar(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether pairs share a label: S, bool[n, m], of labels bool[n, c] and bool[m, c].

    >>> similar(np.array([[True, False]]), np.array([[True, True], [False, True]]))
    array([[ True, False]])
    """
    return labels.astype(np.float32) @ others.astype(np.float32).T > 0


def take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return some rows, in that order."""
    names = tuple(pairs.ids[row] for row in rows)
    some = (pairs.pictures[rows], pairs.texts[rows], pairs.labels[rows])
    return Pairs(*some, names, pairs.classes)


def join(*parts: Pairs) -> Pairs:
    """Stack pairs of the same kind, rows kept together.

    Raises:
      PairsError: their pictures or texts are not of one size, or their classes differ.
    """
    first = parts[0]
    for other in parts[1:]:
        if other.classes != first.classes:
            raise PairsError(f"labels of {other.classes} cannot join those of {first.classes}")
        for what in ("pictures", "texts"):
            wanted, got = getattr(first, what).shape[1:], getattr(other, what).shape[1:]
            if got != wanted:
                raise PairsError(f"{what} of shape {got} cannot join those of shape {wanted}")
    return Pairs(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(name for part in parts for name in part.ids),
        first.classes,
    )


def check_pairs(pairs: Pairs, text_shape: tuple[int], classes: tuple[str, ...]) -> None:
    """Check that pairs fit each other and a hasher.

    Args:
      pairs: pairs.
      text_shape: of a text as the hasher takes it.
      classes: the hasher's; none where it takes any.

    Raises:
      PairsError: one line that names what does not fit, and the pair where it is one.
    """
    count = len(pairs.pictures)
    for what, wanted in (
        ("texts", (count, *text_shape)),
        ("labels", (count, len(pairs.classes))),
        ("ids", (count,)),
    ):
        got = np.shape(getattr(pairs, what))
        if got != wanted:
            raise PairsError(f"{what} of shape {got}: {count} pictures need shape {wanted}")
    if classes and pairs.classes != classes:
        raise PairsError(f"classes {pairs.classes}: the hasher's are {classes}")
    are_bags = pairs.texts.dtype.kind == "f"
    outside = np.flatnonzero(are_bags & ~((pairs.texts >= 0) & (pairs.texts <= 1)).all(axis=1))
    if len(outside):
        raise PairsError(f"texts: the bag of {pairs.ids[outside[0]]} must be between 0 and 1")
    without = np.flatnonzero(~pairs.labels.any(axis=1))
    if len(without):
        raise PairsError(
            f"{pairs.ids[without[0]]} has no label ({len(without)} of {count} have none): nothing "
            "can be similar to it; leave it out"
        )
