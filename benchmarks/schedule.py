"""How well a sweep on a cluster keeps its workers at work, simulated with the sweep's own pieces.

    python -m benchmarks.schedule --cells 24 --attacks 35000 --workers 64 --slots 50 --steps 50 \
        --step-seconds 1.0 --compile-seconds 60

Each worker takes pieces as `jaxadv.experiments.on_ray` gives them out, compiles a cell that is new
to it, and fails at random times; its piece is then made again, and a new worker starts. Nothing is
attacked: the seconds of a step and of a compilation are those of `jaxadv sweep FILE --dry-run`.
"""

import argparse
import heapq
import random
from collections.abc import Sequence
from typing import NamedTuple

from jaxadv.experiments.pieces import Piece, Pieces, cut


class Costs(NamedTuple):
    """Seconds that a worker takes.

    Attributes:
      piece: to make a piece, all its steps.
      compiling: before its first piece of a cell.
      starting: after a failure, before it takes a piece.
      between_failures: on average, between two failures of one worker.
    """

    piece: float
    compiling: float
    starting: float
    between_failures: float


class Schedule(NamedTuple):
    """How a sweep went: its hours, and the shares of the workers' time.

    Attributes:
      hours: from the first piece to the last record.
      made: pieces that counted.
      compiling: compilations of these.
      lost: failures: pieces begun in vain, and workers that start.
      idle: nothing to do but what another worker is making already.
    """

    hours: float
    made: float
    compiling: float
    lost: float
    idle: float


class _Work(NamedTuple):
    """What a worker is at."""

    piece: Piece
    since: float
    compiling: float


def simulate(
    cells: Sequence[int], workers: int, slots: int, costs: Costs, seed: int = 0
) -> Schedule:
    """Give a sweep's pieces to workers that fail at random.

    Args:
      cells: the number of attacks of each cell.
      workers: how many there are.
      slots: attacks of a piece.
      costs: what they take.
      seed: of the failures.

    Example:
      >>> costs = Costs(piece=60, compiling=30, starting=30, between_failures=36_000)
      >>> simulate([100], workers=2, slots=50, costs=costs)
      Schedule(hours=0.025, made=0.667, compiling=0.333, lost=0.0, idle=0.0)
    """
    rng = random.Random(seed)
    pieces = Pieces(p for c, n in enumerate(cells) for p in cut(str(c), "", range(n), slots))
    compiled: list[set[str]] = [set() for _ in range(workers)]
    fails = [rng.expovariate(1 / costs.between_failures) for _ in range(workers)]
    work: dict[int, _Work] = {}
    free = set(range(workers))
    made: set[Piece] = set()
    spent = dict.fromkeys(("made", "compiling", "lost"), 0.0)
    events: list[tuple[float, int]] = []
    now = 0.0
    while pieces:
        for worker in sorted(free):
            if (piece := pieces.next(worker)) is None:
                break
            free.discard(worker)
            compiling = 0.0 if piece.cell in compiled[worker] else costs.compiling
            work[worker] = _Work(piece, now, compiling)
            ends = now + compiling + costs.piece
            heapq.heappush(events, (min(ends, max(fails[worker], now)), worker))
        now, worker = heapq.heappop(events)
        if worker not in work:  # it has started again
            free.add(worker)
            continue
        piece, since, compiling = work.pop(worker)
        if now < since + compiling + costs.piece:
            pieces.lost(worker)
            compiled[worker].clear()
            spent["lost"] += now - since + costs.starting
            again = now + costs.starting
            fails[worker] = again + rng.expovariate(1 / costs.between_failures)
            heapq.heappush(events, (again, worker))
            continue
        if piece not in made:
            spent["compiling"] += compiling
            spent["made"] += costs.piece
        made.add(pieces.made(worker))
        compiled[worker].add(piece.cell)
        free.add(worker)
    shares = {name: round(seconds / (workers * now), 3) for name, seconds in spent.items()}
    return Schedule(round(now / 3600, 3), **shares, idle=round(1 - sum(shares.values()), 3))


def main() -> None:
    """Print the schedule of a sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--attacks", type=int, default=35_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--slots", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step-seconds", type=float, required=True)
    parser.add_argument("--compile-seconds", type=float, required=True)
    parser.add_argument("--failures-an-hour", type=float, default=1.0, help="of all workers")
    given = parser.parse_args()
    each = [len(range(cell, given.attacks, given.cells)) for cell in range(given.cells)]
    costs = Costs(
        piece=given.steps * given.step_seconds,
        compiling=given.compile_seconds,
        starting=given.compile_seconds,
        between_failures=3600 * given.workers / given.failures_an_hour,
    )
    found = simulate(each, given.workers, given.slots, costs)
    for name, value in found._asdict().items():
        print(f"{name:10} {value:.3f}")


if __name__ == "__main__":
    main()
