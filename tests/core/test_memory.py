"""The batch that is found fits by the compiler's own count, and one a little larger does not."""

import jax
import numpy as np
import pytest

from benchmarks.setting import Setting, tagger
from jaxadv.core import memory
from jaxadv.core.memory import largest_batch
from jaxadv.errors import InputError
from jaxadv.labels.tkmia import tkmia

TINY = Setting("resnet-small", 32, batch=1)
MADE = tagger(TINY)
ATTACK = tkmia(MADE.functions)
EXAMPLE = (np.asarray(TINY.pictures()[0]), jax.tree.map(lambda x: x[0], MADE.targets))


def _needed(batch):
    return memory._needed(ATTACK, MADE.params, *EXAMPLE, 3, batch)


def _find(**options):
    return largest_batch(ATTACK, MADE.params, *EXAMPLE, iterations=3, **options)


def test_the_largest_that_fits():
    free = int(_needed(20) / (1 - memory.SPARE)) + 1
    found = _find(most=1000, free=free)
    assert found.needed == _needed(found.batch) <= free * (1 - memory.SPARE)
    assert 15 <= found.batch <= 22 and _needed(found.batch + 4) > free * (1 - memory.SPARE)
    assert str(found).startswith(f"batch {found.batch}: ") and "GiB" in str(found)


def test_no_more_than_are_wanted():
    assert _find(most=3).batch == 3


def test_not_even_one():
    with pytest.raises(InputError, match=r"one attack takes .* MiB: .* has 0 free"):
        _find(most=5, free=1000)


def test_what_is_free_is_less_than_the_machine_has():
    assert 0 < memory.free_bytes(jax.local_devices()[0]) < 2**50
