"""The attacks on taggers by name: the paper's settings, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image
from helpers.tiny_tagger import TAGGER, label_target, tagger_parameters

from jaxadv.core.method import choose
from jaxadv.core.run import unroll
from jaxadv.errors import InputError
from jaxadv.labels.methods import METHODS
from jaxadv.labels.tkmia import tkmia

PARAMETERS = tagger_parameters(dtype="float32")
IMAGE = tiny_image(2, dtype="float32")
TARGET = label_target(PARAMETERS, IMAGE, 2)


@pytest.mark.parametrize("name", [method.name for method in METHODS])
def test_every_method_moves_the_picture(name):
    method = choose(METHODS, name)
    assert method.iterations == (1000 if name == "reliable" else 300)
    state, _ = unroll(method.attack(TAGGER), PARAMETERS, IMAGE, TARGET, iterations=2)
    assert jnp.abs(state.perturbation).max() > 0


def test_defaults_are_the_papers():
    """SGD 5e-4 with momentum 0.9 and α = 1e-4, of the picture in [-1, 1]."""
    prepared = choose(METHODS, "tkmia").attack(TAGGER)
    got, wanted = (
        jax.jit(lambda attack=attack: unroll(attack, PARAMETERS, IMAGE, TARGET, iterations=5))()
        for attack in (prepared, tkmia(TAGGER))
    )
    np.testing.assert_array_equal(got[0].perturbation, wanted[0].perturbation)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("pgd", {}, "method 'pgd': must be one of tkmia, ml-cw-u, tkml-ap-u, kfool, reliable"),
        ("tkmia", {"inner": "none"}, "inner 'none': must be one of exact, gradient"),
        ("tkmia", {"space": "rgb"}, "space 'rgb': must be one of signed, tanh"),
        ("tkmia", {"learning_rate": 0.0}, "learning_rate 0.0: must be positive"),
        ("tkmia", {"learning_rate": float("nan")}, "learning_rate nan: must be positive"),
        ("tkmia", {"iterations": 0}, "iterations 0: must be a whole number from 1"),
        ("tkmia", {"delta": 0}, "delta 0: must be a whole number of at least 1"),
        ("tkmia", {"tradeoff": -1.0}, "tradeoff -1.0: must be finite and not negative"),
        ("tkmia", {"epsilon": 0.0}, "epsilon 0.0: must be positive"),
        (
            "tkmia",
            {"epsilon": 0.1, "space": "tanh"},
            "space 'tanh': must be signed where epsilon is given",
        ),
        ("tkmia", {"norm": "l3"}, "norm 'l3': must be one of"),
        ("kfool", {"inner": "exact"}, "inner: is not read by kfool; it is for tkmia"),
        ("kfool", {"iteration": 3}, "iteration: no option of kfool: did you mean iterations?"),
    ],
)
def test_options_out_of_range_are_refused(name, options, line):
    with pytest.raises(InputError, match=line):
        choose(METHODS, name, **options)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("optimiser", ["sgd", "sign"])
@pytest.mark.parametrize("name", ["tkmia", "ml-cw-u", "tkml-ap-u"])
def test_a_ball_is_kept_to_in_the_units_of_pictures(name, optimiser, norm):
    """Whatever the optimiser does; large steps reach its edge."""
    method = choose(
        METHODS, name, epsilon=0.05, norm=norm, optimiser=optimiser, learning_rate=0.5, tradeoff=0
    )
    state, _ = unroll(method.attack(TAGGER), PARAMETERS, IMAGE, TARGET, iterations=3)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    length = np.linalg.norm(np.ravel(state.perturbation), order)
    assert 0.03 < length <= 0.05 * (1 + 1e-5)
