"""The gradient that is taken on the way forward is that of the log-softmax."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from jaxadv.captions.captioner import KEPT
from jaxadv.captions.log_probability import log_probability

WORDS, UNITS, LANES = 5, 3, 4


class State(NamedTuple):
    """Part of it the scores do not read, and part of it is no float."""

    read: jax.Array
    memory: jax.Array
    position: jax.Array


def scores(params, state):
    return jnp.tanh(state.read) @ params["kernel"] + params["bias"]


@pytest.fixture
def problem(float64):
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(UNITS, WORDS)), "bias": rng.normal(size=WORDS)}
    state = State(
        rng.normal(size=(LANES, UNITS)), rng.normal(size=(LANES, 7)), np.arange(LANES, dtype=int)
    )
    return jax.tree.map(jnp.asarray, (params, state, rng.integers(0, WORDS, LANES)))


def plain(params, read, state, tokens):
    log_p = jax.nn.log_softmax(jax.vmap(scores, (None, 0))(params, state._replace(read=read)))
    return log_p[jnp.arange(LANES), tokens]


def ahead(params, read, state, tokens):
    state = state._replace(read=read)
    log_p = jax.nn.log_softmax(jax.vmap(scores, (None, 0))(params, state))
    of = jax.vmap(log_probability, in_axes=(None, None, 0, 0, 0))
    return of(scores, params, state, tokens, log_p)


def results(of, problem, wanted):
    """The gradient of a weighted sum, and that of its gradient's square by both."""
    params, state, tokens = problem

    def loss(params, read):
        return (of(params, read, state, tokens) * jnp.arange(1.0, 1 + LANES)).sum()

    first = jax.grad(loss, argnums=wanted)

    def square(params, read):
        return sum((x**2).sum() for x in jax.tree.leaves(first(params, read)))

    return first(params, state.read), jax.grad(square, argnums=(0, 1))(params, state.read)


@pytest.mark.parametrize("wanted", [(1,), (0,), (0, 1)], ids=["state", "params", "both"])
def test_first_and_second_derivatives(problem, wanted):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        results(ahead, problem, wanted),
        results(plain, problem, wanted),
    )


def test_value(problem):
    params, state, tokens = problem
    got, wanted = (of(params, state.read, state, tokens) for of in (ahead, plain))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_what_is_kept_is_as_small_as_what_the_scores_read(problem, capsys):
    params, state, tokens = problem
    policy = jax.checkpoint_policies.save_only_these_names(KEPT)

    def loss(read):
        return ahead(params, read, state, tokens).sum()

    print_saved_residuals(jax.checkpoint(loss, policy=policy), state.read)
    kept = [line for line in capsys.readouterr().out.splitlines() if KEPT in line]
    assert kept and all(f"[{LANES},{UNITS}]" in line for line in kept)
