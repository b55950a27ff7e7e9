"""Carry out a sweep: cell after cell, what is recorded already is passed over."""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxadv import loading
from jaxadv.core.memory import Fit, largest_batch
from jaxadv.core.stream import Keeper, Request, pace
from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.environment import environment
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.job import Done, Experiment, Job, Planned, Shared, carry_out
from jaxadv.experiments.ledger import Ledger, Made, Pictures, Progress
from jaxadv.experiments.running import SECONDS, Running
from jaxadv.victims import zoo


class Shard(NamedTuple):
    """Which share of the attacks is made here: those whose number leaves `number` by `of`."""

    number: int = 0
    of: int = 1


ALL = Shard()


class Estimate(NamedTuple):
    """What a cell will take at most.

    Attributes:
      cell: the cell.
      attacks: how many are to be made.
      compile_seconds: for its one compilation (less where JAX's cache has it).
      seconds: all attacks, every one with all its steps; NaN for trainings, which are not timed.
    """

    cell: Cell
    attacks: int
    compile_seconds: float
    seconds: float


class Prepared(NamedTuple):
    """A cell, its attacks, and which weights they are made on."""

    cell: Cell
    job: Job | Experiment
    weights: str


def prepare(cells: Sequence[Cell]) -> list[Prepared]:
    """Load the victims and choose all targets.

    Raises:
      InputError: a victim, a setting or data that is not there; before anything runs.
    """
    prepared = []
    victims: dict[str, tuple[zoo.Victim, Shared]] = {}
    for cell in cells:
        if cell.victim not in victims:
            victims[cell.victim] = loading.load(cell.victim), Shared()
        victim, shared = victims[cell.victim]
        job = FAMILIES[cell.task].job(cell, victim, shared)
        prepared.append(Prepared(cell, job, victim.record["weights_sha256"]))
    return prepared


def fit_slots(prepared: Sequence[Prepared]) -> Fit:
    """Find how many attacks of every cell fit one device at once.

    Raises:
      InputError: of some cell not even one fits, or no attack of any can be loaded.
    """
    if all(isinstance(job, Experiment) for _, job, _ in prepared):
        raise InputError("--batch auto: trainings have no batch of attacks; leave it out")
    fits = []
    for _, job, _ in prepared:
        if isinstance(job, Experiment):
            continue
        examples = (loaded for p in job.planned if (loaded := _loaded(p)))
        for image, target in itertools.islice(examples, 1):
            most = len(job.planned)
            fits.append(
                largest_batch(
                    job.attack, job.params, image, target, iterations=job.iterations, most=most
                )
            )
    if not fits:
        raise InputError("--batch auto: no attack of the sweep can be loaded; give a number")
    return min(fits, key=lambda fit: fit.batch)


def sweep(
    prepared: Sequence[Prepared],
    folder: Path,
    *,
    slots: int = 50,
    shard: Shard = ALL,
    sharding: NamedSharding | None = None,
    pictures: Pictures = "none",
    keep_every: float = SECONDS,
    file: str = "",
    command: str = "sweep",
) -> Iterator[Progress]:
    """Make every attack that is not recorded in the folder yet, and record it.

    Args:
      prepared: the cells.
      folder: of the records; a sweep that it holds is continued.
      slots: attacks at once.
      shard: which share is made here.
      sharding: of the slots' axis over devices.
      pictures: whether pictures are kept, benign and adversarial: 8-bit PNG or float32 `.npy`.
      keep_every: seconds after which the attacks under way are kept, for a run that is interrupted.
      file: the sweep file that the cells are from (`store.write_plan`).
      command: whose folder it is.

    Raises:
      StoreError: the folder cannot be written, or holds records of other weights.
    """
    digests = [(p.cell, p.weights, attacks_digest(p.job)) for p in prepared]
    store.write_plan(folder, digests, file, command, environment())
    mine = ((p.cell.digest, planned.id) for p in prepared for planned in _share(p.job, shard))
    with Ledger(folder, mine, pictures) as ledger:
        yield ledger.progress("starting")
        for some in alike(prepared):
            share = f"{some[-1].cell.digest}-{shard.number}-of-{shard.of}"
            running = Running(folder / "running" / share, keep_every)
            if any(key in ledger.left for key in keys(some)):
                begins = (
                    "begins again, what was kept is damaged" if running.damaged else "compiling"
                )
                yield ledger.progress(f"{title(some)}, {begins}")
            for one in make(
                some,
                ledger.left,
                slots=slots,
                sharding=sharding,
                keeper=running if jax.process_count() == 1 else None,
                shard=shard.of,
            ):
                if isinstance(one, str):
                    yield ledger.progress(f"{title(some)}, {one}")
                elif ledger.record(one):
                    yield ledger.progress(title(some))
            running.forget()


