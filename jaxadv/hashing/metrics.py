"""How well codes retrieve what shares a label with the query, and how far an attack went.

The measures of section 4.1 of Li et al., "Cross-Modal Learning with Adversarial Samples" (CMLA),
NeurIPS 2019: MAP of the Hamming ranking, the precision-recall curve of the hash lookups within a
radius, the precision of the first 1,000 results, and the distortion D. The paper names the first
three after the works before it; they are here as in the MATLAB code of DCMH
(`calcMapTopkMapTopkPreTopkRecLabel.m`, `calcPreRecRadiusLabel.m`), which later code repeats:

- An item is **relevant** to a query if they share a label.
- Items at **equal distance** rank by their place in the database. A K-bit code has K + 1 distances,
  so nearly all items are tied; other code often sorts them in no fixed order (`np.argsort` without
  `kind="stable"`), so that the same codes can have another MAP elsewhere (arXiv 1905.10951).
- MAP at R divides by the relevant items **among the first R**, not by all there are.
- Queries to which **nothing is relevant** count, as 0: DCMH's code and its followers average over
  all queries, so numbers remain comparable with theirs. `without_relevant="skip"` leaves them out.
  In the paper's data every item has at least one of a few labels, so there should be none.
- Precision and recall within a radius are those of **all pairs** of query and item together, at
  radius 0 to K (DCMH leaves out the last, where all is retrieved). Where nothing is within the
  radius, the precision is 0.

Embeddings of a dual encoder are ranked by their inner products (`jaxadv.hashing.similarity`), and
measured alike.

All but the distortion is NumPy, on the host: distances are small integers, which NumPy sorts by
radix, stably and several times faster than XLA sorts on a CPU; memory is that of a few rankings.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float64, Int, Integer, Num, Real, Shaped, UInt, UInt32

from jaxadv import checks
from jaxadv.core.norms import measured
from jaxadv.errors import InputError


class Retrieval(NamedTuple):
    """The measures of a set of queries."""

    mean_average_precision: float
    """MAP over the whole ranking."""
    mean_average_precision_at: float
    """MAP at R."""
    precisions: Float64[np.ndarray, " top"]
    """Of the first 1, 2, ... results: f64[min(top, n)], the mean over queries."""
    radius_precision: Float64[np.ndarray, " K+1"]
    """Of what is within Hamming radius 0, ..., K: f64[K + 1]."""
    radius_recall: Float64[np.ndarray, " K+1"]
    """Of what is within Hamming radius 0, ..., K: f64[K + 1]."""
    within: Int[np.ndarray, " K+1"]
    """Items within Hamming radius 0, ..., K, of all queries together: i64[K + 1]."""
    relevant_within: Int[np.ndarray, " K+1"]
    """Relevant ones of them."""


class Ranking(NamedTuple):
    """How near the n items of a database are to a query.

    Attributes:
      rows: all of them, the nearest first, equal ones by their place; i64[n].
      values: what they are compared by, a place each: [n].
      radius: the least Hamming radius that an item is within, 0, ..., K, a place each: int[n].
    """

    rows: Int[np.ndarray, " n"]
    values: Num[np.ndarray, " n"]
    radius: Integer[np.ndarray, " n"]


class Comparison(NamedTuple):
    """How codes are compared.

    Attributes:
      keep: what of codes f32[n, K] is kept to compare them.
      rank: ranks a kept database for one of kept queries.
      unit: what the ranking's values are.
    """

    keep: Callable[[np.ndarray], np.ndarray]
    rank: Callable[[np.ndarray, np.ndarray], Ranking]
    unit: str


class _Ranked(NamedTuple):
    """What the measures need of one query."""

    average_precision: float
    average_precision_at: float
    precisions: np.ndarray
    retrieved: np.ndarray
    """Items at each distance, i64[K + 1]."""
    relevant: np.ndarray
    """Relevant ones of them."""


def pack(codes: Real[np.ndarray, "n K"]) -> UInt32[np.ndarray, "n W"]:
    """Return the signs of codes f32[n, K] as bits, uint32[n, ceil(K / 32)]; the sign of 0 is 1.

    >>> pack(np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]]))
    array([[5],
           [0]], dtype=uint32)

    Raises:
      InputError: codes that are not finite: NaN has no sign.
    """
    checks.all_finite("codes", codes)
    return _words(np.asarray(codes) >= 0)


def hamming_distances(
    query: UInt32[np.ndarray, " W"], database: UInt32[np.ndarray, "n W"]
) -> UInt[np.ndarray, " n"]:
    """Return in how many bits a packed code uint32[W] differs from each of uint32[n, W].

    They come in the smallest type that holds them: u8[n], or u16[n] beyond 7 words.

    >>> codes = pack(np.array([[1, 1, 1], [1, -1, -1]]))
    >>> hamming_distances(codes[0], codes)
    array([0, 2], dtype=uint8)
    """
    distances = np.zeros(len(database), np.min_scalar_type(32 * len(query)))
    for word, column in zip(query, database.T, strict=True):
        distances += np.bitwise_count(word ^ column)
    return distances


def hamming_ranking(
    query: UInt32[np.ndarray, " W"], database: UInt32[np.ndarray, "n W"]
) -> Ranking:
    """Rank a packed database uint32[n, W] by the Hamming distance to a packed code uint32[W]."""
    distances = hamming_distances(query, database)
    return Ranking(np.argsort(distances, kind="stable"), distances, distances)


HAMMING = Comparison(pack, hamming_ranking, "bits apart")


def search(
    query: Shaped[np.ndarray, " code"],
    database: Shaped[np.ndarray, "n code"],
    top: int,
    by: Comparison = HAMMING,
) -> tuple[Int[np.ndarray, " top"], Num[np.ndarray, " top"]]:
    """Return the first items of a database for a query, best first, both as `by.keep` returns them.

    Returns:
      their rows i64[min(top, n)] and what they are compared by, such as Hamming distances.

    >>> codes = pack(np.array([[-1, -1], [1, -1], [1, 1], [1, -1]]))
    >>> search(codes[2], codes, top=3)[0]
    array([2, 1, 3])

    Raises:
      InputError: `top` is less than 1.
    """
    checks.whole("top", top, 1)
    ranking = by.rank(query, database)
    rows = ranking.rows[:top]
    return rows, ranking.values[rows]


def average_precision(hits: Bool[np.ndarray, " n"], at: int | None = None) -> float:
    """Return the mean precision at the relevant items of a ranking (AP).

    Args:
      hits: whether each item, from the first on, is relevant, bool[n].
      at: R, the number of first items that count; all of them by default.

    >>> average_precision(np.array([True, False, False, True]))
    0.75
    >>> average_precision(np.array([True, False, False, True]), at=3)
    1.0

    Raises:
      InputError: `at` is less than 1.
    """
    if at is not None:
        checks.whole("at", at, 1)
    places = np.flatnonzero(hits[:at]) + 1
    return float(np.mean(np.arange(1, len(places) + 1) / places)) if len(places) else 0.0


def precisions(hits: Bool[np.ndarray, " n"], top: int) -> Float64[np.ndarray, " top"]:
    """Return the share of relevant items among the first 1, 2, ..., f64[min(top, n)].

    >>> precisions(np.array([True, False, True, True]), top=2)
    array([1. , 0.5])

    Raises:
      InputError: `top` is less than 1.
    """
    checks.whole("top", top, 1)
    found = np.cumsum(hits[:top])
    return found / np.arange(1, len(found) + 1)


def retrieval(
    queries: Shaped[np.ndarray, "m code"],
    database: Shaped[np.ndarray, "n code"],
    query_labels: Bool[np.ndarray, "m c"],
    database_labels: Bool[np.ndarray, "n c"],
    *,
    bits: int,
    at: int = 1000,
    top: int = 1000,
    without_relevant: Literal["zero", "skip"] = "zero",
    by: Comparison = HAMMING,
) -> Retrieval:
    """Rank a database of n items for each of m queries, by Hamming distance or else, and measure.

    2,000 queries in 1,000,000 items of 64 bits take 17 s on two cores.

    Args:
      queries: codes, as `by.keep` returns them: of `pack` uint32[m, W].
      database: likewise, of n items.
      query_labels: bool[m, c].
      database_labels: bool[n, c].
      bits: K.
      at: R, of MAP at R.
      top: the longest list of which the precision is taken.
      without_relevant: count queries to which nothing is relevant as 0, or leave them out. Where
        none is left all measures are 0.
      by: how codes are compared.

    >>> codes = pack(np.array([[1, 1], [1, -1], [-1, -1]]))
    >>> labels = np.eye(3, dtype=bool)[[0, 1, 0]]
    >>> retrieval(codes[:1], codes, labels[:1], labels, bits=2).radius_recall
    array([0.5, 0.5, 1. ])

    Raises:
      InputError: a number of less than 1, another word, or codes and labels that do not fit.
    """
    for name, value in (("bits", bits), ("at", at), ("top", top)):
        checks.whole(name, value, 1)
    checks.one_of("without_relevant", without_relevant, ("zero", "skip"))
    _check_rows(queries, database, query_labels, database_labels)
    columns, label_columns = np.asfortranarray(database), np.asfortranarray(_words(database_labels))

    def rank(query: Shaped[np.ndarray, " code"], labels: UInt32[np.ndarray, " words"]) -> _Ranked:
        ranking = by.rank(query, columns)
        relevant = _share(labels, label_columns)
        hits = relevant[ranking.rows]
        return _Ranked(
            average_precision(hits),
            average_precision(hits, at),
            precisions(hits, top),
            np.bincount(ranking.radius, minlength=bits + 1),
            np.bincount(ranking.radius[relevant], minlength=bits + 1),
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ranked = pool.map(rank, queries, _words(query_labels))
        return _measures(ranked, bits, min(top, len(database)), without_relevant == "skip")


def effective_dimensions(codes: Num[np.ndarray, "n K"]) -> float:
    """Return in how many dimensions codes vary: `(Σ λ)² / Σ λ²`, λ their covariance's eigenvalues.

    From 1, where all bits go together, to K.

    >>> round(effective_dimensions(np.array([[1, 1], [-1, -1]])), 3)
    1.0
    >>> round(effective_dimensions(np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])), 3)
    2.0
    """
    values = np.linalg.eigvalsh(np.cov(codes.T))
    return float(values.sum() ** 2 / (values**2).sum())


def distortion(
    original: Real[Array, "*example"], distorted: Real[Array, "*example"]
) -> Float[Array, ""]:
    """Return the root of the mean squared change of one example (D, `f32[]`).

    The paper's M is the number of components. Its image distortions (0.02-0.05, Table 2, where the
    released code changes a pixel of 0-255 by up to 10) are of pixels in [0, 1]. Of tokens a change
    is 1 where another one stands.

    >>> float(distortion(jnp.zeros((2, 2)), jnp.array([[1.0, 1.0], [1.0, 1.0]])))
    1.0

    Raises:
      InputError: the two are of different shapes.
    """
    if original.shape != distorted.shape:
        raise InputError(
            f"distorted {list(distorted.shape)}: must be of the original's shape "
            f"{list(original.shape)}"
        )
    return jnp.sqrt(jnp.mean(measured(distorted - original) ** 2))


def _check_rows(
    queries: np.ndarray, database: np.ndarray, query_labels: np.ndarray, labels: np.ndarray
) -> None:
    pairs = (("queries", queries, query_labels), ("database", database, labels))
    for name, codes, of in pairs:
        if len(codes) != len(of):
            raise InputError(f"{name}: {len(codes)} codes and labels of {len(of)}")
    for what, one, other in (
        ("codes", queries, database),
        ("labels", query_labels, labels),
    ):
        if one.shape[1:] != other.shape[1:]:
            raise InputError(
                f"{what} of queries {list(one.shape)} and of the database {list(other.shape)}: "
                "must be of one length"
            )


def _measures(ranked: Iterator[_Ranked], bits: int, top: int, skip: bool) -> Retrieval:
    """Average over queries, one after the other."""
    count, means, curve = 0, np.zeros(2), np.zeros(top)
    retrieved, relevant = np.zeros((2, bits + 1), np.int64)
    for query in ranked:
        if skip and not query.relevant.any():
            continue
        count += 1
        means += query.average_precision, query.average_precision_at
        curve += query.precisions
        retrieved += query.retrieved
        relevant += query.relevant
    retrieved, relevant = np.cumsum(retrieved), np.cumsum(relevant)
    mean, mean_at = means / max(count, 1)
    return Retrieval(
        float(mean),
        float(mean_at),
        curve / max(count, 1),
        relevant / np.maximum(retrieved, 1),
        relevant / max(relevant[-1], 1),
        retrieved,
        relevant,
    )


def _share(
    labels: UInt32[np.ndarray, " W"], database: UInt32[np.ndarray, "n W"]
) -> Bool[np.ndarray, " n"]:
    """Whether packed labels uint32[W] have one in common with each of uint32[n, W] (bool[n])."""
    common = np.zeros(len(database), np.uint32)
    for word, column in zip(labels, database.T, strict=True):
        common |= word & column
    return common != 0


def _words(bits: Bool[np.ndarray, "n K"]) -> UInt32[np.ndarray, "n W"]:
    """Rows of truth values bool[n, K] as words, uint32[n, ceil(K / 32)], padded with 0."""
    packed = np.packbits(np.asarray(bits, bool), axis=1, bitorder="little")
    padding = -packed.shape[1] % 4
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, padding)))).view(np.uint32)
