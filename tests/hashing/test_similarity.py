"""Embeddings ranked by similarity: beside NumPy's stable sort, and beside codes of signs."""

import numpy as np
import pytest
from helpers.own_retriever import RETRIEVER
from helpers.tiny_hasher import HASHER
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.hashing.metrics import HAMMING, average_precision, pack, retrieval, search
from jaxadv.hashing.similarity import SIMILARITY, comparison, embeddings, scores


def at_norm_1(rng, *shape):
    codes = rng.normal(size=shape)
    return (codes / np.linalg.norm(codes, axis=-1, keepdims=True)).astype(np.float32)


def with_repeats(rng, items, size):
    """Embeddings of which many are there more than once, as those of equal texts are."""
    return at_norm_1(rng, max(items // 4, 1), size)[rng.integers(max(items // 4, 1), size=items)]


def random_labels(rng, *shape):
    return rng.random(shape) < 0.4


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.sampled_from([(1, 5), (3, 40), (32, 1000), (7, 333)]))
def test_ranked_as_by_numpy(seed, sizes):
    """The largest product first, equal ones by their place, wherever they are in the database."""
    rng, (size, items) = np.random.default_rng(seed), sizes
    query, database = at_norm_1(rng, size), with_repeats(rng, items, size)
    products = np.array([np.dot(row.astype(float), query.astype(float)) for row in database])
    order = np.argsort(-products.astype(np.float32), kind="stable")
    kept = embeddings(database)
    rows, values = search(embeddings(query[None])[0], kept, items, SIMILARITY)
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(values, products[order], atol=1e-6)
    first = search(embeddings(query[None])[0], kept, 3, SIMILARITY)[0]
    np.testing.assert_array_equal(first, order[:3])


def test_measures_by_their_definition():
    rng = np.random.default_rng(0)
    size, queries, database = 5, at_norm_1(rng, 6, 5), with_repeats(rng, 30, 5)
    labels, others = random_labels(rng, 6, 3), random_labels(rng, 30, 3)
    found = retrieval(
        *map(embeddings, (queries, database)), labels, others, bits=size, by=SIMILARITY
    )
    cosines = queries.astype(float) @ database.T.astype(float)
    relevant = (labels[:, None] & others).any(axis=2)
    orders = [
        sorted(range(30), key=lambda j, row=row: (-row[j].astype("f4"), j)) for row in cosines
    ]
    hits = [mine[order] for mine, order in zip(relevant, orders, strict=True)]
    assert found.mean_average_precision == pytest.approx(
        np.mean([average_precision(h) for h in hits])
    )
    np.testing.assert_allclose(found.precisions[0], np.mean([h[0] for h in hits]))
    for radius in range(size + 1):
        within = cosines >= 1 - 2 * radius / size
        share = relevant[within].mean() if within.any() else 0
        assert found.radius_precision[radius] == pytest.approx(share)
        assert found.radius_recall[radius] == pytest.approx(relevant[within].sum() / relevant.sum())


@pytest.mark.parametrize("bits", [4, 16, 64])
def test_signs_at_norm_1_are_measured_as_signs(bits):
    """Of these the score is 1 - 2 d / K at Hamming distance d: all measures are the same."""
    rng = np.random.default_rng(bits)
    codes, others = (rng.choice([-1.0, 1.0], (n, bits)).astype(np.float32) for n in (5, 60))
    labels = random_labels(rng, 5, 3), random_labels(rng, 60, 3)
    by_bits = retrieval(pack(codes), pack(others), *labels, bits=bits)
    kept = (embeddings(some / np.sqrt(np.float32(bits))) for some in (codes, others))
    by_score = retrieval(*kept, *labels, bits=bits, by=SIMILARITY)
    for one, other in zip(by_bits, by_score, strict=True):
        np.testing.assert_allclose(one, other)


def test_what_is_not_finite_comes_last():
    database = embeddings(np.array([[np.nan, 0], [-1, 0], [1, 0]]))
    rows, values = search(np.array([1.0, 0]), database, 3, SIMILARITY)
    assert rows.tolist() == [2, 1, 0] and values[1] == -1
    labels = np.ones((3, 1), bool)
    nowhere = retrieval(
        np.full((1, 2), np.nan), database, labels[:1], labels, bits=2, by=SIMILARITY
    )
    assert nowhere.radius_recall.tolist() == [0, 0, 1]


def test_opposite_embeddings_are_not_further_than_all_bits():
    """Even where rounding makes a norm a little more than 1."""
    query, database = np.array([1.0001, 0]), np.array([[1.0001, 0], [-1.0001, 0]])
    assert SIMILARITY.rank(query, database).radius.tolist() == [0, 2]
    assert scores(query, database)[0] > 1


def test_how_codes_are_compared_is_the_victims():
    assert comparison(HASHER) is HAMMING
    assert comparison(RETRIEVER) is SIMILARITY
