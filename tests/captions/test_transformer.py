"""Every attack on captions as it is, on a victim whose state is a cache and a position."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.attack_table import (
    LENGTH,
    ON_TRANSFORMER,
    TRANSFORMER,
    TRANSFORMER_PARAMETERS,
    pictures,
    targets_of,
)
from helpers.tiny_transformer import log_probabilities

from jaxadv.core.run import run

COUNT, STEPS = 4, 60


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("gem-joint", "margin") else name
        for name in ON_TRANSFORMER
    ],
)
def test_attack_fools(name):
    """Some are fooled, by the captions of the literal network; one is, whatever is beside it."""
    attack, kind = ON_TRANSFORMER[name]
    images, targets = pictures(COUNT), targets_of(kind, COUNT, transformer=True)
    attacked = partial(run, attack, TRANSFORMER_PARAMETERS, iterations=STEPS)
    whole = attacked(images, targets)
    judge = jax.jit(jax.vmap(attack.judge, in_axes=(None, 0, 0)))
    before = judge(TRANSFORMER_PARAMETERS, images, targets)
    assert whole.best.success.sum() > before.success.sum()
    assert np.isfinite(whole.losses).all() and np.isfinite(whole.final.image).all()
    for image, said in zip(whole.final.image, whole.final.output, strict=True):
        assert said.tolist() == literal_greedy(image)
    rows = jnp.full(COUNT, 1)  # a batch of the same size compiles no more
    alone = attacked(images[rows], jax.tree.map(lambda x: x[rows], targets), ids=rows)
    for again, losses in zip(alone.final.output, alone.losses, strict=True):
        assert again.tolist() == whole.final.output[1].tolist()
        np.testing.assert_allclose(losses, whole.losses[1], rtol=1e-3, atol=1e-4)


def literal_greedy(image):
    params = jax.tree.map(partial(np.asarray, dtype=np.float64), TRANSFORMER_PARAMETERS)
    said = []
    while len(said) < LENGTH and 0 not in said:
        rows = log_probabilities(params, np.asarray(image, np.float64), said)
        said.append(int(np.argmax(rows[-1])))
    return said + [0] * (LENGTH - len(said))


def test_gradient_through_the_cache():
    """A word's score depends on the keys and values of the words before, in the state."""

    @jax.jit
    def slope(image):
        features = TRANSFORMER.encode(TRANSFORMER_PARAMETERS, image)
        first = TRANSFORMER.begin(TRANSFORMER_PARAMETERS, features)

        def score(words):
            state = first._replace(words=words)
            state = TRANSFORMER.advance(TRANSFORMER_PARAMETERS, features, state, jnp.asarray(1))
            return TRANSFORMER.logits(TRANSFORMER_PARAMETERS, state)[2]

        return jax.grad(score)(first.words)

    gradient = slope(pictures(1)[0])
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf[:, 0]).max() > 1e-4  # the begin token's
        np.testing.assert_array_equal(leaf[:, 1:], 0)  # not written yet, or written over
