"""The terms of eqs. 5 and 6 beside the literal double sum, and what counts as found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import cmla_equations as paper
from helpers.tiny_hasher import BITS, CODE_OF, HASHER, ITEMS, example, known, stack, target
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.core.norms import length
from jaxadv.hashing.cmla import (
    UNITS,
    Weights,
    finds_wanted,
    hash_target,
    inter_modal,
    intra_modal,
    objective,
)
from jaxadv.hashing.hasher import binary_code

BOTH = pytest.mark.parametrize("modality", ["image", "text"])
EXAMPLES = 5


def _batch(modality):
    rng = np.random.default_rng(7)
    examples = jnp.stack([example(modality, seed) for seed in range(EXAMPLES)])
    moved = jnp.clip(examples + rng.normal(0, 0.03, examples.shape), 0, 1)
    return examples, moved, stack(target(seed) for seed in range(EXAMPLES))


SHOWN = {
    "outputs": lambda codes: codes,
    "unit": lambda codes: codes / np.sqrt((codes**2).mean()),
    "signs": lambda codes: np.where(codes >= 0, 1.0, -1.0),
}


def _of(modality, what, codes):
    of = {"image": np.asarray(what.image_codes), "text": np.asarray(what.text_codes)}
    return SHOWN[codes](of[{"image": "text", "text": "image"}[modality]]), SHOWN[codes](
        of[modality]
    )


@pytest.mark.usefixtures("float64")
@BOTH
@pytest.mark.parametrize(
    ("norm", "codes"),
    [("l1", "outputs"), ("l2", "outputs"), ("linf", "outputs"), ("l2", "unit"), ("l2", "signs")],
)
def test_rows_sum_to_the_papers_double_sum(modality, norm, codes):
    """And so do their gradients: eq. 5 is separable over the attacked examples."""
    weights, what = Weights(0.7, 1.3, 0.4), known()
    examples, moved, targets = _batch(modality)
    loss = objective(HASHER, modality, weights=weights, norm=norm, codes=codes).loss
    other, own = _of(modality, what, codes)

    def row(adversarial, benign, one):
        return loss(what, benign, adversarial, one, ())[0]

    values, gradients = jax.vmap(jax.value_and_grad(row))(moved, examples, targets)

    def whole(adversarial):
        """Eq. 5 of the batch at once, in JAX, to have its gradient; checked against the loops."""
        made = jax.vmap(CODE_OF[modality], in_axes=(None, 0))(what.params, adversarial)
        gamma, theta, s = made @ other.T / 2, made @ own.T / 2, targets.similar
        sums = weights.inter * (jnp.log(1 + jnp.exp(-gamma)) + s * gamma).sum()
        sums += weights.intra * (jnp.log(1 + jnp.exp(theta)) - s * theta).sum()
        change = UNITS[modality] * (adversarial - examples)
        return sums + weights.distortion * sum(length(x, norm) for x in change)

    made = jax.vmap(CODE_OF[modality], in_axes=(None, 0))(what.params, moved)
    change = np.asarray(UNITS[modality] * (moved - examples))
    in_numpy = [np.asarray(made), other, own, np.asarray(targets.similar)]
    literal = paper.equation_5(*in_numpy, change, weights, norm)
    total, slopes = jax.value_and_grad(whole)(moved)
    np.testing.assert_allclose(values.sum(), literal, rtol=1e-12)
    np.testing.assert_allclose(total, literal, rtol=1e-12)
    np.testing.assert_allclose(gradients, slopes, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("term", ["inter", "intra"])
def test_terms_and_their_gradients_by_hand(term):
    what, one = known(3), target(3)
    code = jnp.asarray(np.random.default_rng(0).normal(size=BITS))
    weights = (1, 0, 0) if term == "inter" else (0, 1, 0)
    other, own, s = np.asarray(what.text_codes), np.asarray(what.image_codes), one.similar
    value, slope = jax.value_and_grad(
        lambda code: (
            inter_modal(code, what.text_codes, one.wanted)
            if term == "inter"
            else intra_modal(code, what.image_codes, one.similar)
        )
    )(code)
    literal = paper.equation_5([np.asarray(code)], other, own, [np.asarray(s)], [0.0], weights)
    np.testing.assert_allclose(value, literal, rtol=1e-12)
    by_hand = paper.slope_of_code(np.asarray(code), other, own, np.asarray(s), weights)
    np.testing.assert_allclose(slope, by_hand, rtol=1e-10)


def test_codes_of_any_size_have_finite_terms():
    """DCMH's codes are not bounded: exp(Γ) overflows, the loss does not."""
    codes = jnp.full((ITEMS, BITS), 100.0)
    for code in (codes[0], -codes[0]):
        for term in (inter_modal, intra_modal):
            for one in (jnp.ones(ITEMS, bool), jnp.zeros(ITEMS, bool)):
                value, slope = jax.value_and_grad(term)(code, codes, one)
                assert jnp.isfinite(value) and jnp.isfinite(slope).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([(1, 9), (4, 30), (64, 30)]))
