"""What of a sweep is recorded and what is left, for those who make its attacks."""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxadv.data.images import ImageError, write_png
from jaxadv.experiments import store
from jaxadv.experiments.lines import RESUMES, StoreError, unwritable
from jaxadv.formats.files import replacing

Pictures = Literal["none", "png", "float"]
_ENDINGS = {"png": ".png", "float": ".npy"}


class Progress(NamedTuple):
    """How far a sweep is.

    Attributes:
      done: attacks recorded, failed ones among them, also by an earlier run.
      total: attacks of this shard.
      failed: of those done, how many have no outcome.
      message: the cell, the failures and the pace, in words.
    """

    done: int
    total: int
    failed: int
    message: str


class Made(NamedTuple):
    """A record, and its pictures.

    Attributes:
      row: what is recorded: the cell, the attack's number, and what came of it.
      image: the adversarial picture f32[H, W, 3]; None where there is none.
      benign: what was attacked; None where there is no outcome.
    """

    row: Mapping[str, Any]
    image: np.ndarray | None = None
    benign: np.ndarray | None = None

    @property
    def key(self) -> store.Key:
        """Which attack this is."""
        return self.row["cell"], self.row["id"]


class Ledger:
    """Records each attack of a sweep once, whichever worker makes it and however often.

    Args:
      folder: of the records, which has its plan.
      mine: the attacks that are to be made; those that the folder holds are not made again.
      pictures: whether pictures are kept, benign and adversarial: 8-bit PNG or float32 `.npy`.

    Attributes:
      left: the attacks that are not recorded yet.
    """

    def __init__(self, folder: Path, mine: Iterable[store.Key], pictures: Pictures) -> None:
        """Read what is recorded already."""
        wanted = set(mine)
        known = store.recorded(folder)
        self.left = wanted - known.keys()
        self._total = len(wanted)
        self._failed = sum(known.get(key, False) for key in wanted)
        self._folder, self._pictures = folder, pictures
        self._before = self._total - len(self.left)
        self._began = time.perf_counter()
        self._writer = store.Writer(folder)

    def record(self, made: Made) -> bool:
        """Record an attack, its pictures first; return False where it is recorded already.

        Raises:
          StoreError: the folder cannot be written.
        """
        if made.key not in self.left:
            return False
        kept = {}
        if made.image is not None and made.benign is not None:
            kept = self._keep_benign(made.benign)
            self._keep("-".join(map(str, made.key)), made.image)
        self._writer.append({**made.row, **kept})
        self.left.discard(made.key)
        self._failed += made.row["failed"] is not None
        return True

    def progress(self, what: str) -> Progress:
        """Return how far the sweep is, with what is being done in words."""
        done = self._total - len(self.left)
        rate = (done - self._before) / (time.perf_counter() - self._began)
        words = f"{what}, {self._failed} failed, {rate:.2g} attacks/s"
        return Progress(done, self._total, self._failed, words)

    def __enter__(self) -> "Ledger":
        """Return itself; what follows may stop at any time."""
        return self

    def __exit__(self, kind: object, problem: object, trace: object) -> None:
        """Close the records' file, once it is on the disk.

        Raises:
          StoreError: the disk does not take it, and nothing else went wrong.
        """
        if kind is None:
            self._writer.close()
            return
        with contextlib.suppress(StoreError):
            self._writer.close()

    def _keep(self, name: str, image: np.ndarray) -> None:
        if self._is_kept(image):
            self._write(f"{name}{_ENDINGS[self._pictures]}", image)

    def _keep_benign(self, image: np.ndarray) -> dict[str, str]:
        """Keep what is attacked, once for all its attacks; return the column that names it."""
        if not self._is_kept(image):
            return {}
        seen = np.round(image * 255).astype(np.uint8) if self._pictures == "png" else image
        digest = hashlib.sha256(str(seen.shape).encode() + seen.tobytes()).hexdigest()[:16]
        name = f"benign-{digest}{_ENDINGS[self._pictures]}"
        if not (self._folder / "pictures" / name).exists():
            self._write(name, image)
        return {"benign_picture": name}

    def _is_kept(self, image: np.ndarray) -> bool:
        """Return whether something is kept; a text is no picture that a PNG could hold."""
        return self._pictures == "float" or (self._pictures == "png" and image.ndim == 3)

    def _write(self, name: str, image: np.ndarray) -> None:
        path = self._folder / "pictures" / name
        try:
            path.parent.mkdir(exist_ok=True)
            if path.suffix == ".png":
                write_png(path, image)
                return
            with replacing(path) as scratch, scratch.open("wb") as file:
                np.save(file, image, allow_pickle=False)
        except OSError as problem:
            raise unwritable(path, problem) from None
        except ImageError as problem:
            raise store.StoreError(f"{problem}; {RESUMES}") from None
