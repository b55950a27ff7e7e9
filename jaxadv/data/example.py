"""The one example type that everything downstream reads: pictures with what is known of them."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """An object's bounding box, in pixels: `left <= x < right`, `top <= y < bottom`."""

    label: str
    left: float
    top: float
    right: float
    bottom: float


class Example(NamedTuple):
    """A picture and what is known of it; what a data set lacks is None, never invented.

    Attributes:
      id: unique in its data set.
      picture: f32[H, W, 3] in [0, 1], RGB.
      captions: what people (or a grammar) say of it.
      labels: bool[c], the classes that are present.
      tags: bool[w], the words of the tag vocabulary that describe it.
      boxes: one a visible object.
    """

    id: str
    picture: np.ndarray
    captions: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    tags: np.ndarray | None = None
    boxes: tuple[Box, ...] | None = None