def make(
    some: Sequence[Prepared],
    left: Container[store.Key],
    *,
    slots: int,
    sharding: NamedSharding | None = None,
    keeper: Keeper | None = None,
    shard: int = 1,
) -> Iterator[Made | str]:
    """Make those attacks of cells that share one (`alike`) that are left, as they come to an end.

    Args:
      some: the cells.
      left: the attacks to make.
      slots: as for `sweep`.
      sharding: as for `sweep`.
      keeper: of the attacks under way.
      shard: how many shares the attacks are split into, one of which is made here.
    """
    cell, job, _ = some[-1]
    digests = {_steps(one): one.cell.digest for one in some}
    for one in carry_out(
        job,
        partial(_is_left, tuple(digests.values()), left),
        slots=slots,
        key=jax.random.key(cell.seed),
        sharding=sharding,
        keeper=keeper,
        shard=shard,
        looks=tuple(digests)[:-1],
    ):
        if isinstance(one, str):
            yield one
        else:
            yield Made(_row(digests[one.steps], one), one.image, one.benign)


def keys(some: Sequence[Prepared]) -> Iterator[store.Key]:
    """Yield which attacks cells are made of."""
    return ((one.cell.digest, planned.id) for one in some for planned in one.job.planned)


def title(some: Sequence[Prepared]) -> str:
    """Return what cells that share an attack are called."""
    cell = some[-1].cell
    return f"{cell.method.name} on {Path(cell.victim).name}"


def _is_left(digests: Sequence[str], left: Container[store.Key], number: int) -> bool:
    return any((digest, number) in left for digest in digests)


def _steps(one: Prepared) -> int:
    return one.job.iterations if isinstance(one.job, Job) else 0


def alike(prepared: Sequence[Prepared]) -> list[list[Prepared]]:
    """Put cells together that differ in their numbers of steps alone, the fewest first.

    The longest attack is looked at after each of the others' numbers of steps.
    """
    groups: dict[Hashable, list[Prepared]] = {}
    for one in prepared:
        job, cell = one.job, one.cell
        kind: Hashable = cell.digest
        if isinstance(job, Job):
            attacked = attacks_digest(job)
            kind = (job.attack, cell.task, cell.victim, cell.seed, cell.design, attacked)
        groups.setdefault(kind, []).append(one)
    return [sorted(some, key=_steps) for some in groups.values()]


def attacks_digest(job: Job | Experiment) -> str:
    """Twelve hexadecimal digits that stand for what is to be attacked, in its order."""
    text = json.dumps(sorted((p.id, p.about) for p in job.planned), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _row(digest: str, done: Done) -> dict[str, Any]:
    planned = done.planned
    known = {"cell": digest, "id": planned.id, **planned.about, "failed": done.failed}
    return {**known, **done.columns, "seconds": done.seconds}


def estimate(
    prepared: Sequence[Prepared],
    *,
    slots: int = 50,
    shard: Shard = ALL,
    sharding: NamedSharding | None = None,
    made: Container[store.Key] = (),
) -> Iterator[Estimate]:
    """Say how long each cell takes at most, from a few steps of its first attacks.

    What shares an attack shares its compilation, which counts once.

    Args:
      prepared: as for `sweep`.
      slots: as for `sweep`.
      shard: as for `sweep`.
      sharding: as for `sweep`.
      made: attacks that need not be made.
    """
    longest = {some[-1].cell.digest for some in alike(prepared)}
    for one in prepared:
        cell, job, _ = one
        mine = to_make(one, shard, made)
        if isinstance(job, Experiment):
            yield Estimate(cell, len(mine), 0.0, math.nan)
            continue
        if cell.digest not in longest:  # a look at the attacks of another cell
            yield Estimate(cell, len(mine), 0.0, 0.0)
            continue
        loaded = ((p, found) for p in mine if (found := _loaded(p)))
        some = [(p, Request(p.id, *found)) for p, found in itertools.islice(loaded, slots)]
        if not some:
            yield Estimate(cell, len(mine), 0.0, 0.0)
            continue
        measured = pace(
            job.attack,
            job.params,
            [request for _, request in some],
            iterations=job.iterations,
            slots=slots,
            sharding=sharding,
        )
        first, telling = (_seconds(job.describe, *some[0], measured.result) for _ in range(2))
        compiling = measured.compile_seconds + max(first - telling, 0.0)
        batch = measured.fill_seconds + job.iterations * measured.step_seconds
        seconds = -(-len(mine) // slots) * batch
        seconds += len(mine) * (measured.judge_seconds + telling)
        yield Estimate(cell, len(mine), compiling, seconds)


def to_make(one: Prepared, shard: Shard = ALL, made: Container[store.Key] = ()) -> list[Planned]:
    """Return the attacks of a cell in a share that are not made yet."""
    return [p for p in _share(one.job, shard) if (one.cell.digest, p.id) not in made]


def _share(job: Job | Experiment, shard: Shard) -> list[Planned]:
    return [planned for planned in job.planned if planned.id % shard.of == shard.number]


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def _loaded(planned: Planned) -> tuple[np.ndarray, Any] | None:
    if planned.outcome is not None:
        return None
    try:
        return planned.load()
    except InputError:
        return None


def complete(prepared: Sequence[Prepared], folder: Path) -> bool:
    """Return whether every attack of every shard is recorded."""
    known = store.recorded(folder)
    return all(key in known for key in keys(prepared))
