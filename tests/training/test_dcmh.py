"""DCMH's terms and gradients against literal double sums, and a toy problem that is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import hash_equations as literal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxadv.training.dcmh import Weights, balance, batch_objective, best_bits
from jaxadv.training.pairwise import (
    decorrelation,
    half_products,
    negative_log_likelihood,
    quantisation,
    share_label,
)

N, K, CLASSES = 7, 4, 3
GAMMA, ETA = 0.7, 0.3


@pytest.fixture
def example(float64):
    rng = np.random.default_rng(0)
    codes, others = rng.normal(size=(2, N, K))
    labels = rng.random((N, CLASSES)) < 0.4
    return codes, others, np.sign(rng.normal(size=(N, K))), labels.astype(float)


def check(function, expected, at):
    """Value and gradient of a function of one array, in double precision."""
    value, gradient = jax.value_and_grad(function)(jnp.asarray(at))
    assert gradient.dtype == jnp.float64
    assert float(value) == pytest.approx(expected(at), rel=1e-12)
    np.testing.assert_allclose(gradient, literal.difference_quotients(expected, at), atol=1e-7)


def test_pairs_that_share_a_label(example):
    labels = example[3]
    expected = literal.similarity(labels, labels[:4])
    np.testing.assert_array_equal(share_label(labels, labels[:4]), expected)
    assert 0 < expected.mean() < 1


def test_likelihood(example):
    codes, others, _, labels = example
    similar = literal.similarity(labels, labels)
    check(
        lambda f: negative_log_likelihood(half_products(f, others), similar),
        lambda f: literal.pair_loss(f, others, similar),
        codes,
    )


def test_quantisation(example):
    codes, _, bits, _ = example
    check(lambda f: quantisation(bits, f), lambda f: literal.squares(bits, f), codes)


def test_balance(example):
    check(balance, literal.imbalance, example[0])


def test_decorrelation(example):
    check(decorrelation, literal.correlation, example[0])


def equation_1(images, texts, bits, similar):
    return (
        literal.pair_loss(images, texts, similar)
        + GAMMA * (literal.squares(bits, images) + literal.squares(bits, texts))
        + ETA * (literal.imbalance(images) + literal.imbalance(texts))
    )


def test_a_batchs_gradient_is_that_of_the_whole_objective(example):
    """Equations 2 and 3: the rows of a batch, against the remembered codes of all."""
    images, texts, bits, labels = example
    similar = literal.similarity(labels, labels)
    rows = np.array([5, 0, 3])

    def whole(codes, remembered, turn):
        moved = remembered.copy()
        moved[rows] = codes
        return turn(moved)

    for own, other, turn in (
        (images, texts, lambda f: equation_1(f, texts, bits, similar)),
        (texts, images, lambda g: equation_1(images, g, bits, similar)),
    ):
        stale = jnp.asarray(own).at[rows].set(9.0)  # what the batch replaces does not count
        gradient = jax.grad(batch_objective)(
            jnp.asarray(own[rows]), rows, stale, other, bits, similar[rows], Weights(GAMMA, ETA)
        )
        expected = literal.difference_quotients(
            lambda codes, own=own, turn=turn: whole(codes, own, turn), own[rows]
        )
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (2, 3, 3), elements=st.floats(-3, 3)))
def test_no_other_bits_are_better(codes):
    """Equation 4, against all 512."""
    images, texts = codes
    best = best_bits(jnp.asarray(images), jnp.asarray(texts))
    reached = literal.squares(np.asarray(best), images) + literal.squares(np.asarray(best), texts)
    every = (np.array(list(np.ndindex(*(2,) * 9))) * 2.0 - 1).reshape(-1, 3, 3)
    least = ((every - images) ** 2 + (every - texts) ** 2).sum(axis=(1, 2)).min()
    assert reached == pytest.approx(least, rel=1e-5, abs=1e-5)
