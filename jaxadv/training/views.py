"""Views of photographs: the crops and mirror images that a frozen backbone sees once.

A decoder or a head over a frozen backbone is trained on precomputed features, so that augmentation
has to happen before: a few views of each photograph are drawn, and a training step reads one of
them.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from jax import Array

from jaxadv.data.images import resize
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import Record

CROPS = 2
"""Number of random crops of each photograph, in addition to the whole."""
VIEWS = 2 * (1 + CROPS)
"""Number of views: the whole and the crops, then their mirror images."""
LEAST, MOST = 0.7, 0.95
"""Range of a crop's side, relative to the photograph's."""
SIDES = frozenset(("left", "right"))
"""Words that a mirror image makes wrong."""

SEEN_TOGETHER = 4  # photographs in a batch of the frozen backbone


def views(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the views of a photograph.

    Args:
      picture: f32[H, W, 3] in [0, 1].
      rng: draws the crops.

    Returns:
      f32[VIEWS, H, W, 3]; the first is the photograph itself, and the second half are the mirror
      images of the first half.
    """
    height, width, _ = picture.shape
    shown = [picture]
    for _ in range(CROPS):
        share = rng.uniform(LEAST, MOST)
        tall, wide = round(share * height), round(share * width)
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        shown.append(resize(picture[top : top + tall, left : left + wide], (height, width)))
    stacked = np.stack(shown)
    return np.concatenate([stacked, stacked[:, :, ::-1]])


def see_views(
    see: Callable[[np.ndarray], Array],
    photos: Sequence[Record],
    shape: tuple[int, int],
    seed: int,
    count: int = VIEWS,
) -> Iterator[np.ndarray]:
    """Compute the features of the first views of each photograph.

    Args:
      see: `images f32[b, H, W, 3] -> features [b, ...]`, the frozen backbone.
      photos: the photographs.
      shape: (H, W) that pictures are resized to.
      seed: random seed of the crops.
      count: number of views; 1 is the photograph alone.

    Yields:
      f16[count, ...] for each photograph, in order. Half precision halves the memory; its rounding,
      5e-4 of a feature, is far below what a crop changes.
    """
    rng = np.random.default_rng(seed)
    pictures = read_pictures(photos, shape)
    for _ in range(0, len(photos), SEEN_TOGETHER):
        some = [views(p, rng)[:count] for p in islice(pictures, SEEN_TOGETHER)]
        seen = np.asarray(see(np.concatenate(some)), np.float16)
        yield from seen.reshape(len(some), count, *seen.shape[1:])


def views_of_caption(caption: str, count: int) -> int:
    """Return how many of the first `count` views a caption describes.

    >>> views_of_caption("a dog runs", 6), views_of_caption("a dog on the left", 6)
    (6, 3)
    """
    return -(-count // 2) if SIDES & set(caption.lower().split()) else count
