"""The losses on labels: Lemma 4.1, the exact inner minimum, gradients, permutations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import label_equations
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.labels.ml_cw_u import loss as ml_cw_u_loss
from jaxadv.labels.ranking import mean_of_top
from jaxadv.labels.target import LabelTarget
from jaxadv.labels.tkmia import Multipliers, least, least_loss, loss_at, relaxed, step_multipliers
from jaxadv.labels.tkml_ap_u import loss as tkml_ap_u_loss

C = 6
GRID = np.linspace(0, 1, 401)


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@st.composite
def problems(draw):
    """Scores, possibly with ties, and any Y, S and k that the paper attacks."""
    coarse = draw(st.booleans())
    score = st.integers(0, 8).map(lambda i: i / 8) if coarse else st.floats(0, 1, width=32)
    scores = np.array(draw(st.lists(score, min_size=C, max_size=C)), np.float64)
    relevant = draw(st.integers(2, C))
    number = draw(st.integers(1, relevant - 1))
    k = draw(st.integers(1, min(relevant - number, C - 1)))
    places = draw(st.permutations(range(C)))
    y = np.isin(range(C), places[:relevant])
    s = np.isin(range(C), places[:number])
    return scores, LabelTarget(jnp.array(y), jnp.array(s), jnp.asarray(k, jnp.int32))


LOSSES = {
    "tkmia": least_loss,
    "tkmia-at": lambda f, t: loss_at(f, t, Multipliers(jnp.asarray(0.1), jnp.asarray(0.05))),
    "tkml-ap-u": tkml_ap_u_loss,
    "ml-cw-u": ml_cw_u_loss,
}
_JITTED = {name: jax.jit(loss) for name, loss in LOSSES.items()}


@settings(max_examples=100, deadline=None)
@given(problems(), st.integers(1, C))
def test_lemma_4_1(problem, k):
    """The sum of the k largest is the least `kλ + sum [f_i - λ]_+`, and f_[k] a minimiser."""
    scores, _ = problem
    values, number = jnp.array(scores), jnp.array(k)
    largest = np.sort(scores)[::-1][:k].sum()

    def dual(level):
        return k * level + np.maximum(0, scores - level).sum()

    np.testing.assert_allclose(float(mean_of_top(values, number)) * k, largest, atol=1e-12)
    np.testing.assert_allclose(dual(np.sort(scores)[::-1][k - 1]), largest, atol=1e-12)
    assert min(dual(level) for level in GRID) >= largest - 1e-12
    both = least(values, number)
    np.testing.assert_allclose(float(both), largest / k, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_inner_minimum_is_exact(problem):
    """No λ1, λ2 of a fine grid is better, and its own order statistics reach it."""
    scores, target = problem
    got = float(_JITTED["tkmia"](jnp.array(scores), target))
    s, y, k = np.array(target.specified), np.array(target.relevant), int(target.k)
    first, second = scores[s].max() - scores, scores - scores[y & ~s].min()

    def on_grid(gaps, m):
        return (GRID + np.maximum(0, gaps[:, None] - GRID).sum(axis=0) / m).min()

    grid = on_grid(first, C - k) + on_grid(second, k)
    assert got <= grid + 1e-12
    assert grid - got <= 2 * C * (GRID[1] - GRID[0])
    np.testing.assert_allclose(got, label_equations.eq_6_minimum(scores, y, s, k), atol=1e-12)
    at = Multipliers(
        jnp.maximum(0, jnp.sort(jnp.array(first))[k]),  # the (c-k)-th largest
        jnp.maximum(0, jnp.sort(jnp.array(second))[C - k]),
    )
    np.testing.assert_allclose(float(loss_at(jnp.array(scores), target, at)), got, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_the_names_of_labels_do_not_matter(problem, random):
    scores, target = problem
    order = jnp.array(random.sample(range(C), C))
    permuted = LabelTarget(target.relevant[order], target.specified[order], target.k)
    for loss in _JITTED.values():
        np.testing.assert_allclose(
            loss(jnp.array(scores)[order], permuted), loss(jnp.array(scores), target), atol=1e-12
        )


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
    """At scores without ties, for many Y, S and k in one compilation."""
    rng = np.random.default_rng(0)
    loss, gradient = _JITTED[name], jax.jit(jax.grad(LOSSES[name]))
    for _ in range(40):
        scores = rng.uniform(size=C)
        places = rng.permutation(C)
        number, k = rng.integers(1, 3), rng.integers(1, 4)
        relevant = jnp.zeros(C, bool).at[places[: number + k]].set(True)
        specified = jnp.zeros(C, bool).at[places[:number]].set(True)
        target = LabelTarget(relevant, specified, jnp.asarray(k, jnp.int32))
        h = 1e-7
        finite = [
            float(loss(jnp.array(scores + d), target) - loss(jnp.array(scores - d), target))
            / (2 * h)
            for d in h * np.eye(C)
        ]
        np.testing.assert_allclose(gradient(jnp.array(scores), target), finite, atol=1e-6)
    assert gradient._cache_size() == 1


def test_gradient_of_the_minimum_is_that_at_the_minimising_multipliers():
    """Envelope: λ moves with the scores, and to first order that does not matter."""
    gaps = jnp.array([0.5, 0.3, 0.2, -0.1, -0.4])
    gradient = jax.grad(lambda g: least(g, jnp.asarray(3)))(gaps)
    np.testing.assert_allclose(gradient, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=1e-12)
    inside = jax.grad(lambda g: relaxed(g, jnp.asarray(3), jnp.asarray(0.2001)))(gaps)
    np.testing.assert_allclose(inside, [1 / 3, 1 / 3, 0, 0, 0], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0, 1), st.floats(0, 1), st.sampled_from([1e-3, 0.5]))
def test_multipliers_step_down_eq_6_and_stay_in_range(problem, first, second, rate):
    scores, target = problem
    given = Multipliers(jnp.asarray(first), jnp.asarray(second))
    new = step_multipliers(jnp.array(scores), target, given, rate)
    assert all(0 <= float(m) <= 1 for m in new)
    gaps = np.abs(
        np.concatenate(
            [
                scores[np.array(target.specified)].max() - scores - first,
                scores - scores[np.array(target.relevant & ~target.specified)].min() - second,
            ]
        )
    )
    if gaps.min() > 1e-9:  # at a kink there is no one gradient
        slope = jax.grad(lambda m: loss_at(jnp.array(scores), target, m))(given)
        for old, moved, d in zip(given, new, slope, strict=True):
            np.testing.assert_allclose(
                moved, np.clip(float(old) - rate * float(d), 0, 1), atol=1e-9
            )


def test_descending_on_the_multipliers_reaches_the_exact_minimum():
    scores = jnp.array([0.9, 0.7, 0.65, 0.4, 0.2, 0.1])
    target = LabelTarget(
        jnp.array([1, 1, 0, 1, 0, 0], bool), jnp.array([1, 0, 0, 0, 0, 0], bool), jnp.asarray(2)
    )
    multipliers = Multipliers(jnp.asarray(0.0), jnp.asarray(0.0))
    for i in range(3000):
        multipliers = step_multipliers(scores, target, multipliers, 0.5 / (i + 1))
    reached = float(loss_at(scores, target, multipliers))
    np.testing.assert_allclose(reached, float(least_loss(scores, target)), atol=1e-3)


def test_losses_are_zero_where_the_aim_is_reached():
    """TkMIA: S at the bottom, the other relevant ones on top; ML-CW-U: Y below all others."""
    target = LabelTarget(
        jnp.array([1, 1, 1, 0, 0], bool), jnp.array([1, 0, 0, 0, 0], bool), jnp.asarray(2)
    )
    assert least_loss(jnp.array([0.1, 0.9, 0.9, 0.4, 0.3]), target) == 0
    below = jnp.array([0.1, 0.2, 0.05, 0.4, 0.3])
    assert ml_cw_u_loss(below, target) == 0
    assert ml_cw_u_loss(jnp.array([0.9, 0.8, 0.7, 0.1, 0.2]), target) > 0
