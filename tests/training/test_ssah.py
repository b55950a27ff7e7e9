"""SSAH's terms and gradients against literal double sums, and what its parts learn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import hash_equations as literal

from jaxadv.training.ssah import (
    Remembered,
    Weights,
    common_bits,
    label_error,
    taught,
    told_apart,
    unfooled,
)
from jaxadv.victims.nets.ssah import Semantics

N, B, K, SEMANTIC, CLASSES = 6, 3, 4, 5, 3
WEIGHTS = Weights(features=0.7, codes=1.3, quantisation=0.4, labels=0.9, decorrelation=0.6)


@pytest.fixture
def batch(float64):
    rng = np.random.default_rng(0)
    said = Semantics(
        np.abs(rng.normal(size=(B, SEMANTIC))),
        np.tanh(rng.normal(size=(B, K))),
        rng.random((B, CLASSES)),
    )
    teacher = Remembered(np.abs(rng.normal(size=(N, SEMANTIC))), np.tanh(rng.normal(size=(N, K))))
    everyone = (rng.random((N, CLASSES)) < 0.4).astype(float)
    bits = np.sign(rng.normal(size=(B, K)))
    return said, teacher, everyone, bits


def equation(said, teacher, labels, similar, bits):
    """`α J1 + γ J2 + η J3 + β J4`, each divided by the number of its summands, and ours."""
    return (
        0.7 * literal.pair_loss(said.features, teacher.features, similar) / (B * N)
        + 1.3 * literal.pair_loss(said.code, teacher.codes, similar) / (B * N)
        + 0.4 * literal.squares(bits, said.code) / (B * K)
        + 0.9 * literal.squares(said.labels, labels) / (B * CLASSES)
        + 0.6 * literal.correlation(said.code)
    )


@pytest.mark.parametrize("field", Semantics._fields)
def test_what_a_network_is_taught(batch, field):
    """Value, and gradient by each of the three things that a network says."""
    said, teacher, everyone, bits = batch
    labels = everyone[:B]
    similar = literal.similarity(labels, everyone)
    assert 0 < similar.mean() < 1

    def ours(values):
        return taught(said._replace(**{field: values}), labels, similar, teacher, bits, WEIGHTS)

    def expected(values):
        return equation(said._replace(**{field: values}), teacher, labels, similar, bits)

    at = getattr(said, field)
    value, gradient = jax.value_and_grad(ours)(jnp.asarray(at))
    assert float(value) == pytest.approx(expected(at), rel=1e-12)
    np.testing.assert_allclose(gradient, literal.difference_quotients(expected, at), atol=1e-8)


def test_labels_read_back(batch):
    said, _, everyone, _ = batch
    assert float(label_error(said.labels, everyone[:B])) == pytest.approx(
        literal.squares(said.labels, everyone[:B])
    )


def test_discriminators_objectives(float64):
    rng = np.random.default_rng(1)
    of_labels, of_others = rng.normal(size=(2, N))

    def apart(of_labels, of_others):
        return sum((a - 1) ** 2 for a in of_labels) + sum(b**2 for b in of_others)

    for place in range(2):
        given = [of_labels, of_others]
        value, gradient = jax.value_and_grad(told_apart, argnums=place)(*map(jnp.asarray, given))
        assert float(value) == pytest.approx(apart(*given))

        def moved(scores, place=place, given=given):
            return apart(*given[:place], scores, *given[place + 1 :])

        np.testing.assert_allclose(
            gradient, literal.difference_quotients(moved, given[place]), atol=1e-8
        )
    assert float(unfooled(of_others)) == pytest.approx(sum((b - 1) ** 2 for b in of_others))
    # a step that fools a discriminator is one that it suffers from
    assert (jax.grad(unfooled)(jnp.asarray(of_others))[of_others < 1] < 0).all()


def test_bits_are_those_of_most():
    codes = jnp.array([[[0.9, -0.2]], [[-0.3, -0.2]], [[-0.3, 0.3]]])
    np.testing.assert_array_equal(common_bits(*codes), [[1, -1]])
