"""What the two aims of CMLA cost each other: codes that no picture has to make, beside pictures."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxadv.experiments.hash_attacks import encode
from jaxadv.experiments.retrieval import Asked, measure
from jaxadv.experiments.retrieval_pools import retrieval_pools
from jaxadv.hashing.cmla import context_codes, hash_target, inter_modal, intra_modal
from jaxadv.hashing.metrics import effective_dimensions
from jaxadv.victims import zoo

WEIGHTS = (1, 4, 16, 64, 128)


def descend(code, labels, *, texts, pictures, context, weight, steps=400):
    """Minimise eq. 5 over the code itself, from that of the benign picture."""
    target = hash_target(labels, context)
    optimiser = optax.adam(0.05)

    def loss(code):
        apart = inter_modal(code, texts, target.wanted)
        return apart + weight * intra_modal(code, pictures, target.similar)

    def step(carried, _):
        code, state = carried
        change, state = optimiser.update(jax.grad(loss)(code), state)
        return (code + change, state), None

    return jax.lax.scan(step, (code, optimiser.init(code)), None, steps)[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scenes-dcmh", "scenes-ssah"])
def test_free_codes_trade_the_two_aims_as_well(name):
    """The heavier the intra-modal term, the higher both: no code leaves the texts alone."""
    victim = zoo.load(name)
    queries, database = retrieval_pools(victim, ["scenes"], 60, 5000)
    codes = encode(victim.hasher, victim.params, database)
    benign = encode(victim.hasher, victim.params, queries).image
    asked = Asked(codes, database.labels, queries.labels)
    print(f"{name}: {effective_dimensions(codes.image):.1f} effective dimensions of pictures")
    assert effective_dimensions(codes.image) < 8 < codes.image.shape[1]
    found = []
    for weight in WEIGHTS:
        one = partial(
            descend,
            texts=context_codes(jnp.asarray(codes.text)),
            pictures=context_codes(jnp.asarray(codes.image)),
            context=jnp.asarray(database.labels),
            weight=weight,
        )
        free = np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(benign), jnp.asarray(queries.labels)))
        found.append([measure(free, asked, to).mean_average_precision for to in ("text", "image")])
        print(f"β {weight}: image to text {found[-1][0]:.2f}, image to image {found[-1][1]:.2f}")
    assert np.all(np.diff(np.array(found), axis=0) > 0)
    assert all(own > cross for cross, own in found)
