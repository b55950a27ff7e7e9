"""Norms, and the constraint that a perturbation lies in a ball and the picture in the box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.core.constraints import ball
from jaxadv.core.norms import length, project

NORMS = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
PROJECT = jax.jit(project, static_argnums=2)
ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}


@NORMS
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([1, 7]), radius=st.floats(0.01, 20))
def test_projection_is_the_nearest_point(norm, seed, size, radius):
    """It lies in the ball, and no convex step towards another point of the ball comes nearer."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 3, size), 1)  # with ties and zeros
    with jax.enable_x64(True):
        y = np.asarray(PROJECT(jnp.asarray(x), radius, norm))
    assert np.linalg.norm(y, ORDERS[norm]) <= radius * (1 + 1e-9)
    others = rng.normal(size=(50, size))
    sizes = np.linalg.norm(others, ORDERS[norm], axis=1, keepdims=True)
    others = np.concatenate([others * (radius / sizes), 0 * others[:1]])
    assert ((others - y) @ (x - y) <= 1e-7).all()  # the obtuse angle of a projection
    if np.linalg.norm(x, ORDERS[norm]) <= radius:
        np.testing.assert_allclose(y, x)


@NORMS
def test_length_is_numpys_with_no_slope_at_zero(norm):
    x = jnp.array([[3.0, -4.0], [0.0, 2.0]])
    np.testing.assert_allclose(length(x, norm), np.linalg.norm(x.ravel(), ORDERS[norm]))
    np.testing.assert_array_equal(jax.grad(length)(0 * x, norm), 0 * x)


@NORMS
@pytest.mark.parametrize("non_negative", [False, True])
def test_ball_holds_its_radius_and_the_box(norm, non_negative):
    """In units of 255, whatever the optimiser wishes for."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(np.round(rng.uniform(size=(4, 4, 3)), 1), jnp.float32)
    space = ball(20.0, norm, unit=255.0, non_negative=non_negative)
    space = space._replace(project=jax.jit(space.project))
    for scale in (0.1, 10.0, 1000.0):
        wish = jnp.asarray(rng.normal(0, scale, image.shape), jnp.float32)
        held = space.project(wish, image)
        picture = space.picture(held, image)
        assert length(held, norm) <= 20 * (1 + 1e-5)
        assert picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6
        assert not non_negative or (held >= 0).all()
        np.testing.assert_allclose(space.project(held, image), held, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(space.enter(image, held / 255), held, rtol=1e-4, atol=1e-4)
    inside = jnp.full_like(image, 0.2)  # nothing binds
    np.testing.assert_allclose(space.project(inside, 0.5 + 0 * image), inside, atol=1e-4)
