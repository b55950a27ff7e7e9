"""The switch in a scan: the same values and derivatives as JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.core.batching import scan_switch


def scale(fixed, carry, x):
    state, count = carry
    state = jnp.tanh(fixed["w"] @ state + x)
    return (state, count + 1), (state**2).sum()


def shift(fixed, carry, x):
    state, count = carry
    return (state + fixed["b"] * x, count), count.astype(float)


def skip(fixed, carry, x):
    return carry, jnp.zeros(())


BRANCHES = (skip, scale, shift)


def plain(branches, fixed, carry, levels, xs):
    def body(carry, at):
        return jax.lax.switch(at[0], branches, fixed, carry, at[1])

    return jax.lax.scan(body, carry, (levels, xs))


@pytest.fixture
def problem(float64):
    rng = np.random.default_rng(0)
    fixed = {"w": jnp.asarray(rng.normal(size=(3, 3))), "b": jnp.asarray(rng.normal(size=3))}
    carry = (jnp.asarray(rng.normal(size=3)), jnp.asarray(0))
    return fixed, carry, jnp.array([1, 0, 2, 1, 2]), jnp.asarray(rng.normal(size=5))


def loss(scanned):
    def value(fixed, state, count, levels, xs):
        (end, number), ys = scanned(BRANCHES, fixed, (state, count), levels, xs)
        return (end * jnp.arange(3.0)).sum() + (ys * jnp.arange(5.0)).sum() + number

    return value


def results(scanned, problem, of):
    fixed, (state, count), levels, xs = problem
    return of(loss(scanned))(fixed, state, count, levels, xs)


@pytest.mark.parametrize(
    "of",
    [
        lambda f: f,
        lambda f: jax.grad(f, argnums=(0, 1)),
        lambda f: jax.grad(f, argnums=1),
        lambda f: jax.jit(jax.grad(f)),
        lambda f: jax.grad(lambda *a: (jax.grad(f, argnums=1)(*a) ** 2).sum(), argnums=(0, 1)),
    ],
    ids=["value", "all", "carry", "fixed", "second"],
)
def test_same_as_a_switch_in_a_scan(problem, of):
    got, wanted = results(scan_switch, problem, of), results(plain, problem, of)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, wanted)


def test_same_under_vmap(problem):
    fixed, (state, count), levels, xs = problem
    states = jnp.stack([state, 2 * state, -state])

    def over(scanned):
        f = jax.grad(loss(scanned), argnums=(0, 1))
        return jax.vmap(f, in_axes=(None, 0, None, None, None))(fixed, states, count, levels, xs)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), over(scan_switch), over(plain)
    )


def test_the_reverse_pass_keeps_no_copies(problem):
    """What is stored an iteration is the carry: nothing of the shape of `fixed` is stacked."""
    fixed, (state, count), levels, xs = problem

    def stacked(scanned):
        f = jax.grad(loss(scanned), argnums=1)
        return "5,3,3]" in str(jax.make_jaxpr(f)(fixed, state, count, levels, xs))

    assert stacked(plain)
    assert not stacked(scan_switch)
