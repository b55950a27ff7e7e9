"""Meta-learning through `unroll`: the step size that makes an attack end best."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny import tiny_image
from helpers.tiny_tagger import TAGGER, label_target, tagger_parameters

from jaxadv.core.attack import descend
from jaxadv.core.constraints import clip
from jaxadv.core.run import unroll
from jaxadv.labels.judging import label_judge
from jaxadv.labels.ml_cw_u import objective as ml_cw_u_objective

STEPS, META_STEPS = 4, 6


@pytest.mark.usefixtures("float64")
def test_step_size_is_learned():
    """The gradient of the last loss to ln of the rate is right, and descending it helps."""
    parameters, image = tagger_parameters(), tiny_image(0)
    target = label_target(parameters, image, 1)
    objective = ml_cw_u_objective(TAGGER, tradeoff=0.01)

    @jax.jit
    def last_loss(log_rate):
        optimiser = optax.adam(jnp.exp(log_rate), eps_root=1e-12)
        attack = descend(objective, label_judge(TAGGER), constraint=clip(), optimiser=optimiser)
        return unroll(attack, parameters, image, target, iterations=STEPS)[1].loss[-1]

    slope_of = jax.jit(jax.value_and_grad(last_loss))
    log_rate = jnp.log(1e-3)
    first, slope = slope_of(log_rate)
    h = 1e-5
    finite = (last_loss(log_rate + h) - last_loss(log_rate - h)) / (2 * h)
    assert abs(finite) > 1e-4
    np.testing.assert_allclose(slope, finite, rtol=1e-5)
    meta = optax.adam(0.3)
    state, losses = meta.init(log_rate), []
    for _ in range(META_STEPS):
        loss, slope = slope_of(log_rate)
        update, state = meta.update(slope, state)
        log_rate = optax.apply_updates(log_rate, update)
        losses.append(loss)
    assert losses[0] == first
    assert np.all(np.diff(losses) < 0)
    assert last_loss(log_rate) < 0.98 * first
