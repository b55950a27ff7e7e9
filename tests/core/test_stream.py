"""Continuous batching gives what `run` gives, whatever the slots, the chunk and the order."""

from functools import cache

import jax
import numpy as np
import pytest
from helpers import attack_table, label_table

from jaxadv.core.attack import Status
from jaxadv.core.run import run
from jaxadv.core.stream import Request, stream
from jaxadv.data.images import ImageError
from jaxadv.errors import InputError

COUNT, STEPS = 7, 30
CAPTIONS = ("gem", "ssvm", "say")
LABELS = ("tkmia", "kfool")


@cache
def problem(name):
    """An attack, its victim's parameters, pictures and stacked targets."""
    if name in LABELS:
        table, attack = label_table, label_table.ATTACKS[name]
        return attack, table.PARAMETERS, table.pictures(COUNT), table.targets(COUNT)
    attack, kind = attack_table.ATTACKS[name]
    targets = attack_table.targets_of(kind, COUNT)
    return attack, attack_table.PARAMETERS, attack_table.pictures(COUNT), targets


def requests_of(name, ids=range(COUNT)):
    _, _, images, targets = problem(name)
    images, targets = jax.tree.map(np.asarray, (images, targets))
    return [Request(i, images[i], jax.tree.map(lambda x, i=i: x[i], targets)) for i in ids]


@cache
def expected(name):
    attack, params, images, targets = problem(name)
    return run(attack, params, images, targets, iterations=STEPS)


def streamed(name, requests, **options):
    attack, params, _, _ = problem(name)
    return list(stream(attack, params, requests, iterations=STEPS, **options))


def assert_same(finished, whole):
    """Decisions and counts are equal; numbers agree to rounding."""
    wanted = jax.tree.map(lambda x: np.asarray(x[finished.id]), whole)

    def same(got, expected):
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)
        else:
            np.testing.assert_array_equal(got, expected)

    jax.tree.map(same, finished.result, wanted)


@pytest.mark.parametrize("name", CAPTIONS + LABELS)
def test_same_as_run(name):
    """Each request comes back once, as `run` gives it."""
    finished = streamed(name, requests_of(name), slots=3, chunk=4)
    assert sorted(f.id for f in finished) == list(range(COUNT))
    for one in finished:
        assert_same(one, expected(name))


@pytest.mark.parametrize(("slots", "chunk"), [(1, 8), (5, 1), (16, 100)])
def test_slots_chunk_and_order_do_not_matter(slots, chunk):
    """Nor does it matter that there are fewer requests than slots."""
    order = [5, 2, 0, 6, 1]
    finished = streamed("tkmia", requests_of("tkmia", order), slots=slots, chunk=chunk)
    assert sorted(f.id for f in finished) == sorted(order)
    for one in finished:
        assert_same(one, expected("tkmia"))


def test_finished_ones_make_room():
    """Fewer slot-steps than the batches of `run` would make: the slowest holds nobody up."""
    taken = np.asarray(expected("tkmia").iterations)
    assert taken.min() < taken.max(), "the pictures must differ in how long they take"
    finished = streamed("tkmia", requests_of("tkmia"), slots=2, chunk=1)
    useful = sum(int(f.result.iterations) for f in finished)
    assert useful == taken.sum()
    stops = int((np.asarray(expected("tkmia").status) == Status.FOOLED).sum())
    # besides: the step at which success is seen, and one slot that waits for the other at the end
    assert useful <= finished[-1].slot_steps <= useful + stops + taken.max() + 1


def test_a_fixed_number_of_steps_wastes_none():
    """A chunk ends when nothing is under way, whatever is left of it."""
    finished = streamed("gem", requests_of("gem", range(6)), slots=3, chunk=STEPS - 1)
    assert finished[-1].slot_steps == 6 * STEPS


def test_requests_are_read_as_slots_come_free():
    """A long job's pictures are never all in memory."""
    read = []

    def lazily():
        for request in requests_of("tkmia"):
            read.append(request.id)
            yield request

    attack, params, _, _ = problem("tkmia")
    some = stream(attack, params, lazily(), iterations=STEPS, slots=2, chunk=1)
    next(some)
    assert len(read) < COUNT


