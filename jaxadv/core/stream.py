"""Continuous batching: finished examples leave their slots at once, and the next take them.

`run` steps a batch until its slowest example is through. Where attacks stop at their first
success most of such a batch stands still most of the time. Here slots are stepped a few times in
one compiled chunk; then finished examples are taken out to be judged and their slots are refilled.
What comes of an example is what `run` gives: each has its own state, target and randomness.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jaxadv import checks
from jaxadv.core.attack import Attack, Params, Target, keep_where
from jaxadv.core.run import (
    Course,
    Result,
    check_attack,
    check_pictures,
    finalise,
    initialise,
    is_running,
    keys_of,
    take_step,
)
from jaxadv.errors import InputError

Place = Callable[[int], int]
"""From a request's id to the slot that it is worked on in."""


class Request(NamedTuple):
    """One attack to be made.

    Attributes:
      id: its own number, below 2³¹; what is drawn for it follows from this alone.
      image: f32[H, W, 3] in [0, 1]; or a text, as `run` takes them.
      target: what to aim at, arrays.
    """

    id: int
    image: np.ndarray
    target: Target


class Finished(NamedTuple):
    """An attack that is through.

    Attributes:
      id: its request's.
      result: of this one example, in host memory.
      seconds: wall time since the results before this one; those that come together share it.
      slot_steps: steps that all slots together have made so far, useful or not: the share of
        useful ones is the sum of `result.iterations` over this.
      steps: after how many steps this is what it came to: one of `looks`, or `iterations`.
    """

    id: int
    result: Result
    seconds: float
    slot_steps: int
    steps: int


class Keeper(Protocol):
    """Where attacks under way are kept, so that an interrupted job can resume in their midst."""

    def recall(self, number: int, /) -> list[np.ndarray] | None:
        """Return where the attack of that id stood, the leaves of its `Course`, if it is known."""

    def due(self) -> bool:
        """Return whether it is time to keep them."""

    def keep(self, courses: Mapping[int, Sequence[np.ndarray]], /) -> None:
        """Keep the leaves of all that are under way, by id."""


class _Arrivals(NamedTuple):
    """Requests laid out by slots, and which slots they are for."""

    images: Any
    targets: Target
    ids: Any
    fresh: Any


class _Slots(NamedTuple):
    """What is on the device; leading axis of slots."""

    images: Array
    targets: Target
    courses: Course


class _Row(NamedTuple):
    """What an attack has come to, to be judged.

    Attributes:
      id: its request's.
      steps: the numbers of steps that this is the outcome after.
      slot: a copy of its slot.
    """

    id: int
    steps: tuple[int, ...]
    slot: _Slots


