import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.labels.metrics import (
    AttackRow,
    attack_row,
    attack_success,
    average_perturbation,
    average_precision,
    excluded,
    mean_average_precision,
    mean_average_precision_at_k,
    ranking_scores,
    top_k,
    top_k_accuracy,
)

CLASSES, IMAGES = 6, 5
FORMS = ("paper", "released")
scores_of = jax.jit(ranking_scores, static_argnames="form")


def ranking(scores):
    """[1], ..., [c]: the higher score first, of equal ones the lower number."""
    return sorted(range(len(scores)), key=lambda c: (-scores[c], c))


def literal(scores, relevant, k, form="paper"):
    """Eqs. 7, 8, 9 and 11 in loops; the released code's forms of eqs. 7 and 9."""
    order = ranking(scores)
    y = [int(relevant[c]) for c in order]
    positive, top = {c for c in order if relevant[c]}, set(order[:k])
    n = min(k, len(positive))

    def precision(k):
        return sum(y[i - 1] for i in range(1, k + 1)) / k

    if form == "paper" or k > len(positive):
        accuracy = float(positive <= top)
    else:
        accuracy = float(top <= positive)
    ap = sum(y[i - 1] * precision(k if form == "paper" else i) for i in range(1, k + 1))
    dcg = sum(y[i - 1] / np.log2(i + 1) for i in range(1, k + 1))
    ideal = sum(1 / np.log2(i + 1) for i in range(1, n + 1))
    return accuracy, precision(k), ap / n if n else 0, dcg / ideal if n else 0


few = st.integers(0, 3).map(lambda v: v / 4)  # few different scores, so many are equal
labels = st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES)
vectors = st.lists(few, min_size=CLASSES, max_size=CLASSES)
distinct = st.permutations([c / CLASSES for c in range(CLASSES)])


@settings(max_examples=100, deadline=None)
@given(vectors, labels, st.sampled_from(FORMS))
def test_literal_definition_at_every_k(scores, relevant, form):
    for k in range(1, CLASSES + 1):
        got = scores_of(jnp.array(scores), jnp.array(relevant), jnp.array(k), form=form)
        np.testing.assert_allclose(got, literal(scores, relevant, k, form), rtol=1e-6)
        assert all(0 <= value <= 1 + 1e-6 for value in got)


