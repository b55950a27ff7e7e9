"""What a CMLA step costs beside the bare image network, with a context of 10,000 codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.timing import attack_steps, bare_steps, first_states, interleaved
from jaxadv.hashing.cmla import Known, cmla, hash_target
from jaxadv.victims.architectures import HasherArchitecture
from jaxadv.victims.nets.hash_net import initial_variables

BATCH, ITEMS, BITS, TAGS, LABELS, STEPS = 4, 10_000, 64, 1386, 24, 3


@pytest.mark.slow
def test_step_costs_what_the_image_network_costs(capsys):
    """At most 1.1 times VGG-F's value_and_grad at 224 x 224, in the same kind of loop, interleaved.

    VGG-F is the cheaper of the paper's two, so that the context weighs more than with ResNet-50.
    The best pass of each side counts: whatever else runs on the machine only adds.
    """
    made = HasherArchitecture("dcmh", "vgg-f", bits=BITS, units=64)
    names = {
        "tags": tuple(map(str, range(TAGS))),
        "classes": tuple(map(str, range(LABELS))),
    }
    params = initial_variables(made.network(LABELS), made.image_shape, TAGS, jax.random.key(0))
    victim, rng = made.functions(names), np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(size=(BATCH, *made.image_shape)), jnp.float32)
    what = Known(params, *jnp.asarray(rng.normal(size=(2, ITEMS, BITS)), jnp.float32))
    labels = jnp.asarray(rng.random((BATCH + ITEMS, LABELS)) < 0.15)
    targets = jax.vmap(hash_target, in_axes=(0, None))(labels[:BATCH], labels[BATCH:])
    attack = cmla(victim)
    states = first_states(attack, what, images, targets)

    def bare_loss(params, image):
        return jnp.sum(victim.image_code(params, image) ** 2)

    bare = bare_steps(bare_loss, STEPS)
    steps = attack_steps(attack, images, targets, STEPS)
    sides = {"cmla": lambda: steps(what, states), "bare": lambda: bare(params, images)}
    seconds = interleaved(sides, passes=5)
    ratio = min(seconds["cmla"]) / min(seconds["bare"])
    with capsys.disabled():
        each = min(seconds["bare"]) / STEPS
        print(f"\nCMLA step / VGG-F's value_and_grad ({each:.2f} s, batch {BATCH}) = {ratio:.3f}")
    assert ratio <= 1.1
