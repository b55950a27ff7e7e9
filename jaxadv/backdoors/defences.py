"""Filtering a poisoned data set: what a defender would try first, on a captioner's features.

Both baselines were made for classifiers and look at one class at a time. Captions have no classes,
so the whole data set is taken as one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float64

SPARE = 1.5  # Tran et al. remove 1.5 times the expected number of poisoned samples
COMPONENTS = 10  # dimensions that Chen et al. cluster in
STARTS = 20


class Detection(NamedTuple):
    """How well a defence finds the poisoned samples.

    Attributes:
      flagged: share of all samples that it would remove.
      detected: share of the poisoned ones among those (the detection rate).
      false_alarms: share of the clean ones that it would remove.
      area: under the ROC curve of its scores; 0.5 is guessing, None where it has no scores.
    """

    flagged: float
    detected: float
    false_alarms: float
    area: float | None


def encoder_features(
    encode: Callable[[Any, Float[Array, "H W 3"]], Any], params: Any, image: Float[Array, "H W 3"]
) -> Float[Array, " d"]:
    """Return what a victim's encoder makes of an image, averaged over the cells of grids; f32[d].

    Every array of what it makes takes part, so that any captioner's `encode` fits.
    """

    def flat(part: Float[Array, "*cells d"]) -> Float[Array, " d"]:
        return part.reshape(-1, part.shape[-1]).mean(axis=0)

    features: Any = encode(params, image)
    return jnp.concatenate([flat(part) for part in jax.tree.leaves(features)])


def spectral_scores(features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """Score each sample by its outlyingness along the first singular vector; f64[n].

    Tran, Li, Madry, "Spectral Signatures in Backdoor Attacks" (2018), algorithm 1:
    `τ_i = ((R(x_i) - mean) · v)²`, v the top right singular vector of the centred features.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.asarray((centred @ directions[0]) ** 2)


def spectral_signatures(
    features: Float[np.ndarray, "n d"], expected: float
) -> Bool[np.ndarray, " n"]:
    """Flag the 1.5 · `expected` · n samples with the highest scores; bool[n].

    Args:
      features: f32[n, d].
      expected: the share of poisoned samples that the defender reckons with.
    """
    count = min(len(features), int(SPARE * expected * len(features) + 0.5))
    flagged = np.zeros(len(features), bool)
    flagged[np.argsort(-spectral_scores(features), stable=True)[:count]] = True
    return flagged


def activation_clustering(
    features: Float[np.ndarray, "n d"], seed: int = 0
) -> Bool[np.ndarray, " n"]:
    """Split the samples in two by k-means and flag the smaller cluster; bool[n].

    Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering"
    (2018). They cluster ten independent components; these are a rotation of the whitened principal
    components, and k-means does not see rotations, so the latter do.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = singular[:COMPONENTS] > 1e-9 * singular[0]
    second = _two_means(left[:, :COMPONENTS][:, kept], np.random.default_rng(seed))
    return second if second.mean() <= 0.5 else ~second


def _two_means(
    points: Float64[np.ndarray, "n d"], rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Part points f64[n, d] in two: Lloyd's algorithm, best of some k-means++ starts; bool[n]."""
    best, parts = np.inf, np.zeros(len(points), bool)
    for _ in range(STARTS):
        first = points[rng.integers(len(points))]
        far = ((points - first) ** 2).sum(axis=1)
        if not far.any():  # all alike: nothing stands out
            return parts
        centres = np.stack([first, points[rng.choice(len(points), p=far / far.sum())]])
        nearest = np.zeros(len(points), int)
        for _ in range(100):
            distances = ((points[:, None] - centres) ** 2).sum(axis=2)
            previous, nearest = nearest, distances.argmin(axis=1)
            sizes = np.bincount(nearest, minlength=2)
            if not sizes.all() or (nearest == previous).all():
                break
            centres = np.stack([points[nearest == part].mean(axis=0) for part in (0, 1)])
        if (spread := distances.min(axis=1).sum()) < best:
            best, parts = spread, nearest == 1
    return parts


def detection(
    flagged: Bool[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | None = None,
) -> Detection:
    """Compare what is flagged with what is poisoned, bool[n] each; some of both kinds is needed."""
    return Detection(
        float(flagged.mean()),
        float(flagged[truth].mean()),
        float(flagged[~truth].mean()),
        None if scores is None else _area(scores, truth),
    )


def _area(scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Probability that a poisoned sample scores higher than a clean one, ties counted half."""
    clean = np.sort(scores[~truth])
    below = np.searchsorted(clean, scores[truth], "left")
    not_above = np.searchsorted(clean, scores[truth], "right")
    return float((below + not_above).mean() / (2 * len(clean)))
