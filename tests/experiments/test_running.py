"""Attacks that are interrupted in their midst go on from there, to the same bits."""

import gc
from functools import partial

import jax
import numpy as np
import pytest
from helpers import attack_table
from orbax.checkpoint import v1 as ocp

from jaxadv.core.stream import Request, stream
from jaxadv.experiments.running import Running
from jaxadv.experiments.store import StoreError

COUNT, STEPS, SLOTS, CHUNK = 4, 24, 4, 5


class Killed(Exception):
    """What stands for a kill here."""


class Fragile(Running):
    """Is interrupted after keeping so many times."""

    left = 3

    def keep(self, courses):
        super().keep(courses)
        self.left -= 1
        if not self.left:
            raise Killed


def attacks(name, keeper, steps=STEPS):
    attack, kind = attack_table.ATTACKS[name]
    images, targets = attack_table.pictures(COUNT), attack_table.targets_of(kind, COUNT)
    requests = [
        Request(i, np.asarray(images[i]), jax.tree.map(lambda x, i=i: np.asarray(x[i]), targets))
        for i in range(COUNT)
    ]
    make = partial(stream, attack, attack_table.PARAMETERS, requests)
    return make(iterations=steps, slots=SLOTS, chunk=CHUNK, keeper=keeper)


@pytest.mark.parametrize("name", ["gem", "margin"])
def test_an_interrupted_attack_goes_on_in_its_midst(tmp_path, name):
    whole = {f.id: f for f in attacks(name, None)}
    with pytest.raises(Killed):
        list(attacks(name, Fragile(tmp_path / "running", 0)))
    again = {f.id: f for f in attacks(name, Running(tmp_path / "running"))}
    for number in range(COUNT):
        jax.tree.map(np.testing.assert_array_equal, again[number].result, whole[number].result)
    made, again = (max(f.slot_steps for f in found.values()) for found in (again, whole))
    assert made <= again - 2 * CHUNK * SLOTS


def test_arrays_without_entries_come_back(tmp_path):
    """Orbax takes none, and attacks have some: the anchored one keeps its pictures in lanes."""
    course = [np.zeros((0, 3), np.float32), np.arange(3), np.zeros(0, np.int8)]
    Running(tmp_path / "running", 0).keep({4: course, 7: course})
    again = Running(tmp_path / "running")
    assert not again.damaged
    for number in (4, 7):
        found = again.recall(number)
        assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in course]
        np.testing.assert_array_equal(found[1], course[1])


def test_what_was_kept_for_other_settings_is_not_used(tmp_path):
    with pytest.raises(Killed):
        list(attacks("gem", Fragile(tmp_path / "running", 0)))
    fewer = STEPS - 2
    again = {f.id: f for f in attacks("gem", Running(tmp_path / "running"), fewer)}
    for finished in attacks("gem", None, fewer):
        expected = again[finished.id].result
        jax.tree.map(np.testing.assert_array_equal, finished.result, expected)


def test_only_the_last_is_kept_and_nothing_is_left(tmp_path):
    running = Running(tmp_path / "running" / "cell")
    for value in (1.0, 2.0):
        running.keep({7: [np.float32([value]), np.int32(3)]})
    assert len(list((tmp_path / "running" / "cell").iterdir())) == 1
    again = Running(tmp_path / "running" / "cell")
    assert again.recall(8) is None
    value, steps = again.recall(7)
    assert value.tolist() == [2.0] and steps == 3 and again.recall(7) is None
    again.forget()
    assert not list(tmp_path.iterdir())


def test_what_nobody_has_recalled_yet_is_kept_on(tmp_path):
    """A run with fewer slots has not come to all of them when it is interrupted in turn."""
    folder = tmp_path / "running"
    Running(folder).keep({n: [np.float32([n])] for n in (1, 2)})
    second = Running(folder)
    assert second.recall(1) is not None
    second.keep({1: [np.float32([10])]})
    third = Running(folder)
    assert third.recall(1)[0].tolist() == [10] and third.recall(2)[0].tolist() == [2]


def test_what_is_damaged_begins_anew(tmp_path):
    (tmp_path / "running" / "0").mkdir(parents=True)
    running = Running(tmp_path / "running")
    assert running.recall(0) is None
    running.keep({0: [np.zeros(1)]})
    assert Running(tmp_path / "running").recall(0) is not None


# what Orbax leaves unawaited where a file is damaged is collected at the end of the test
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(8))
def test_no_flipped_bit_is_gone_on_with(tmp_path, seed):
    """Of any file: what was kept comes back as it was, or not at all."""
    rng = np.random.default_rng(seed)
    leaves = [rng.random((5, 7), np.float32), np.int32(seed)]
    Running(tmp_path).keep({3: leaves})
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size)
    path = files[seed % len(files)]
    contents = bytearray(path.read_bytes())
    contents[rng.integers(len(contents))] ^= 1 << int(rng.integers(8))
    path.write_bytes(contents)
    again = Running(tmp_path)
    found = again.recall(3)
    assert again.damaged == (found is None)
    if found is not None:
        jax.tree.map(np.testing.assert_array_equal, found, leaves)
    gc.collect()


def test_what_was_kept_without_a_digest_begins_anew(tmp_path):
    """As earlier versions did."""
    kept = {"ids": np.array([3]), "leaves": {"0": np.zeros((1, 2))}}
    ocp.save(tmp_path / "0", kept)
    assert Running(tmp_path).damaged and Running(tmp_path).recall(3) is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "running").write_text("in the way")
    with pytest.raises(StoreError, match="running/cell: cannot be written"):
        Running(tmp_path / "running" / "cell").keep({0: [np.zeros(1)]})
