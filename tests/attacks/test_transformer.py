"""Every attack on captions as it is, on a victim whose state is a cache and a position."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import (
    LENGTH,
    ON_TRANSFORMER,
    TRANSFORMER,
    TRANSFORMER_PARAMETERS,
    pictures,
    targets_of,
)
from tiny_transformer import log_probabilities

from jaxadv.attacks.drive import run

COUNT, STEPS = 4, 60


@pytest.mark.parametrize("name", ON_TRANSFORMER)
def test_attack_fools_whatever_the_batch(name):
    """Some examples are fooled, by the captions of the literal network; one alone as in a batch."""
    attack, kind = ON_TRANSFORMER[name]
    images, targets = pictures(COUNT), targets_of(kind, COUNT)
    attacked = partial(run, attack, TRANSFORMER_PARAMETERS, iterations=STEPS)
    whole = attacked(images, targets)
    before = jax.vmap(attack.judge, in_axes=(None, 0, 0))(TRANSFORMER_PARAMETERS, images, targets)
    assert whole.best.success.sum() > before.success.sum()
    assert np.isfinite(whole.losses).all() and np.isfinite(whole.final.image).all()
    for image, said in zip(whole.final.image, whole.final.output, strict=True):
        assert said.tolist() == literal_greedy(image)
    row = jnp.arange(2, 3)
    alone = attacked(images[row], jax.tree.map(lambda x: x[row], targets), ids=row)
    assert alone.final.output[0].tolist() == whole.final.output[2].tolist()
    np.testing.assert_allclose(alone.losses[0], whole.losses[2], rtol=1e-3, atol=1e-4)


def literal_greedy(image):
    params = jax.tree.map(partial(np.asarray, dtype=np.float64), TRANSFORMER_PARAMETERS)
    said = []
    while len(said) < LENGTH and 0 not in said:
        rows = log_probabilities(params, np.asarray(image, np.float64), said)
        said.append(int(np.argmax(rows[-1])))
    return said + [0] * (LENGTH - len(said))


def test_no_gradient_is_lost_on_the_way_through_the_cache():
    """A word's loss reaches the picture through the keys and values of the words before, too.

    With the cells out of the last word's sight the gradient is what the cache carries.
    """
    features = TRANSFORMER.encode(TRANSFORMER_PARAMETERS, pictures(1)[0])
    first = TRANSFORMER.begin(TRANSFORMER_PARAMETERS, features)

    def score(words):
        state = first._replace(words=words)
        state = TRANSFORMER.advance(TRANSFORMER_PARAMETERS, features, state, jnp.asarray(1))
        return TRANSFORMER.logits(TRANSFORMER_PARAMETERS, state)[2]

    gradient = jax.grad(score)(first.words)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf[:, 0]).max() > 1e-4  # the begin token's
        np.testing.assert_array_equal(leaf[:, 1:], 0)  # not written yet, or written over
