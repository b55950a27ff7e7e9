"""The attacks on taggers by name: the paper's settings, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image
from helpers.tiny_tagger import TAGGER, label_target, tagger_parameters

from jaxadv.core.run import unroll
from jaxadv.errors import InputError
from jaxadv.labels.methods import METHODS, Settings, prepare
from jaxadv.labels.tkmia import tkmia

PARAMETERS = tagger_parameters(dtype="float32")
IMAGE = tiny_image(2, dtype="float32")
TARGET = label_target(PARAMETERS, IMAGE, 2)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_moves_the_picture(name):
    method = prepare(TAGGER, Settings(name))
    assert method.iterations == 300
    state, _ = unroll(method.attack, PARAMETERS, IMAGE, TARGET, iterations=2)
    assert jnp.abs(state.perturbation).max() > 0


def test_defaults_are_the_papers():
    """SGD 5e-4 with momentum 0.9 and α = 1e-4, of the picture in [-1, 1]."""
    prepared = prepare(TAGGER, Settings()).attack
    got, wanted = (
        jax.jit(lambda attack=attack: unroll(attack, PARAMETERS, IMAGE, TARGET, iterations=5))()
        for attack in (prepared, tkmia(TAGGER))
    )
    np.testing.assert_array_equal(got[0].perturbation, wanted[0].perturbation)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (Settings("pgd"), "method 'pgd': must be one of tkmia, ml-cw-u, tkml-ap-u, kfool"),
        (Settings(inner="none"), "inner 'none': must be one of exact, gradient"),
        (Settings(space="rgb"), "space 'rgb': must be one of signed, tanh"),
        (Settings(learning_rate=0.0), "learning_rate 0.0: must be positive"),
        (Settings(learning_rate=float("nan")), "learning_rate nan: must be positive"),
        (Settings(iterations=0), "iterations 0: must be a whole number from 1"),
        (Settings(delta=0), "delta 0: must be a whole number of at least 1"),
        (Settings(tradeoff=-1.0), "tradeoff -1.0: must be finite and not negative"),
    ],
)
def test_settings_out_of_range_are_refused(settings, line):
    with pytest.raises(InputError, match=line):
        prepare(TAGGER, settings)
