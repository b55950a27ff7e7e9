import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.hashing.hasher import binary_code
from jaxadv.hashing.metrics import (
    average_precision,
    distortion,
    hamming_distances,
    pack,
    precisions,
    retrieval,
)


def literal(queries, database, query_labels, database_labels, at, top, skip):
    """The measures in loops over codes of -1 and 1, without bits."""
    size, bits = database.shape
    aps, aps_at, curves, pairs = [], [], [], []
    for code, labels in zip(queries, query_labels, strict=True):
        distances = [int((code != other).sum()) for other in database]
        relevant = [bool((labels & others).any()) for others in database_labels]
        if skip and not any(relevant):
            continue
        order = sorted(range(size), key=lambda i: (distances[i], i))
        hits = [relevant[i] for i in order]
        pairs += zip(distances, relevant, strict=True)
        for store, end in ((aps, size), (aps_at, at)):
            found = [sum(hits[: i + 1]) / (i + 1) for i in range(min(end, size)) if hits[i]]
            store.append(sum(found) / len(found) if found else 0)
        curves.append([sum(hits[:n]) / n for n in range(1, min(top, size) + 1)])
    lookups = [[hit for distance, hit in pairs if distance <= r] for r in range(bits + 1)]
    every = max(sum(hit for _, hit in pairs), 1)
    return (
        sum(aps) / max(len(aps), 1),
        sum(aps_at) / max(len(aps), 1),
        np.sum(curves, 0) / max(len(curves), 1) if curves else np.zeros(min(top, size)),
        [sum(hits) / max(len(hits), 1) for hits in lookups],
        [sum(hits) / every for hits in lookups],
        [len(hits) for hits in lookups],
        [sum(hits) for hits in lookups],
    )


def random_set(seed, bits, labels, queries=4, size=12):
    """Codes and labels; few labels, so that some queries find nothing."""
    rng = np.random.default_rng(seed)
    codes = rng.choice([-1.0, 1.0], size=(queries + size, bits))
    given = rng.uniform(size=(queries + size, labels)) < 0.6 / labels
    return codes[:queries], codes[queries:], given[:queries], given[queries:]


def measured(codes, others, *labels, **options):
    return retrieval(pack(codes), pack(others), *labels, bits=codes.shape[1], **options)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    bits=st.sampled_from([1, 3, 32, 33, 64, 260]),
    labels=st.sampled_from([1, 3, 24, 81]),
    at=st.integers(1, 15),
    top=st.integers(1, 15),
    skip=st.booleans(),
)
def test_literal_definition(seed, bits, labels, at, top, skip):
    items = random_set(seed, bits, labels)
    got = measured(*items, at=at, top=top, without_relevant="skip" if skip else "zero")
    for value, expected in zip(got, literal(*items, at, top, skip), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        assert np.min(value) >= 0
    assert max(map(np.max, got[:5])) <= 1
    assert np.all(np.diff(got.radius_recall) >= 0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), bits=st.integers(1, 300))
def test_packed_codes_differ_in_as_many_bits(seed, bits):
    codes, others, *_ = random_set(seed, bits, 1)
    packed = pack(codes)
    assert packed.dtype == np.uint32
    assert packed.shape == (len(codes), -(-bits // 32))
    for code, words in zip(codes, packed, strict=True):
        distances = hamming_distances(words, pack(others))
        np.testing.assert_array_equal(distances, (code != others).sum(axis=1))


@pytest.mark.parametrize("bits", [224, 255, 256, 512])
def test_opposite_codes_do_not_overflow(bits):
    code = np.ones((1, bits))
    assert hamming_distances(pack(code)[0], pack(-code)) == bits


def test_signs_are_those_of_the_hasher():
    codes = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    codes[:, ::7] = 0
    np.testing.assert_array_equal(pack(codes), pack(np.asarray(binary_code(jnp.array(codes)))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_average_precision_is_scikit_learns(hits):
    if any(hits):
        reference = sklearn.metrics.average_precision_score(hits, -np.arange(len(hits)))
        np.testing.assert_allclose(average_precision(np.array(hits)), reference)
    else:
        assert average_precision(np.array(hits)) == 0


def test_average_precision_by_hand():
    hits = np.array([0, 1, 1, 0, 1], bool)
    assert average_precision(hits) == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert average_precision(hits, at=1) == 0
    assert average_precision(hits, at=3) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert precisions(hits, 9) == pytest.approx([0, 1 / 2, 2 / 3, 1 / 2, 3 / 5])


def test_equal_distances_rank_by_place_in_the_database():
    same, labels = np.ones((3, 8)), np.array([[1, 0], [0, 1], [1, 0]], bool)
    assert measured(same[:1], same, labels[:1], labels).mean_average_precision == (1 + 2 / 3) / 2
    turned = labels[[1, 0, 2]]
    found = measured(same[:1], same, labels[:1], turned)
    assert found.mean_average_precision == (1 / 2 + 2 / 3) / 2


def test_ties_stay_in_order_in_a_long_database():
    """Sorts of a few items are stable anyway."""
    codes, others, labels, other_labels = random_set(0, 8, 3, queries=8, size=5000)
    every = []
    for code, wanted in zip(codes, labels, strict=True):
        order = np.lexsort((np.arange(len(others)), (code != others).sum(axis=1)))
        every.append(average_precision((wanted & other_labels[order]).any(axis=1)))
    assert max(every) > 0
    assert measured(codes, others, labels, other_labels)[0] == pytest.approx(np.mean(every))


def test_a_query_without_relevant_items_counts_as_0_or_is_skipped():
    codes, labels = np.array([[1, 1], [-1, -1]]), np.array([[1, 0], [0, 1]], bool)
    items = codes, codes[:1], labels, labels[:1]
    assert measured(*items).mean_average_precision == 1 / 2
    assert measured(*items, without_relevant="skip").mean_average_precision == 1
    nothing = measured(codes[1:], codes[:1], labels[1:], labels[:1], without_relevant="skip")
    assert nothing.mean_average_precision == 0
    assert not nothing.radius_precision.any()


def test_distortion_is_the_root_mean_square():
    rng = np.random.default_rng(0)
    original, distorted = rng.uniform(size=(2, 3, 8, 8, 3)).astype(np.float32)
    got = jax.jit(jax.vmap(distortion))(original, distorted)
    expected = [
        np.sqrt(((b - a) ** 2).sum() / 192) for a, b in zip(original, distorted, strict=True)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.slow
def test_two_thousand_queries_in_a_million_items():
    """Under a minute and 2 GB, the codes included."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    queries, database = (rng.integers(2**32, size=(n, 2), dtype=np.uint32) for n in (2000, 10**6))
    labels = [rng.random((n, 24), np.float32) < 0.15 for n in (2000, 10**6)]
    start = time.perf_counter()
    found = retrieval(queries, database, *labels, bits=64)
    assert time.perf_counter() - start < 60
    assert tracemalloc.get_traced_memory()[1] < 2e9
    tracemalloc.stop()
    shared = 1 - (1 - 0.15**2) ** 24  # of random labels; random codes find no more than that
    assert found.mean_average_precision == pytest.approx(shared, abs=0.01)
    assert found.radius_recall[32] == pytest.approx(0.55, abs=0.01)
