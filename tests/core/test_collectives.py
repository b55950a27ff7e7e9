"""The programs of `stream` over several devices: nothing travels between them.

On eight: XLA_FLAGS=--xla_force_host_platform_device_count=8 pytest tests/core/test_collectives.py
"""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers.every_attack import cases
from jax.sharding import NamedSharding, PartitionSpec

from jaxadv.core import stream
from jaxadv.experiments.devices import over_local_devices

COLLECTIVE = re.compile(
    r"(all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)"
    r"(?:-start)?\("
)
SHARDING, SLOTS = over_local_devices(2 * len(jax.devices()))
CASES = dict(cases(SLOTS))


def collectives(program):
    return COLLECTIVE.findall(program.compile().as_text())


@pytest.mark.skipif(SHARDING is None, reason="one device")
@pytest.mark.parametrize("name", CASES)
def test_nothing_travels(name):
    attack, params, images, targets = CASES[name]()
    params = jax.device_put(params, NamedSharding(SHARDING.mesh, PartitionSpec()))
    ids, fresh = jnp.arange(SLOTS, dtype=jnp.int32), jnp.ones(SLOTS, bool)
    arrivals = jax.device_put(stream._Arrivals(images, targets, ids, fresh), SHARDING)
    key = jax.random.key(0)
    fill = stream._fill.lower(attack, params, arrivals, key, None, 5, SHARDING)
    assert collectives(fill) == []
    slots = fill.compile()(params, arrivals, key, None)
    until = jax.device_put(jnp.full(SLOTS, 5), SHARDING)
    for pauses in (None, until):
        chunk = stream._chunk.lower(attack, params, slots, pauses, 5, SHARDING)
        assert collectives(chunk) == []
    assert collectives(stream._finalise.lower(attack, params, slots, SHARDING)) == []


def test_collectives_are_found():
    """Where XLA's partitioner is left alone with a sum over slots."""
    total = jax.jit(jnp.sum).lower(jax.device_put(jnp.ones(SLOTS), SHARDING))
    assert SHARDING is None or collectives(total) == ["all-reduce"]
