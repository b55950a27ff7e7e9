"""Adversarial pictures at their photographs' own size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.data.images import ImageError, resize, round_8bit
from jaxadv.data.own_size import at_own_size

sizes = st.integers(20, 60)


def photograph(height, width, low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, (height, width, 3)).astype(np.float32)


def changed(small, by=0.05):
    noise = np.random.default_rng(1).normal(0, by, small.shape)
    return np.clip(small + noise, 0, 1).astype(np.float32)


@settings(max_examples=15)
@given(sizes, sizes)
def test_resized_it_is_the_adversarial_picture(height, width):
    """Where a photograph is not smaller, and no value is at its limit."""
    large = photograph(height, width, 0.4, 0.6)
    adversarial = changed(resize(large, (16, 20)), by=0.02)
    found = at_own_size(large, adversarial)
    assert found.shape == large.shape and found.dtype == np.float32
    np.testing.assert_allclose(resize(found, (16, 20)), adversarial, atol=1e-4)


def test_no_smaller_change_does():
    """Beside any other change with the same effect: a smooth one, the perturbation resized."""
    large = photograph(48, 64, 0.3, 0.7)
    adversarial = changed(resize(large, (16, 16)), by=0.01)
    found = at_own_size(large, adversarial) - large
    rng = np.random.default_rng(2)
    other = rng.normal(0, 0.01, large.shape)
    # what resizing does not see of another change can be added to it for nothing
    unseen = other - (at_own_size(large, np.clip(resize(large + other, (16, 16)), 0, 1)) - large)
    same = large + found + unseen.astype(np.float32)
    np.testing.assert_allclose(resize(np.clip(same, 0, 1), (16, 16)), adversarial, atol=1e-3)
    assert np.linalg.norm(found) < np.linalg.norm(found + unseen)


def test_values_at_their_limits():
    """Black and white stay between 0 and 1; rounding to 8 bits is lost in the mean."""
    large = photograph(120, 160)
    large = np.where(large < 0.3, 0, np.where(large > 0.7, 1, large)).astype(np.float32)
    adversarial = changed(resize(large, (32, 32)), by=0.02)
    found = at_own_size(large, adversarial)
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(resize(round_8bit(found), (32, 32)) - adversarial).max() < 4 / 255


def test_the_same_size():
    small = photograph(16, 16)
    np.testing.assert_array_equal(at_own_size(small, changed(small)), changed(small))


def test_a_smaller_photograph_comes_near():
    large = photograph(10, 12, 0.3, 0.7)
    benign = resize(large, (24, 24))
    adversarial = changed(benign, by=0.02)
    seen = resize(at_own_size(large, adversarial), (24, 24))
    assert np.linalg.norm(seen - adversarial) < np.linalg.norm(benign - adversarial)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.full((4, 4, 3), 2.0)])
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(ImageError):
        at_own_size(bad, np.zeros((2, 2, 3)))