@pytest.mark.parametrize("name", ["gem", "tkmia"])
def test_a_look_is_what_fewer_steps_would_have_come_to(name):
    """Also of those that stop before it, and of more attacks than slots."""
    attack, params, images, targets = problem(name)
    looks = (4, 11)
    finished = streamed(name, requests_of(name), slots=3, chunk=5, looks=looks)
    assert sorted((f.id, f.steps) for f in finished) == [
        (i, steps) for i in range(COUNT) for steps in (*looks, STEPS)
    ]
    for steps in (*looks, STEPS):
        whole = run(attack, params, images, targets, iterations=steps)
        for one in finished:
            if one.steps == steps:
                losses = np.asarray(one.result.losses)[:steps]
                assert_same(one._replace(result=one.result._replace(losses=losses)), whole)


@pytest.mark.parametrize("looks", [(4, 4), (0,), (9, 4), (STEPS,)])
def test_looks_rise(looks):
    with pytest.raises(InputError, match=r"looks|iterations"):
        streamed("gem", requests_of("gem"), slots=3, looks=looks)


@pytest.mark.parametrize("left", [range(COUNT), (5, 2, 0, 6, 1), (6,), (1, 3, 5)])
def test_in_its_own_slot_no_bit_depends_on_the_others(left):
    """Not on which they are, nor on their order: what an interrupted job still has to make."""
    place = {"slots": 2, "chunk": 3, "place": lambda number: number % 2}
    whole = {f.id: f.result for f in streamed("tkmia", requests_of("tkmia"), **place)}
    finished = streamed("tkmia", requests_of("tkmia", left), **place)
    assert sorted(f.id for f in finished) == sorted(left)
    for one in finished:
        jax.tree.map(np.testing.assert_array_equal, one.result, whole[one.id])


def test_those_that_wait_for_one_slot_are_not_all_read():
    """However uneven the slots are, few pictures are read ahead of their turn."""
    read = []

    def lazily():
        for request in requests_of("tkmia"):
            read.append(request.id)
            yield request

    attack, params, _, _ = problem("tkmia")
    some = stream(
        attack, params, lazily(), iterations=STEPS, slots=2, chunk=1, place=lambda number: 0
    )
    next(some)
    assert len(read) <= 2 * 2 + 2 < COUNT
    assert len(list(some)) == COUNT - 1


def test_shapes_that_differ_are_served_one_kind_after_the_other():
    """Kinds mixed in the queue come back complete, each with its own compilation."""

    def narrow(target):
        return target._replace(k=target.k.astype(np.int16))

    some = requests_of("tkmia")
    mixed = [r if r.id % 2 else r._replace(target=narrow(r.target)) for r in some]
    finished = streamed("tkmia", mixed, slots=2)
    assert [f.id % 2 for f in finished] == [0, 0, 0, 0, 1, 1, 1]
    for one in finished:
        assert_same(one, expected("tkmia"))


def test_what_is_no_picture_is_named():
    """By its request's number, before it reaches a slot."""
    requests = requests_of("tkmia")
    requests[4] = requests[4]._replace(image=np.full_like(requests[4].image, np.nan))
    with pytest.raises(ImageError, match=r"request 4: .*NaN"):
        streamed("tkmia", requests, slots=2)


def test_randomness_follows_the_id():
    """Not the slot, nor when it was free (kfool draws nothing; show-and-fool's start does)."""
    attack, params, images, targets = problem("say")
    key = jax.random.key(3)
    ids = np.array([40, 11, 7])
    whole = run(
        attack,
        params,
        images[:3],
        jax.tree.map(lambda x: x[:3], targets),
        iterations=STEPS,
        key=key,
        ids=ids,
    )
    requests = [
        r._replace(id=int(i)) for r, i in zip(requests_of("say", range(3)), ids, strict=True)
    ]
    finished = streamed("say", requests, slots=2, key=key)
    for one in finished:
        assert_same(one._replace(id=int(np.flatnonzero(ids == one.id)[0])), whole)


def test_over_devices():
    """Slots spread over the devices that there are give the same."""
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(jax.devices()),), ("slots",), axis_types=(auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("slots"))
    slots = 2 * len(jax.devices())
    finished = streamed("tkmia", requests_of("tkmia"), slots=slots, sharding=sharding)
    assert len(finished) == COUNT
    for one in finished:
        assert_same(one, expected("tkmia"))
