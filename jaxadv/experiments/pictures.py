"""The pictures that a victim is attacked on: ones it was not trained on, at its resolution."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.data import scenes
from jaxadv.data.images import read_image, resize
from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, Record, captioned, load
from jaxadv.victims.zoo import Victim


class Picture(NamedTuple):
    """A picture that is loaded when it is needed.

    Attributes:
      id: unique in its data set.
      load: gives f32[H, W, 3] in [0, 1]; an `ImageError` if the file is no picture.
    """

    id: str
    load: Callable[[], np.ndarray]


def held_out(victim: Victim, data: Sequence[str], count: int) -> list[Picture]:
    """List pictures that a captioner was not trained on, those to attack first.

    Others follow, so that there are captions to aim at: all photographs, or as many scenes.

    Args:
      victim: says in its record which photographs were held out.
      data: "scenes", or folders and prepared sets (`open_data`).
      count: how many are attacked.

    Raises:
      FolderError: there are fewer photographs.
    """
    shape = victim.captioner.image_shape[:2]
    if list(data) == ["scenes"]:
        drawn = range(max(2 * count, 200))
        return [Picture(f"scene-{i}", partial(_scene, i, shape)) for i in drawn]
    photos = captioned(open_data(data)).records
    known = victim.record.get("held_out")
    if known is not None:
        aside = set(known)
        photos = tuple(photo for photo in photos if photo.id in aside)
    if len(photos) < count:
        raise FolderError(f"{count} pictures asked for: there are {len(photos)} held-out ones")
    return [Picture(photo.id, partial(_photo, photo, shape)) for photo in photos]


def _scene(index: int, shape: tuple[int, int]) -> np.ndarray:
    return resize(scenes.example(scenes.HELD_OUT_SEED, index).picture, shape)


def _photo(photo: Record, shape: tuple[int, int]) -> np.ndarray:
    return resize(load(photo), shape)


def read_resized(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a picture at a resolution."""
    return resize(read_image(path), shape)
