"""What a pass over the configurations says beside eqs. 2-10 (those: tests/captions)."""

import jax
import numpy as np
import pytest
from tiny import tiny_captioner, tiny_image, tiny_parameters

from jaxadv.objectives.marginal import marginal
from jaxadv.objectives.target import make_target
from jaxadv.victims.captioner import greedy


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
@pytest.mark.parametrize("latent", [(), (1,), (0, 2)])
def test_said_is_the_greedy_caption(posterior, latent, float64):
    """As far as the last observed place, for victims that end early and late."""
    victim = tiny_captioner(max_length=5)
    target = make_target([1, 2, 3], 5, set(latent))
    reach = int(target.reach)

    @jax.jit
    def both(params, image):
        features = victim.encode(params, image)
        found = marginal(victim, params, features, target, posterior=posterior)
        return found.said, greedy(victim, params, features).tokens

    lengths = set()
    for seed in range(12):
        said, spoken = both(tiny_parameters(seed=seed), tiny_image(seed))
        np.testing.assert_array_equal(said[:reach], spoken[:reach])
        lengths.add(int((spoken != 0).sum()))
    assert len(lengths) > 1
