"""Attacks under way, kept by Orbax now and then: an interrupted sweep resumes in their midst.

What is kept has a digest: where it is damaged, its attacks begin again. What is through is in the
store; this is for attacks that take long by themselves, of which a kill would lose hours. The
folder is gone when nothing runs any more. Of processes that found each other by `jax.distributed`
Orbax lets the first alone write host arrays: there nothing is kept, and what was under way begins
again. (`--shard` has no such processes.)
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxadv.experiments.lines import StoreError

SECONDS = 120.0


class Running:
    """The attacks of one cell that are under way (a `stream.Keeper`).

    Args:
      folder: where they are kept.
      seconds: the least time between two times that they are.

    Attributes:
      damaged: whether what an interrupted run left could not be used: its attacks begin again.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        """Read what an interrupted run left."""
        self._folder, self._seconds = folder.absolute(), seconds
        self._since = time.monotonic()
        self._kept: dict[int, list[np.ndarray]] = {}
        self.damaged = False
        if found := self._saved():
            try:
                kept: Any = ocp.load(self._folder / str(max(found)))
                ids = np.asarray(kept["ids"])
                leaves = _unpacked(kept["leaves"], kept.get("empty", {}))
                self.damaged = _digest(ids, leaves) != np.asarray(kept["digest"]).tobytes()
            except Exception:  # Orbax and what it reads with have no error of their own for damage
                self.damaged = True
            if not self.damaged:
                for row, number in enumerate(ids):
                    self._kept[int(number)] = [leaf[row] for leaf in leaves]

    def _saved(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]

    def recall(self, number: int) -> list[np.ndarray] | None:
        """Return where an attack stood, as the leaves of its `Course`; once."""
        return self._kept.pop(number, None)

    def due(self) -> bool:
        """Return whether it is time to keep them."""
        return time.monotonic() - self._since >= self._seconds

    def keep(self, courses: Mapping[int, Sequence[np.ndarray]]) -> None:
        """Keep where attacks stand, by number, in place of what was kept before.

        Raises:
          StoreError: the folder cannot be written.
        """
        self._since = time.monotonic()
        before = self._saved()
        courses = {**self._of_the_same_kind(courses), **courses}
        stacked = [np.stack(column) for column in zip(*courses.values(), strict=True)]
        ids = np.array(list(courses), np.int64)
        kept = {
            "ids": ids,
            **_packed(stacked),
            "digest": np.frombuffer(_digest(ids, stacked), np.uint8),
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            ocp.save(self._folder / str(max(before, default=-1) + 1), kept)  # whole or not at all
        except (OSError, ValueError) as problem:  # TensorStore reports full disks as the latter
            reason = str(problem).splitlines()[0]
            raise StoreError(f"{self._folder}: cannot be written ({reason})") from None
        for number in before:
            shutil.rmtree(self._folder / str(number), ignore_errors=True)

    def _of_the_same_kind(
        self, courses: Mapping[int, Sequence[np.ndarray]]
    ) -> dict[int, Sequence[np.ndarray]]:
        """Return what an earlier run left and nobody has recalled yet, unless it cannot be used."""

        def kind(leaves: Sequence[np.ndarray]) -> list[tuple[Any, Any]]:
            return [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]

        wanted = kind(next(iter(courses.values())))
        return {number: leaves for number, leaves in self._kept.items() if kind(leaves) == wanted}

    def forget(self) -> None:
        """Leave nothing behind: all are through."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others' may be there
            self._folder.parent.rmdir()


def _packed(leaves: Sequence[np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Name arrays by their places; Orbax takes none without entries, so a text stands for these."""
    empty = {str(i): leaf for i, leaf in enumerate(leaves) if not leaf.size}
    texts = {i: json.dumps([x.dtype.str, x.shape]).encode() for i, x in empty.items()}
    return {
        "leaves": {str(i): leaf for i, leaf in enumerate(leaves) if leaf.size},
        "empty": {i: np.frombuffer(text, np.uint8) for i, text in texts.items()},
    }


def _unpacked(leaves: Mapping[str, Any], empty: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the arrays in the order of their places."""
    found = {int(i): np.asarray(leaf) for i, leaf in leaves.items()}
    for i, text in empty.items():
        dtype, shape = json.loads(np.asarray(text).tobytes())
        found[int(i)] = np.zeros(shape, dtype)
    return [found[i] for i in range(len(found))]


def _digest(ids: np.ndarray, leaves: Sequence[np.ndarray]) -> bytes:
    """Return what stands for the kept arrays: their types, shapes and bytes."""
    found = hashlib.sha256()
    for array in (ids, *leaves):
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()