def stream(
    attack: Attack,
    params: Params,
    requests: Iterable[Request],
    *,
    iterations: int,
    slots: int,
    chunk: int = 8,
    key: Array | None = None,
    sharding: NamedSharding | None = None,
    keeper: Keeper | None = None,
    place: Place | None = None,
    looks: Sequence[int] = (),
) -> Iterator[Finished]:
    """Make any number of attacks, in the order in which they come to an end.

    Requests whose pictures or targets differ in shape cannot share a compilation: they are served
    one kind after the other, in the order of each kind's first request.

    Args:
      attack: any attack.
      params: the victim's parameters.
      requests: read as slots come free.
      iterations: most steps an example.
      slots: examples at once.
      chunk: most steps between two looks at what is through.
      key: randomness, folded with a request's id.
      sharding: of the slots' axis over devices, whose number must divide `slots`.
      keeper: keeps what is under way, and knows what was when an earlier call was interrupted.
      place: gives the slot of a request, from its id; by default the first that is free. Kernels
        may round an example's numbers differently in another slot (on CPUs they do); with `place`
        what comes of a request depends on no other request, to the last bit.
      looks: rising numbers of steps below `iterations`. What an attack has come to after each is
        judged and returned as well, as if it had been run for that number of steps; for attacks
        whose steps do not depend on how many there will be.

    Raises:
      InputError: an argument is of another kind, or outside its range, at once; and when its turn
        comes, a request that holds no picture (an `ImageError`), that has the id of an earlier
        one, or that cannot be attacked (`Attack.check`).
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    _check_slots(slots, chunk, sharding)
    checks.instance("requests", requests, Iterable)
    if place is not None:
        checks.callable_("place", place, "lambda number: number % slots")
    _check_looks(looks, iterations)
    if keeper is not None and not all(hasattr(keeper, name) for name in ("recall", "due", "keep")):
        raise checks.wrong("keeper", keeper, "a Keeper, with recall, due and keep")
    return _stream(
        attack,
        params,
        requests,
        iterations=int(iterations),
        slots=int(slots),
        chunk=int(chunk),
        key=checks.key(key),
        sharding=sharding,
        keeper=keeper,
        place=place,
        ends=(*map(int, looks), int(iterations)),
    )


def _check_looks(looks: Sequence[int], iterations: int) -> None:
    checks.instance("looks", looks, Sequence)
    for number in looks:
        checks.whole("looks", number, 1, checks.MOST_STEPS)
    if any(a >= b for a, b in pairwise([*looks, iterations])):
        given = ", ".join(map(str, looks))
        raise InputError(f"looks {given}: must be rising numbers below {iterations} iterations")


def _check_slots(slots: int, chunk: int, sharding: NamedSharding | None) -> None:
    checks.whole("slots", slots, 1, checks.MOST_STEPS)
    checks.whole("chunk", chunk, 1, checks.MOST_STEPS)
    if sharding is not None:
        checks.instance("sharding", sharding, NamedSharding)
    if sharding is not None and slots % len(sharding.device_set):
        raise checks.wrong("slots", slots, f"a multiple of {len(sharding.device_set)} devices")


def _checked(attack: Attack, params: Params, requests: Iterable[Request]) -> Iterator[Request]:
    """Pass on requests that can be attacked; the first that cannot is named."""
    seen: set[int] = set()
    for request in requests:
        checks.made_of("request", request, Request, "Request(id, image, target)")
        checks.whole("request's id", request.id, 0, 2**31 - 1)
        name = f"request {request.id}"
        if request.id in seen:
            raise InputError(f"{name}: an earlier one has this id; give each its own")
        seen.add(request.id)
        check_pictures(np.asarray(request.image)[None], [name])
        try:
            attack.check(params, np.asarray(request.image), request.target)
        except InputError as problem:
            raise type(problem)(f"{name}: {problem}") from None
        yield request


def _stream(
    attack: Attack,
    params: Params,
    requests: Iterable[Request],
    *,
    iterations: int,
    slots: int,
    chunk: int,
    key: Array,
    sharding: NamedSharding | None,
    keeper: Keeper | None,
    place: Place | None,
    ends: tuple[int, ...],
) -> Iterator[Finished]:
    """Serve requests kind by kind; the arguments are `stream`'s."""
    others: dict[Hashable, list[Request]] = {}
    first: list[Hashable] = []

    def of_first_kind() -> Iterator[Request]:
        for request in _checked(attack, params, requests):
            kind = _kind(request)
            first[:] = first or [kind]
            if kind == first[0]:
                yield request
            else:
                others.setdefault(kind, []).append(request)

    serve = partial(
        _serve,
        attack,
        _everywhere(params, sharding),
        iterations=iterations,
        slots=slots,
        chunk=chunk,
        key=key,
        sharding=sharding,
        keeper=keeper,
        place=place,
        ends=ends,
    )
    made = yield from serve(of_first_kind(), before=0)
    for some in others.values():
        made = yield from serve(some, before=made)


class Pace(NamedTuple):
    """How fast an attack goes, once it is compiled.

    Attributes:
      compile_seconds: to compile it (less where JAX's cache has it).
      fill_seconds: to begin attacks in all slots.
      step_seconds: a step of all slots.
      judge_seconds: to judge one attack.
      result: of the first request, after a few steps.
    """

    compile_seconds: float
    fill_seconds: float
    step_seconds: float
    judge_seconds: float
    result: Result


