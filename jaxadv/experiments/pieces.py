"""Which worker makes which piece of a sweep: plain data, no worker of any kind.

A piece is as many attacks of one compiled cell as a device makes at once. Workers take them as they
come free, so that a slow one takes fewer. A worker that is lost gives its piece back. When nothing
is waiting any more, those that are free make what others are still making, too: what comes first
counts, so the end waits for nobody.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_LOSSES = 5
"""How often a piece may lose its worker; more than that, and the piece is what ends them."""


class Piece(NamedTuple):
    """Attacks that are made at once.

    Attributes:
      cell: the digest of the longest of the cells that share them.
      victim: whom they attack.
      ids: their numbers.
    """

    cell: str
    victim: str
    ids: tuple[int, ...]


_NONE = Piece("", "", ())


def cut(cell: str, victim: str, ids: Sequence[int], slots: int) -> list[Piece]:
    """Cut a cell's attacks into pieces of as many as there are slots, in their order."""
    return [
        Piece(cell, victim, tuple(ids[start : start + slots]))
        for start in range(0, len(ids), slots)
    ]


class Lost(Exception):
    """A piece whose workers are lost again and again."""


class Pieces:
    """The pieces that are not made yet, and which worker, by number, is at which.

    Args:
      pieces: what is to be made.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        """Let all of them wait."""
        self._waiting = list(pieces)
        self._open = set(self._waiting)  # not made by anyone
        self._at: dict[int, Piece] = {}  # the longest under way first
        self._last: dict[int, Piece] = {}
        self._losses: Counter[Piece] = Counter()

    def __bool__(self) -> bool:
        """Return whether anything is still to be made."""
        return bool(self._open)

    def next(self, worker: int) -> Piece | None:
        """Give a free worker a piece; None where others are making all of them twice already.

        Best one of the cell that it has compiled, then one of the victim that it has loaded, then
        one of the cell with most pieces a worker.
        """
        piece = self._of_waiting(worker) if self._waiting else self._second()
        if piece is not None:
            self._at[worker] = self._last[worker] = piece
        return piece

    def _of_waiting(self, worker: int) -> Piece:
        last = self._last.get(worker, _NONE)
        left = Counter(piece.cell for piece in self._waiting)
        workers = Counter(piece.cell for piece in self._at.values())

        def liking(piece: Piece) -> tuple[bool, bool, float]:
            return (
                piece.cell == last.cell,
                piece.victim == last.victim,
                left[piece.cell] / (1 + workers[piece.cell]),
            )

        piece = max(self._waiting, key=liking)
        self._waiting.remove(piece)
        return piece

    def _second(self) -> Piece | None:
        makers = Counter(self._at.values())
        alone = (p for p in self._at.values() if makers[p] == 1 and p in self._open)
        return next(alone, None)

    def made(self, worker: int) -> Piece:
        """Take note that a worker has made its piece, and return it; others may be at it, too."""
        piece = self._at.pop(worker)
        self._open.discard(piece)
        return piece

    def lost(self, worker: int) -> None:
        """Take note that a worker is lost: what it was making waits again, unless others make it.

        Raises:
          Lost: the piece lost too many.
        """
        piece = self._at.pop(worker, None)
        self._last.pop(worker, None)
        if piece not in self._open:
            return
        self._losses[piece] += 1
        if self._losses[piece] >= MOST_LOSSES:
            raise Lost(
                f"{MOST_LOSSES} workers were lost while they made attacks {piece.ids[0]} to "
                f"{piece.ids[-1]} of cell {piece.cell}"
            )
        if piece not in self._at.values():
            self._waiting.insert(0, piece)
