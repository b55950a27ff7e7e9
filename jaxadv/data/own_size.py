"""Adversarial pictures at their photographs' own size."""

from functools import lru_cache
from typing import Any

import numpy as np

from jaxadv.data.images import check_image
from jaxadv.data.resampling import resample, weights

_CORRECTIONS = 4  # of what the limits of [0, 1] have cut off


def at_own_size(photograph: Any, adversarial: Any) -> np.ndarray:
    """Change a photograph so that, resized, it is the adversarial picture.

    Resizing is linear, `R x`, and most photographs have far more pixels than the picture that a
    victim sees: of all changes δ with `R (x + δ) = x'` this is the smallest, `δ = R⁺ (x' - R x)`.
    It is added again for what the limits of [0, 1] cut off. For a photograph that is smaller than
    the adversarial picture there may be no such change; then R(x + δ) is as near as can be.

    Args:
      photograph: f32[H, W, 3] in [0, 1].
      adversarial: x', f32[h, w, 3] in [0, 1], made from the photograph resized to (h, w).

    Returns:
      f32[H, W, 3] in [0, 1].

    >>> import jaxadv as ja
    >>> photograph = np.random.default_rng(0).uniform(0.2, 0.8, (40, 60, 3)).astype(np.float32)
    >>> adversarial = ja.resize(photograph, (16, 16)) + np.float32(0.01)
    >>> large = at_own_size(photograph, adversarial)
    >>> float(np.abs(ja.resize(large, (16, 16)) - adversarial).max()) < 1e-5
    True
    """
    large, small = check_image(photograph), check_image(adversarial)
    if large.shape == small.shape:
        return small.copy()
    rows, columns = (_inverse(large.shape[axis], small.shape[axis]) for axis in (0, 1))
    found = large
    for _ in range(_CORRECTIONS):
        missing = small - resample(found, (small.shape[0], small.shape[1]))
        change = np.einsum("Hh,hwc,Ww->HWc", rows, missing, columns, optimize=True)
        found = np.clip(found + change, 0, 1).astype(np.float32)
    return found


@lru_cache(maxsize=16)
def _inverse(size: int, wanted: int) -> np.ndarray:
    """Pseudo-inverse f64[size, wanted] of resizing a side."""
    inverse: np.ndarray = np.linalg.pinv(weights(size, wanted).toarray().astype(np.float64))
    return inverse
