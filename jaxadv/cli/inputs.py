"""What several commands take in the same way: pictures, and the folder to write to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.cli.console import fail
from jaxadv.data.images import ImageError, read_image, resize
from jaxadv.errors import InputError


class Picture(NamedTuple):
    """A picture as the victim sees it, and the file it came from."""

    path: Path
    image: np.ndarray


def writable(folder: Path) -> Path:
    """Make the folder for a command's results, before the work that they take.

    Raises:
      InputError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise InputError(f"--out {folder}: cannot write there ({problem.strerror})") from None
    return folder


def victim_folder(out: Path, name: str) -> Path:
    """Return where the victim of that name goes, made ready to be written.

    Raises:
      InputError: the name would lead elsewhere, or nothing can be written there.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise InputError(f"--name {name!r}: give a plain name; its folder is --out {out}")
    return writable(out) / name


def read_pictures(paths: Sequence[Path], image_shape: tuple[int, ...]) -> list[Picture]:
    """Read what can be read, at the victim's resolution; say of each other file what is wrong.

    Raises:
      ImageError: no picture could be read.
      InputError: the victim takes published features, not pictures.
    """
    if len(image_shape) != 3:
        raise InputError(f"the victim takes {image_shape[0]} features of a picture, not pictures")
    pictures = []
    for path in paths:
        try:
            pictures.append(
                Picture(path, resize(read_image(path), (image_shape[0], image_shape[1])))
            )
        except ImageError as problem:
            fail(str(problem))
    if not pictures:
        raise ImageError(f"none of the {len(paths)} pictures could be read")
    return pictures
