"""The pictures of a page: copied into its folder, or embedded where they are few."""

import base64
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.data.images import ImageError, check_image, read_image, write_png
from jaxadv.reports.drawing import NOISE, noise_in_colours
from jaxadv.reports.page.content import Attack

MOST_EMBEDDED = 8 << 20  # bytes of pictures inside a page


class Seen(NamedTuple):
    """The pictures of a row.

    Attributes:
      benign, noise, adversarial: names of files in the album; "" where there is none.
      scale: says how the noise is drawn.
      missing: why a picture is missing; "" where none is.
    """

    benign: str = ""
    noise: str = ""
    adversarial: str = ""
    scale: str = ""
    missing: str = ""


class Added(NamedTuple):
    """How far an album is.

    Attributes:
      done: rows whose pictures are in it.
      total: rows.
      message: which row was the last.
      seen: its pictures.
    """

    done: int
    total: int
    message: str
    seen: Seen


class Album:
    """A folder of a page's pictures, each once, under names that are safe in an address.

    Args:
      folder: where they are put; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[Path, str] = {}

    def fill(self, attacks: Sequence[Attack]) -> Iterator[Added]:
        """Put the pictures of rows into the album, one row at a time."""
        for number, attack in enumerate(attacks):
            seen = self.add(number, attack)
            yield Added(number + 1, len(attacks), attack.image, seen)

    def add(self, number: int, attack: Attack) -> Seen:
        """Put a row's pictures into the album, and draw its noise.

        Args:
          number: of the row.
          attack: the row.
        """
        problems: list[str] = []
        benign = self._read(attack.benign, problems)
        adversarial = self._read(attack.adversarial, problems)
        seen = Seen(
            self._put(attack.benign, benign, f"{number}-benign.png"),
            "",
            self._put(attack.adversarial, adversarial, f"{number}-adversarial.png"),
            missing="; ".join(problems),
        )
        if benign is None or adversarial is None or benign.shape != adversarial.shape:
            return seen
        colours, times = noise_in_colours(adversarial - benign)
        name = f"{number}-noise.png"
        write_png(self.folder / name, colours)
        return seen._replace(noise=name, scale=NOISE.format(times))

    def _read(self, path: Path | None, problems: list[str]) -> np.ndarray | None:
        if path is None:
            return None
        try:
            if path.suffix != ".npy":
                return read_image(path)
            found = np.load(path, allow_pickle=False)
            return check_image(found) if found.ndim == 3 else None
        except (ImageError, OSError, ValueError, EOFError) as problem:
            said = str(problem) if isinstance(problem, ImageError) else "damaged"
            problems.append(f"{path.name}: {said.removeprefix(f'{path}: ')}")
            return None

    def _put(self, path: Path | None, picture: np.ndarray | None, name: str) -> str:
        """Return the name of a picture that could be read, which is put there at first."""
        if path is None or picture is None:
            return ""
        if path not in self._names:
            self.folder.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".png":
                _copy(path, self.folder / name)
            else:
                write_png(self.folder / name, picture)
            self._names[path] = name
        return self._names[path]

    def size(self) -> int:
        """Return how many bytes the pictures take."""
        return sum(path.stat().st_size for path in self.folder.glob("*.png"))

    def embedded(self, names: list[str], most: int = MOST_EMBEDDED) -> dict[str, str]:
        """Return pictures as addresses that hold them, the first that fit, by name."""
        found: dict[str, str] = {}
        left = most
        for name in dict.fromkeys(filter(None, names)):
            contents = (self.folder / name).read_bytes()
            left -= len(contents)
            if left < 0:
                break
            found[name] = as_address(contents)
        return found


def as_address(contents: bytes, kind: str = "image/png") -> str:
    """Return an address that holds a picture."""
    return f"data:{kind};base64,{base64.b64encode(contents).decode()}"


def _copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot."""
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copyfile(source, target)
