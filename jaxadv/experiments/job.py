"""What a sweep makes of a cell: a list of attacks, each to be loaded when its turn comes."""

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxadv.core.attack import Attack, Params, Status, Target
from jaxadv.core.run import Result, check_pictures, run
from jaxadv.core.stream import Keeper, Place, Request, stream
from jaxadv.errors import InputError

T = TypeVar("T")


class Shared:
    """What the cells of one victim have in common, made once: codes, captions, scores."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned when it was first called for the key."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


class Planned(NamedTuple):
    """One attack of a cell.

    Attributes:
      id: its number in the cell.
      about: what is known before it is made, by column.
      load: gives the picture and the target; an `InputError` if there is none.
      outcome: the columns of one that is known to fail without an attack, such as a sentence that
        the victim has no words for; None where an attack is to be made.
    """

    id: int
    about: dict[str, Any]
    load: Callable[[], tuple[np.ndarray, Target]]
    outcome: dict[str, Any] | None = None


def at_hand(number: int, about: dict[str, Any], image: np.ndarray, target: Target) -> Planned:
    """Plan an attack on a picture that is in memory."""
    return Planned(number, about, lambda: (image, target))


class Job(NamedTuple):
    """All attacks of a cell.

    Attributes:
      attack: the attack.
      params: the victim's parameters.
      iterations: most steps an attack.
      planned: the attacks, those of like cost next to each other.
      together: whether what an attack computes with, though not what it finds, depends on those
        that it shares a batch with: then batches are always of the same attacks, so that a sweep
        that was interrupted ends with the same bits.
      picture: which of a result's pictures is the one to report.
      describe: the columns that tell what came of it.
      notes: lines about what is attacked, for a person.
    """

    attack: Attack
    params: Params
    iterations: int
    planned: Sequence[Planned]
    together: bool
    picture: Callable[[Result], np.ndarray]
    describe: Callable[[Planned, Request, Result], dict[str, Any]]
    notes: tuple[str, ...] = ()


class Experiment(NamedTuple):
    """What a cell does that is no attack on single examples: one record for all of it.

    Attributes:
      id: its number, which says whose share it is.
      run: does it; yields news, and returns the record's columns.
    """

    id: int
    run: Callable[[], Generator[str, None, dict[str, Any]]]

    @property
    def planned(self) -> tuple[Planned]:
        """The one thing to do."""
        return (Planned(self.id, {}, _nothing),)


def _nothing() -> Any:
    raise InputError("an experiment has no picture of its own")


class Done(NamedTuple):
    """An attack that was made, or could not be.

    Attributes:
      planned: what was to be done.
      steps: after how many steps this is the outcome.
      failed: why there is no outcome; None where there is one.
      columns: what came of it.
      image: the adversarial picture to report.
      seconds: wall time, shared equally by those that came to an end together.
      benign: what was attacked, where there is an outcome.
    """

    planned: Planned
    steps: int
    failed: str | None
    columns: dict[str, Any]
    image: np.ndarray | None
    seconds: float
    benign: np.ndarray | None = None


def carry_out(
    job: Job | Experiment,
    wanted: Callable[[int], bool],
    *,
    slots: int,
    chunk: int = 8,
    key: jax.Array,
    sharding: NamedSharding | None = None,
    keeper: Keeper | None = None,
    shard: int = 1,
    looks: Sequence[int] = (),
) -> Iterator[Done | str]:
    """Make the attacks that are wanted, as they come to an end; an experiment also tells news.

    One that cannot be loaded, or that ends where nothing is finite, is said to have failed, and
    the others continue.

    Args:
      job: what to do.
      wanted: whether the attack of that number is to be made.
      slots: attacks at once.
      chunk: most steps between two looks at what is through.
      key: randomness, folded with an attack's number.
      sharding: of the slots' axis over devices.
      keeper: of the attacks under way.
      shard: how many shares the attacks are split into, one of which is made here.
      looks: numbers of steps below the job's after which outcomes are returned as well (`stream`).
    """
    if isinstance(job, Experiment):
        if wanted(job.id):
            yield from _experiment(job)
        return
    size = slots if job.together else max(len(job.planned), 1)
    for start in range(0, len(job.planned), size):
        batch = job.planned[start : start + size]
        if any(wanted(planned.id) for planned in batch):
            some = batch if job.together else [p for p in batch if wanted(p.id)]
            for done in _stream(job, some, slots, chunk, key, sharding, keeper, shard, looks):
                if wanted(done.planned.id):
                    yield done


def at_once(job: Job, key: jax.Array) -> list[Done]:
    """Make all attacks of a job in one batch, which compiles one program; for few attacks.

    Raises:
      InputError: one of them cannot be loaded.
    """
    began = time.perf_counter()
    loaded = [planned.load() for planned in job.planned]
    images, targets = jax.tree.map(lambda *x: np.stack(x), *loaded)
    ids = jnp.asarray([planned.id for planned in job.planned], jnp.int32)
    results = run(
        job.attack, job.params, images, targets, iterations=job.iterations, key=key, ids=ids
    )
    results = jax.tree.map(np.asarray, results)
    seconds = (time.perf_counter() - began) / len(loaded)
    found = []
    for i, (planned, (image, target)) in enumerate(zip(job.planned, loaded, strict=True)):
        result: Result = jax.tree.map(lambda x, i=i: x[i], results)
        columns = job.describe(planned, Request(planned.id, image, target), result)
        made = job.picture(result)
        found.append(Done(planned, job.iterations, None, columns, made, seconds, image))
    return found


def _experiment(job: Experiment) -> Iterator[Done | str]:
    began = time.perf_counter()
    try:
        columns = yield from job.run()
        yield Done(job.planned[0], 0, None, columns, None, time.perf_counter() - began)
    except InputError as problem:
        yield Done(job.planned[0], 0, str(problem), {}, None, 0.0)


def _stream(
    job: Job,
    some: Sequence[Planned],
    slots: int,
    chunk: int,
    key: jax.Array,
    sharding: NamedSharding | None,
    keeper: Keeper | None,
    shard: int,
    looks: Sequence[int],
) -> Iterator[Done]:
    under_way: dict[int, tuple[Planned, Request]] = {}
    spent: dict[int, float] = {}
    without: list[Done] = []  # that end without an attack
    ends = (*looks, job.iterations)

    def requests() -> Iterator[Request]:
        for planned in some:
            if (known := planned.outcome) is not None:
                without.extend(Done(planned, n, None, known, None, 0.0) for n in ends)
                continue
            try:
                image, target = planned.load()
                check_pictures(image[None], [str(planned.about.get("image", planned.id))])
                job.attack.check(job.params, image, target)
                request = Request(planned.id, image, target)
                under_way[planned.id] = planned, request
                yield request
            except InputError as problem:
                why = str(problem)
                without.extend(Done(planned, n, why, {}, None, 0.0) for n in ends)

    finished = stream(
        job.attack,
        job.params,
        requests(),
        iterations=job.iterations,
        slots=slots,
        chunk=chunk,
        key=key,
        sharding=sharding,
        keeper=keeper,
        place=_place(job, shard, slots),
        looks=looks,
    )
    for number, result, seconds, _, steps in finished:
        yield from without
        without.clear()
        planned, request = under_way[number]
        spent[number] = seconds = spent.get(number, 0.0) + seconds
        if steps == job.iterations:
            del under_way[number], spent[number]
        if int(result.status) == Status.DIVERGED:
            yield Done(planned, steps, Status.MESSAGES[Status.DIVERGED], {}, None, seconds)
        else:
            columns = job.describe(planned, request, result)
            made = job.picture(result)
            yield Done(planned, steps, None, columns, made, seconds, np.asarray(request.image))
    yield from without


def _place(job: Job, shard: int, slots: int) -> Place | None:
    """Give each attack a slot of its own where kernels round differently in another: on CPUs.

    What is made then does not depend on what was made before an interruption. On accelerators
    slots are filled as they come free, which wastes fewer.
    """
    if jax.default_backend() != "cpu":
        return None
    every = 1 if job.together else shard
    return lambda number: number // every % slots
