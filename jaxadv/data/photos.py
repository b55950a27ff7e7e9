"""Photographs of any data set with what people say of them, as recipes and sweeps want them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data.example import Box
from jaxadv.data.opening import open_data
from jaxadv.data.records import DataSet, FolderError, join, labelled

__all__ = ["FolderError", "Photo", "PhotoSet", "captioned", "read_labelled", "read_photos"]


class Photo(NamedTuple):
    """A photograph and what people say of it.

    Attributes:
      id: unique in its data set.
      path: what `read_image` reads: a file, or a picture inside a prepared set.
      captions: none where the data set has none of it.
      labels: the classes that are there, in the data set's order; None where nobody looked.
      boxes: one an object, in pixels of the file as it is stored; None where nobody looked.
    """

    id: str
    path: Any
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    boxes: tuple[Box, ...] | None = None


class PhotoSet(NamedTuple):
    """Photographs, and all classes that their labels are of, in the data set's order."""

    photos: list[Photo]
    classes: tuple[str, ...] | None


def read_photos(source: Path) -> list[Photo]:
    """List the photographs of a folder, or of a prepared set; see `open_data`."""
    return read_photo_set(source).photos


def read_photo_set(source: Path) -> PhotoSet:
    """List the photographs of a folder or of a prepared set, and its classes.

    Raises:
      FolderError: see `open_data`.
    """
    return _photos(open_data(str(source)))


def captioned(photos: Sequence[Photo]) -> list[Photo]:
    """Keep the photographs with captions.

    Raises:
      FolderError: there is none.
    """
    kept = [p for p in photos if p.captions]
    if not kept:
        raise FolderError(f"none of {len(photos)} photographs has captions")
    return kept


def read_labelled(sources: Sequence[Path]) -> PhotoSet:
    """List the photographs with labels of several sets that have the same classes.

    A picture that is in several (by its id, or the name of its file) is listed once, as the first
    has it.

    Raises:
      FolderError: a set that cannot be read, has no labels, or has other classes.
    """
    return _photos(join([labelled(open_data(str(source))) for source in sources]))


def label_matrix(photos: Sequence[Photo], classes: Sequence[str]) -> np.ndarray:
    """Return which of the classes each photograph shows, bool[n, c].

    >>> label_matrix([Photo("1", Path("1.jpg"), labels=("cat",))], ("dog", "cat")).tolist()
    [[False, True]]
    """
    there = [[name in (p.labels or ()) for name in classes] for p in photos]
    return np.array(there, bool).reshape(len(photos), len(classes))


def _photos(data: DataSet) -> PhotoSet:
    photos = [Photo(r.id, r.picture, r.captions or (), r.labels, r.boxes) for r in data.records]
    return PhotoSet(photos, data.classes)