def test_first_of_the_hamming_ranking(seed, sizes):
    """Ties by order: few bits and many items make many."""
    rng, (bits, items) = np.random.default_rng(seed), sizes
    codes = rng.normal(size=(items, bits)).astype(np.float32)
    code, wanted = rng.normal(size=bits).astype(np.float32), rng.random(items) < 0.5
    distances = [(np.sign(code) != np.sign(row)).sum() for row in codes]
    first = min(range(items), key=lambda j: (distances[j], j))
    assert bool(finds_wanted(*map(jnp.asarray, (code, codes, wanted)))) == wanted[first]


def test_a_code_that_is_not_finite_finds_nothing():
    codes = jnp.ones((3, 2))
    assert finds_wanted(jnp.ones(2), codes, jnp.ones(3, bool))
    assert not finds_wanted(jnp.array([1.0, jnp.nan]), codes, jnp.ones(3, bool))


@pytest.mark.usefixtures("float64")
def test_a_target_of_the_attackers_choice_is_the_likelihood_of_it():
    """The inter-modal term is least where wanted items agree and all others do not."""
    codes = jnp.asarray(np.random.default_rng(1).normal(size=(ITEMS, BITS)))
    codes = binary_code(codes)
    wanted = jnp.arange(ITEMS) == 4
    chosen = 40 * codes[4]
    value = inter_modal(chosen, jnp.stack([codes[4], -codes[4]]), jnp.array([True, False]))
    assert value < 1e-6
    gamma = codes @ chosen / 2
    literal = jnp.where(wanted, jnp.log(1 + jnp.exp(-gamma)), jnp.log(1 + jnp.exp(gamma))).sum()
    np.testing.assert_allclose(inter_modal(chosen, codes, wanted), literal, rtol=1e-12)


def test_the_papers_target_wants_what_is_not_alike():
    labels, context = jnp.eye(3, dtype=bool)[0], jnp.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    one = hash_target(labels, context)
    assert one.similar.tolist() == [True, False, False]
    assert one.wanted.tolist() == [False, True, True]


@pytest.mark.usefixtures("float64")
@BOTH
def test_the_default_does_not_see_the_scale_of_a_modality(modality):
    """Nor the one of the other; the outputs of a layer that are all 0 stay."""
    what, (examples, moved, targets) = known(), _batch(modality)
    louder = what._replace(image_codes=3 * what.image_codes, text_codes=what.text_codes / 5)
    loss = objective(HASHER, modality).loss
    one = jax.tree.map(lambda x: x[0], targets)
    values = [loss(some, examples[0], moved[0], one, ())[0] for some in (what, louder)]
    np.testing.assert_allclose(*values, rtol=1e-5)
    silent = what._replace(image_codes=0 * what.image_codes, text_codes=0 * what.text_codes)
    assert jnp.isfinite(loss(silent, examples[0], moved[0], one, ())[0])