@settings(max_examples=50, deadline=None)
@given(distinct, labels, st.permutations(range(CLASSES)), st.sampled_from(FORMS))
def test_the_numbers_of_the_classes_do_not_matter(scores, relevant, order, form):
    scores, relevant, order = np.array(scores), np.array(relevant), list(order)
    for k in range(1, CLASSES + 1):
        one = scores_of(scores, relevant, jnp.array(k), form=form)
        other = scores_of(scores[order], relevant[order], jnp.array(k), form=form)
        np.testing.assert_allclose(one, other, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(distinct, labels.filter(any))
def test_scikit_learn_ranks_alike(scores, relevant):
    for k in range(1, CLASSES + 1):
        _, precision, _, ndcg = scores_of(jnp.array(scores), jnp.array(relevant), jnp.array(k))
        reference = sklearn.metrics.ndcg_score([relevant], [scores], k=k)
        np.testing.assert_allclose(ndcg, reference, rtol=1e-6)
        first = np.array(scores) >= sorted(scores)[-k]
        reference = sklearn.metrics.precision_score(relevant, first)
        np.testing.assert_allclose(precision, reference, rtol=1e-6)
    whole = scores_of(jnp.array(scores), jnp.array(relevant), jnp.array(CLASSES), form="released")
    reference = sklearn.metrics.label_ranking_average_precision_score([relevant], [scores])
    np.testing.assert_allclose(whole.average_precision, reference, rtol=1e-6)


@given(distinct, st.integers(0, CLASSES - 1), st.integers(1, CLASSES - 1))
@settings(max_examples=50, deadline=None)
def test_of_one_relevant_label_scikit_learn_says_the_same(scores, label, k):
    relevant = jnp.arange(CLASSES) == label
    got = top_k_accuracy(jnp.array(scores), relevant, jnp.array(k))
    reference = sklearn.metrics.top_k_accuracy_score([label], [scores], k=k, labels=range(CLASSES))
    assert got == reference


HAND = {
    # name: (relevant by rank, k, TkAcc, P@k, AP@k, NDCG@k; TkAcc and AP@k as released)
    "all on top": ([1, 1, 0, 0], 2, 1, 1, 1, 1, 1, 1),
    "more relevant than places": ([1, 1, 1, 0], 2, 0, 1, 1, 1, 1, 1),
    "first missed": ([0, 1, 0, 0], 2, 1, 1 / 2, 1 / 2, 1 / np.log2(3), 1, 1 / 2),
    "first and third": ([1, 0, 1, 0], 3, 1, 2 / 3, 2 / 3, 1.5 / (1 + 1 / np.log2(3)), 1, 5 / 6),
    "one below": ([1, 0, 1, 0], 2, 0, 1 / 2, 1 / 4, 1 / (1 + 1 / np.log2(3)), 0, 1 / 2),
    "all below": ([0, 0, 1, 1], 2, 0, 0, 0, 0, 0, 0),
    "nothing relevant": ([0, 0, 0, 0], 2, 1, 0, 0, 0, 1, 0),
    "everything relevant": ([1, 1, 1, 1], 4, 1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("name", HAND)
def test_by_hand(name):
    relevant, k, *expected, accuracy, ap = HAND[name]
    example = jnp.array([0.9, 0.7, 0.4, 0.2]), jnp.array(relevant, bool), jnp.array(k)
    got = ranking_scores(*example)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert all(value.shape == () and value.dtype == jnp.float32 for value in got)
    released = ranking_scores(*example, form="released")
    np.testing.assert_allclose(released[::2], (accuracy, ap), rtol=1e-6)


# Table 15, Household, k = 3: one image, whose first three classes are relevant before the attack.
PUBLISHED = {
    # name: (relevant among the first three after it; ΔTkAcc, ΔP@k, ΔmAP@k, ΔNDCG@k)
    "ML-CW-U": ([0, 1, 0], 1.0000, 0.6667, 0.8333, 0.7039),
    "kFool": ([1, 0, 0], 1.0000, 0.6667, 0.6667, 0.5307),
    "TkMIA": ([1, 1, 0], 1.0000, 0.3333, 0.3333, 0.2346),
}


@pytest.mark.parametrize("method", PUBLISHED)
def test_the_released_form_gives_the_published_table(method):
    hits, *published = PUBLISHED[method]
    scores, k = jnp.arange(8, 0, -1) / 8, jnp.array(3)
    before = ranking_scores(scores, jnp.array([1, 1, 1, 1, 0, 0, 0, 0], bool), k, "released")
    kept = jnp.array([*hits, *[1] * (4 - sum(hits)), *[0] * (sum(hits) + 1)], bool)
    after = ranking_scores(scores, kept, k, "released")
    np.testing.assert_allclose(np.subtract(before, after), published, atol=5e-5)


def test_equal_scores_rank_by_class_number():
    assert top_k(jnp.array([0.5, 0.9, 0.5, 0.5]), jnp.array(3)).tolist() == [1, 1, 1, 0]
    assert top_k(jnp.array([-0.0, 0.0]), jnp.array(1)).tolist() == [1, 0]


def test_another_k_does_not_compile_anew():
    compilations = []

    @jax.jit
    def counted(scores, relevant, k):
        compilations.append(k)
        return ranking_scores(scores, relevant, k)

    for k in range(1, CLASSES):
        counted(jnp.arange(CLASSES) / 8, jnp.ones(CLASSES, bool), jnp.array(k))
    assert len(compilations) == 1


def test_only_relevant_specified_classes_count_as_excluded():
    after = jnp.array([0.9, 0.8, 0.2, 0.1])
    relevant, specified = jnp.array([1, 1, 1, 0], bool), jnp.array([1, 0, 1, 1], bool)
    k = jnp.array(2)
    assert excluded(after, relevant, specified, k) == 1  # class 2; 0 stays, 3 is not relevant
    assert not attack_success(after, relevant, specified, k)
    assert attack_success(after, relevant, specified, k, threshold=jnp.array(1))
    assert attack_success(after, relevant, specified.at[0].set(False), k)


def test_no_success_has_no_average_perturbation():
    assert jnp.isnan(average_perturbation(jnp.ones((2, 3)), jnp.zeros(2, bool)))


def batch(seed):
    rng = np.random.default_rng(seed)
    before, after = rng.uniform(size=(2, IMAGES, CLASSES)).astype(np.float32)
    relevant = rng.uniform(size=(IMAGES, CLASSES)) < 0.6
    specified = rng.uniform(size=(IMAGES, CLASSES)) < 0.4
    perturbations = rng.normal(size=(IMAGES, 4, 4, 3)).astype(np.float32)
    return before, after, relevant, specified, perturbations


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("threshold", [None, 1])
def test_a_row_is_the_average_over_the_batch(form, threshold):
    before, after, relevant, specified, perturbations = batch(0)
    k = 3
    delta = jnp.array(threshold) if threshold else None
    row = jax.jit(attack_row, static_argnames="form")(
        before, after, relevant, specified, jnp.array(k), perturbations, delta, form=form
    )
    changes, gone, sizes = [], [], []
    for b, a, y, s, e in zip(before, after, relevant, specified, perturbations, strict=True):
        changes.append(np.subtract(literal(b, y, k, form), literal(a, y, k, form)))
        chosen = {c for c in range(CLASSES) if s[c] and y[c]}
        gone.append(len(chosen) - len(chosen & set(ranking(a)[:k])))
        if gone[-1] >= (threshold or len(chosen)):
            sizes.append(np.sqrt((e**2).sum()))
    size = np.mean(sizes)
    expected = *np.mean(changes, 0), np.mean(gone), size, 255 * size, len(sizes) / IMAGES
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def test_no_attack_no_change():
    before, _, relevant, specified, perturbations = map(jnp.asarray, batch(1))
    row = attack_row(before, before, relevant, specified, jnp.array(2), perturbations)
    assert row[:4] == (0, 0, 0, 0)
    assert (
        AttackRow._fields[:4] == type(ranking_scores(before[0], relevant[0], jnp.array(1)))._fields
    )


def test_eq_10_averages_over_classes():
    scores, _, relevant, _, _ = batch(2)
    for k in range(1, IMAGES + 1):
        columns = [literal(s, y, k)[2] for s, y in zip(scores.T, relevant.T, strict=True)]
        got = mean_average_precision_at_k(*map(jnp.asarray, (scores, relevant, k)))
        np.testing.assert_allclose(got, np.mean(columns), rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(vectors, labels)
def test_average_precision_is_scikit_learns(scores, relevant):
    got = average_precision(jnp.array(scores), jnp.array(relevant))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nothing relevant
        reference = sklearn.metrics.average_precision_score(relevant, scores)
    np.testing.assert_allclose(got, reference, rtol=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
def test_mean_average_precision_of_a_data_set(rounded):
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(3000, 20)).astype(np.float32)
    scores = scores.round(1) if rounded else scores
    relevant = rng.uniform(size=scores.shape) < scores**4
    reference = sklearn.metrics.average_precision_score(relevant, scores, average="macro")
    got = mean_average_precision(jnp.asarray(scores), jnp.asarray(relevant))
    np.testing.assert_allclose(got, reference, rtol=1e-5)
