"""What several commands take in the same way: pictures, and the folder to write to."""

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxadv.cli.console import fail
from jaxadv.data.images import ImageError, read_image, resize
from jaxadv.errors import InputError
from jaxadv.formats.errors import listed, quoted
from jaxadv.formats.files import check_file
from jaxadv.formats.text import read_json

if TYPE_CHECKING:
    from jaxadv.victims.zoo import Victim

_LOOKED_AT = 20  # records of a folder
_LARGEST_RECORD = 1 << 24  # bytes
_LONGEST_NAME = 200  # bytes, of a victim: a scratch folder's name is longer


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


def writable_file(option: str, file: Path) -> Path:
    """Make the folder of a file that a command writes at its end.

    Raises:
      InputError: nothing can be written there, or it is a folder.
    """
    if file.is_dir() or not file.name:
        raise InputError(f"{option} {file}: a folder, where a file is expected")
    writable(file.parent)
    return file


def results_folder(folder: Path, command: str, *victims: str) -> Path:
    """Make the folder for a command's records; one that holds others is not half overwritten.

    The records are JSON files that name the `command` and the `victim`, or `victims`.

    Raises:
      InputError: nothing can be written there, or it holds results of another command or of other
        victims.
    """
    writable(folder)
    for path in itertools.islice(folder.glob("*.json"), _LOOKED_AT):
        held = _record(path)
        if held is None:
            continue
        by, names = held
        if (by or command) != command or names != set(victims):
            raise InputError(
                f"--out {folder}: holds results of {by or 'a command'} on {listed(sorted(names))}; "
                "give another folder, or empty it"
            )
    return folder


def _record(path: Path) -> tuple[str | None, set[str]] | None:
    """Return which command wrote a JSON file and on which victims; None if it is no record."""
    try:
        held = read_json(path) if check_file(path) <= _LARGEST_RECORD else None
    except InputError:
        return None
    if not isinstance(held, dict):
        return None
    by, of = held.get("command"), held.get("victims", held.get("victim"))
    names = {of} if isinstance(of, str) else of
    if not isinstance(names, list | dict | set) or not isinstance(by, str | None):
        return None
    return by, {str(name) for name in names}


def victim_folder(out: Path, name: str, force: bool, same: Mapping[str, Any] | None = None) -> Path:
    """Return where the victim of that name goes, made ready to be written.

    Args:
      out: where victims are kept.
      name: the victim's.
      force: whether one of that name is replaced.
      same: the `zoo.identity` of the victim to be written, if it is known; one with the same
        identity is replaced anyway.

    Raises:
      InputError: the name would lead elsewhere, nothing can be written there, or what is there is
        not to be replaced.
    """
    from jaxadv.victims import zoo

    if name in ("", ".", "..") or Path(name).name != name or not name.isprintable():
        raise InputError(f"--name {quoted(name)}: give a plain name; its folder is --out {out}")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise InputError(f"--name {quoted(name)}: too long; at most {_LONGEST_NAME} bytes")
    folder = writable(out) / name
    zoo.check_free(folder, force, same)
    return folder


def read_pictures(paths: Sequence[Path], image_shape: tuple[int, ...]) -> list[Picture]:
    """Read the pictures at the victim's resolution, and print what is wrong with the other files.

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


def load_captioner(name: str, unknown_words: bool) -> "Victim":
    """Load a captioner.

    Args:
      name: the victim's name or folder.
      unknown_words: whether its captions may contain the mark of unknown words.

    Raises:
      VictimError: it is missing, broken or no captioner.
    """
    from jaxadv import loading
    from jaxadv.captions.captioner import with_unknown_words

    loaded = loading.load(name)
    if not unknown_words:
        return loaded
    return loaded._replace(functions=with_unknown_words(loaded.captioner))
