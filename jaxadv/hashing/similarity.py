"""Embeddings ranked by their similarity scores, as dual encoders retrieve; by the same measures.

The score of two embeddings of norm 1 is their inner product, the cosine of their angle. Codes of K
signs at norm 1 have the score `1 - 2 d / K` at Hamming distance d. Read backwards, that gives the
curves over a radius a meaning for embeddings: within radius r is what scores `1 - 2 r / K` or more.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64

from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.hashing.metrics import HAMMING, Comparison, Ranking


def embeddings(codes: Float[np.ndarray, "n K"]) -> Float64[np.ndarray, "n K"]:
    """Return what is kept of embeddings f32[n, K]: all, f64[n, K], to multiply exactly."""
    return np.asarray(codes, np.float64)


def scores(
    query: Float64[np.ndarray, " K"], database: Float64[np.ndarray, "n K"]
) -> Float32[np.ndarray, " n"]:
    """Return the inner products of one of `embeddings`, f64[K], with n others; f32[n].

    Items of one embedding have one score: the sums are rounded to single precision, since a matrix
    product does not add up all rows in one order. What is not finite scores least.

    >>> scores(np.array([0.6, 0.8]), np.array([[1.0, 0.0], [0.6, 0.8]])).tolist()
    [0.6000000238418579, 1.0]
    """
    return np.nan_to_num((database @ query).astype(np.float32), nan=-np.inf)


def similarity_ranking(
    query: Float64[np.ndarray, " K"], database: Float64[np.ndarray, "n K"]
) -> Ranking:
    """Rank embeddings f64[n, K] by their scores with one of them, f64[K], the largest first."""
    values, bits = scores(query, database), len(query)
    radius = np.ceil((1 - np.clip(values, -1, 1).astype(np.float64)) * bits / 2)
    return Ranking(np.argsort(-values, kind="stable"), values, radius.astype(np.int64))


SIMILARITY = Comparison(embeddings, similarity_ranking, "similarity")


def comparison(victim: CrossModalHasher) -> Comparison:
    """Return how a victim's codes are compared."""
    return HAMMING if victim.logit_scale is None else SIMILARITY
