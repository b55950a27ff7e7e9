"""What a TkMIA step costs beside the bare victim, on a full-size tagger."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.timing import attack_steps, bare_steps, first_states, interleaved
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.target import LabelTarget
from jaxadv.labels.tkmia import tkmia
from jaxadv.victims.nets.resnet import resnet50

BATCH, LABELS, SIDE, STEPS = 8, 80, 300, 2


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["exact", "gradient"])
def test_tkmia_step_costs_what_the_victim_costs(inner, capsys):
    """At most 1.08 times the victim's value_and_grad in the same kind of loop, interleaved.

    The best pass of each side counts: whatever else runs on the machine only adds.
    """
    net = resnet50()
    shape = (SIDE, SIDE, 3)
    params = {
        "net": jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape)),
        "head": jax.random.normal(jax.random.key(1), (2048, LABELS)) / 45,
    }

    def logits(params, image):
        return net.apply(params["net"], image).mean(axis=(0, 1)) @ params["head"]

    victim = MultiLabelClassifier(logits, tuple(map(str, range(LABELS))), shape)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(size=(BATCH, *shape)), jnp.float32)
    places = jnp.arange(LABELS) + jnp.zeros((BATCH, 1), int)
    numbers = jnp.arange(BATCH)[:, None]
    targets = LabelTarget(places < 6 + numbers, places < 1 + numbers, jnp.arange(BATCH) % 3 + 2)
    attack = tkmia(victim, inner=inner, stop_at_success=False)
    states = first_states(attack, params, images, targets)

    def bare_loss(params, image):
        return jnp.sum(victim.scores(params, image) ** 2)

    bare = bare_steps(bare_loss, STEPS)
    steps = attack_steps(attack, images, targets, STEPS)
    sides = {"tkmia": lambda: steps(params, states), "bare": lambda: bare(params, images)}
    seconds = interleaved(sides, passes=7)
    ratio = min(seconds["tkmia"]) / min(seconds["bare"])
    with capsys.disabled():
        print(f"\nTkMIA step ({inner}) / victim's value_and_grad = {ratio:.3f}")
    assert ratio <= 1.08