def pace(
    attack: Attack,
    params: Params,
    requests: Sequence[Request],
    *,
    iterations: int,
    slots: int,
    chunk: int = 8,
    sharding: NamedSharding | None = None,
) -> Pace:
    """Measure a chunk of some requests as `stream` runs them, once it has been run twice.

    Raises:
      InputError: no request, or as `stream`.
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    _check_slots(slots, chunk, sharding)
    checks.instance("requests", requests, Sequence)
    requests = list(_checked(attack, params, requests[:slots]))
    if not requests:
        raise InputError("no request: give at least one to measure")
    params = _everywhere(params, sharding)
    arrivals = jax.device_put(_arrivals(dict(enumerate(requests)), slots), sharding)
    width = _judged_at_once(slots, sharding)
    on_device: _Slots | None = None
    seconds = []
    for _ in range(4):  # filling free slots is compiled apart from filling the first ones
        marks = [time.perf_counter()]
        on_device = _fill(
            attack, params, arrivals, jax.random.key(0), on_device, iterations, sharding
        )
        jax.block_until_ready(on_device)
        marks.append(time.perf_counter())
        made = _chunk(attack, params, on_device, None, chunk, sharding)
        on_device, steps, _ = jax.block_until_ready(made)
        marks.append(time.perf_counter())
        row = jax.device_get(_row(on_device, 0))
        rows = jax.tree.map(lambda x: np.stack([x] * width), row)
        results = _finalise(attack, params, jax.device_put(rows, sharding), sharding)
        results = jax.device_get(results)
        marks.append(time.perf_counter())
        seconds.append(np.diff(marks))
    warm = np.minimum(*seconds[2:])
    compiling = float(sum(seconds[0]) + sum(seconds[1]) - 2 * sum(warm))
    fill, stepping, judging = (float(x) for x in warm)
    result = jax.tree.map(lambda x: x[0], results)
    step = stepping / max(int(steps.max()), 1)
    return Pace(max(compiling, 0.0), fill, step, judging / width, result)


def _everywhere(params: Params, sharding: NamedSharding | None) -> Params:
    """Place the victim once, whole on every device."""
    if sharding is None:
        return params
    return jax.device_put(params, NamedSharding(sharding.mesh, PartitionSpec()))


def _kind(request: Request) -> Hashable:
    """Return what must be alike for requests to share a compilation."""
    leaves, structure = jax.tree.flatten((request.image, request.target))
    arrays = [np.asarray(leaf) for leaf in leaves]
    return structure, tuple((array.shape, array.dtype) for array in arrays)


def _serve(
    attack: Attack,
    params: Params,
    requests: Iterable[Request],
    *,
    iterations: int,
    slots: int,
    chunk: int,
    key: Array,
    sharding: NamedSharding | None,
    keeper: Keeper | None,
    place: Place | None,
    ends: tuple[int, ...],
    before: int,
) -> Generator[Finished, None, int]:
    """Serve requests of one kind; return how many slot-steps have been made in all.

    Each attack is looked at after the steps in `ends`, the last of which is `iterations`.
    """
    looking = len(ends) > 1
    waiting = _Waiting(iter(requests), slots, place)
    at: dict[int, int] = {}  # slot -> id of the request that it works on
    pauses = np.full(slots, ends[0], np.int32)  # of each slot, after how many steps
    on_device: _Slots | None = None
    through: dict[int, _Row] = {}  # by their places among those judged together
    width = _judged_at_once(slots, sharding)
    made, since = before, time.perf_counter()

    def judge() -> Iterator[Finished]:
        some = dict(through)
        through.clear()
        anyone = next(iter(some.values()))
        rows = [some.get(i, anyone).slot for i in range(width)]
        stacked = jax.tree.map(lambda *x: np.stack(x), *rows)
        results = _finalise(attack, params, jax.device_put(stacked, sharding), sharding)
        results = jax.tree.map(np.asarray, results)
        nonlocal since
        now = time.perf_counter()
        seconds, since = (now - since) / sum(len(row.steps) for row in some.values()), now
        for i, row in some.items():
            result = jax.tree.map(lambda x, i=i: x[i], results)
            for steps in row.steps:
                yield Finished(row.id, result, seconds, made, steps)

    while True:
        free = [slot for slot in range(slots) if slot not in at]
        if new := waiting.take(free):
            at |= {slot: request.id for slot, request in new.items()}
            arrivals = jax.device_put(_arrivals(new, slots), sharding)
            on_device = _fill(attack, params, arrivals, key, on_device, iterations, sharding)
            on_device = _recalled(keeper, new, on_device)
            if looking:
                taken = jax.device_get(on_device.courses.taken)
                for slot in new:
                    pauses[slot] = next(end for end in ends if end >= taken[slot])
        if on_device is None or not at:
            break
        until = jax.device_put(pauses, sharding) if looking else None
        on_device, steps, going = _chunk(attack, params, on_device, until, chunk, sharding)
        made += int(steps.sum()) * (slots // len(steps))
        taken = jax.device_get(on_device.courses.taken) if looking else pauses
        seen: list[tuple[int, _Row]] = []
        for slot in list(at):
            if going[slot] and (not looking or taken[slot] < pauses[slot]):
                continue
            row = jax.device_get(_row(on_device, slot))
            if going[slot]:
                seen.append((slot, _Row(at[slot], (int(pauses[slot]),), row)))
                pauses[slot] = next(end for end in ends if end > taken[slot])
            else:
                left = tuple(end for end in ends if end >= pauses[slot])
                seen.append((slot, _Row(at.pop(slot), left, row)))
        if keeper is not None and keeper.due():
            if looking and through:  # an attack that is kept has been seen at all its looks
                yield from judge()
            rows = {number: jax.device_get(_row(on_device, slot)) for slot, number in at.items()}
            rows |= {row.id: row.slot for row in (*through.values(), *(row for _, row in seen))}
            keeper.keep({number: jax.tree.leaves(row.courses) for number, row in rows.items()})
        for slot, row in seen:
            where = len(through) if place is None else slot % width
            if where in through:
                yield from judge()
            through[where] = row
            if len(through) == width:
                yield from judge()
    if through:
        yield from judge()
    return made


class _Waiting:
    """Requests that wait for a slot: for any, or each for its own.

    At most two a slot are read ahead of their turn, so that pictures do not pile up.
    """

    def __init__(self, source: Iterator[Request], slots: int, place: Place | None) -> None:
        self._source, self._place = source, place
        self._queues: list[deque[Request]] = [deque() for _ in range(slots)]
        self._most = 2 * slots

    def take(self, free: Sequence[int]) -> dict[int, Request]:
        """Return requests for slots that are free, by slot."""
        if self._place is None:
            return dict(zip(free, self._source, strict=False))
        while any(not self._queues[slot] for slot in free) and self._ahead() < self._most:
            if (request := next(self._source, None)) is None:
                break
            self._queues[self._place(request.id)].append(request)
        return {slot: self._queues[slot].popleft() for slot in free if self._queues[slot]}

    def _ahead(self) -> int:
        return sum(map(len, self._queues))


def _recalled(keeper: Keeper | None, new: dict[int, Request], on_device: _Slots) -> _Slots:
    """Put those that were under way when an earlier call was interrupted back where they stood."""
    if keeper is None:
        return on_device
    fresh, form = jax.tree.flatten(on_device.courses)
    wanted = [(leaf.shape[1:], leaf.dtype) for leaf in fresh]
    for slot, request in new.items():
        leaves = keeper.recall(request.id)
        if leaves is not None and [(leaf.shape, leaf.dtype) for leaf in leaves] == wanted:
            courses = _put(on_device.courses, slot, jax.tree.unflatten(form, leaves))
            on_device = on_device._replace(courses=courses)
    return on_device


@partial(jax.jit, donate_argnames="courses")
def _put(courses: Course, slot: int, course: Course) -> Course:
    put: Course = jax.tree.map(lambda all_, one: all_.at[slot].set(one), courses, course)
    return put


def _judged_at_once(slots: int, sharding: NamedSharding | None) -> int:
    """Choose how many are judged together: soon, but not one by one; a whole share a device."""
    devices = 1 if sharding is None else len(sharding.device_set)
    return max(slots // 4 // devices, 1) * devices


def _arrivals(new: dict[int, Request], slots: int) -> _Arrivals:
    """Lay requests out by their slots, on the host; a copy of one stands in for the rest."""
    anyone = next(iter(new.values()))
    rows = [new.get(slot, anyone) for slot in range(slots)]
    return _Arrivals(
        np.stack([row.image for row in rows]),
        jax.tree.map(lambda *x: np.stack(x), *(row.target for row in rows)),
        np.array([row.id for row in rows], np.int32),
        np.array([slot in new for slot in range(slots)]),
    )


def _on_each_device(
    function: Callable[..., Any], sharding: NamedSharding | None, of_slots: Sequence[bool]
) -> Callable[..., Any]:
    """Run a function on every device's own slots, so that nothing travels between devices.

    Left to XLA's partitioner, what some operations read (`top_k` among them) is gathered from all
    devices, and a step ends when it has ended everywhere.

    Args:
      function: of arrays, some with a leading axis of slots, as all of its results.
      sharding: of that axis; None for one device.
      of_slots: which arguments have it.
    """
    if sharding is None:
        return function
    specs = tuple(sharding.spec if one else PartitionSpec() for one in of_slots)
    spread: Callable[..., Any] = jax.shard_map(
        function, mesh=sharding.mesh, in_specs=specs, out_specs=sharding.spec, check_vma=False
    )
    return spread


@partial(jax.jit, static_argnames=("attack", "iterations", "sharding"), donate_argnames="old")
def _fill(
    attack: Attack,
    params: Params,
    arrivals: _Arrivals,
    key: Array,
    old: _Slots | None,
    iterations: int,
    sharding: NamedSharding | None,
) -> _Slots:
    """Begin what arrived; the other slots go on, or stand still where there is nothing yet."""

    def fill(params: Params, arrivals: _Arrivals, key: Array, old: _Slots | None) -> _Slots:
        images, targets, ids, fresh = arrivals
        begin = jax.vmap(partial(initialise, attack, iterations), in_axes=(None, 0, 0, 0))
        courses = begin(params, images, targets, keys_of(key, ids))
        if old is None:
            nothing = jnp.where(fresh, courses.taken, iterations)
            return _Slots(images, targets, courses._replace(taken=nothing))
        return jax.vmap(keep_where)(fresh, _Slots(images, targets, courses), old)

    filled = _on_each_device(fill, sharding, (False, True, False, True))
    slots: _Slots = filled(params, arrivals, key, old)
    return slots


@partial(jax.jit, static_argnames=("attack", "chunk", "sharding"), donate_argnames="slots")
def _chunk(
    attack: Attack,
    params: Params,
    slots: _Slots,
    until: Array | None,
    chunk: int,
    sharding: NamedSharding | None,
) -> tuple[_Slots, Array, Array]:
    """Step until `chunk` steps are made or nothing continues, each device on its own.

    With `until`, i32[slots], an attack waits once it has taken that number of steps.

    Returns:
      the slots, how many steps each device made, i32[devices], and which slots continue.
    """

    def chunk_of(params: Params, slots: _Slots, until: Array | None) -> tuple[_Slots, Array, Array]:
        images, targets, courses = slots
        step = jax.vmap(partial(take_step, attack), in_axes=(None, 0, 0, 0))

        def moving(courses: Course) -> Array:
            running = is_running(courses)
            return running if until is None else running & (courses.taken < until)

        def unfinished(carry: tuple[Array, Course]) -> Array:
            steps, courses = carry
            return (steps < chunk) & jnp.any(moving(courses))

        def advance(carry: tuple[Array, Course]) -> tuple[Array, Course]:
            steps, courses = carry
            new = step(params, images, targets, courses)
            if until is not None:
                new = jax.vmap(keep_where)(moving(courses), new, courses)
            return steps + 1, new

        start = (jnp.zeros((), jnp.int32), courses)
        steps, courses = jax.lax.while_loop(unfinished, advance, start)
        return _Slots(images, targets, courses), steps[None], is_running(courses)

    stepped = _on_each_device(chunk_of, sharding, (False, True, True))
    found: tuple[_Slots, Array, Array] = stepped(params, slots, until)
    return found


@jax.jit
def _row(slots: _Slots, slot: int) -> _Slots:
    row: _Slots = jax.tree.map(lambda x: x[slot], slots)
    return row


@partial(jax.jit, static_argnames=("attack", "sharding"))
def _finalise(
    attack: Attack, params: Params, rows: _Slots, sharding: NamedSharding | None
) -> Result:
    judge = jax.vmap(partial(finalise, attack), in_axes=(None, 0, 0, 0))
    judged = _on_each_device(judge, sharding, (False, True, True, True))
    results: Result = judged(params, *rows)
    return results
