"""Programs for accelerators, lowered without one: nothing in them would hold a GPU or a TPU up."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers.every_attack import cases

from jaxadv.captions import gem, reliable, target
from jaxadv.captions.bank import with_bank
from jaxadv.core.run import _run
from jaxadv.data import scenes
from jaxadv.victims import zoo

LARGEST = 1 << 20  # bytes of a constant in a program: weights are arguments
# what XLA's own compilers for GPUs and TPUs turn into their instructions: random bits and sorting
BUILT_IN = {"cu_threefry2x32_ffi", "mhlo.topk", "chlo.top_k", "ApproxTopK", "Sharding"}
COUNT = 2


def lowered(attack, params, images, targets, platform):
    traced = _run.trace(
        attack, params, images, targets, jax.random.key(0), jnp.arange(COUNT), iterations=2
    )
    return traced.lower(lowering_platforms=(platform,)).as_text()


def check(program):
    called = set(re.findall(r"custom_call @([\w.$]+)", program))
    assert called <= BUILT_IN
    assert not re.search(r"tensor<(?:\d+x)*f64>", program)
    assert "callback" not in program
    longest = max((len(text) for text in re.findall(r'dense<"0x([0-9A-F]+)"', program)), default=0)
    assert longest / 2 <= LARGEST


CASES = dict(cases(COUNT))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", CASES)
def test_every_attack_lowers(name, platform):
    check(lowered(*CASES[name](), platform))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("method", ["gem", "reliable"])
def test_attacks_on_a_real_network_lower(method, platform):
    """Convolutions in the form for that platform, weights as arguments, and a bank."""
    victim = zoo.load("scenes-show-attend-tell")
    pictures = jnp.stack([e.picture for e in scenes.examples(3, COUNT)])
    aim = target("a red _ is above a blue _", victim.captioner)
    attack, params = gem(victim.captioner), victim.params
    if method == "reliable":
        attack = reliable(victim.captioner, budget=9)
        params = jax.eval_shape(
            lambda p, x: with_bank(victim.captioner, p, x), victim.params, pictures
        )
    aims = jax.tree.map(lambda x: jnp.stack([x] * COUNT), aim)
    check(lowered(attack, params, pictures, aims, platform))
