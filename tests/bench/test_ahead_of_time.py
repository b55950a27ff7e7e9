"""Compiling for a TPU that is not here: every attack, over its victim's pass."""

import argparse
import importlib.util

import jax
import jax.numpy as jnp
import pytest

from benchmarks import ahead_of_time
from benchmarks.ahead_of_time import BANDWIDTH, BARE, PEAK, Case, Cost, table


def test_the_longer_of_the_two_is_the_roofline():
    assert Cost(PEAK, BANDWIDTH / 2, 0, 0).roofline == 1
    assert Cost(PEAK / 2, 3 * BANDWIDTH, 0, 0).roofline == 3


@pytest.fixture
def traced(monkeypatch):
    """Programs are traced, batched, at the shapes that the compiler is given, and not compiled."""

    def cost(case):
        step = jax.vmap(case.step, in_axes=case.shared)
        ends = jax.tree.leaves(jax.eval_shape(step, *case.inputs))
        assert all(end.shape[0] == 2 for end in ends)
        return Cost(*((100, 10) if case.name == BARE else (150, 30)), 1 << 20, 0)

    monkeypatch.setattr(ahead_of_time, "cost", cost)
    return argparse.Namespace(backbone="resnet-small", side=64, arithmetic="float32", only=[""])


def test_attacks_are_compared_with_their_victims_passes(traced, monkeypatch):
    def case(name, victim):
        return Case(name, victim, jnp.add, (jnp.ones(3), jnp.ones((2, 3))), (None, 0))

    some = [case(BARE, "a"), case("x", "a"), case(BARE, "b"), case("y", "b"), case("Xyz", "b")]
    monkeypatch.setattr(ahead_of_time, "cases", lambda setting: iter(some))
    rows = list(table(traced, 2))
    found = [(row[0], row[1], row[2], row[4], row[6], row[7]) for row in rows]
    assert found == [
        ("a", BARE, "2", "1.00", "1.00", "1"),
        ("a", "x", "2", "1.50", "3.00", "1"),
        ("b", BARE, "2", "1.00", "1.00", "1"),
        ("b", "y", "2", "1.50", "3.00", "1"),
        ("b", "Xyz", "2", "1.50", "3.00", "1"),
    ]
    traced.only = ["y"]
    assert [row[1] for row in table(traced, 2)] == [BARE, "y", "Xyz"]


@pytest.mark.slow
def test_every_attack_is_there(traced):
    names = [row[1] for row in table(traced, 2)]
    assert names.count(BARE) == 3 and len(set(names)) == len(names) - 2 == 13


@pytest.mark.slow
def test_a_pass_compiles_for_a_tpu():
    """In a process of its own: python -m benchmarks.ahead_of_time sets what libtpu reads."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("no libtpu (extra `tpu-aot`)")
    import subprocess
    import sys

    words = ["--backbone", "resnet-small", "--side", "64", "--batch", "2", "--only", "CMLA"]
    command = [sys.executable, "-m", "benchmarks.ahead_of_time", *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "CMLA" in said.splitlines()[-1]
