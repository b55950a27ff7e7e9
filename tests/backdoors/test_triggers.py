"""Triggers: where they change a picture, how much, and that the key fixes it."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.backdoors.triggers import (
    PATTERNS,
    PLACES,
    TRIGGERS,
    TriggerError,
    TriggerSettings,
    badnets,
    blended,
    make_trigger,
    object_oriented,
)

SHAPE = (12, 10)


def picture(seed, shape=SHAPE):
    return np.random.default_rng(seed).random((*shape, 3), np.float32)


@st.composite
def regions(draw, most=4):
    edges = []
    for _ in range(draw(st.integers(0, most))):
        left, right = sorted(
            draw(st.lists(st.integers(0, SHAPE[1]), min_size=2, max_size=2, unique=True))
        )
        top, bottom = sorted(
            draw(st.lists(st.integers(0, SHAPE[0]), min_size=2, max_size=2, unique=True))
        )
        edges.append((left, top, right, bottom))
    return np.array(edges, np.int64).reshape(-1, 4)


settings_of_any = st.builds(
    TriggerSettings,
    trigger=st.sampled_from(sorted(TRIGGERS)),
    strength=st.floats(0.01, 1),
    share=st.floats(0.05, 1),
    size=st.floats(0.01, 1),
    place=st.sampled_from(PLACES),
    pattern=st.sampled_from(PATTERNS),
)


def cover(boxes):
    """How many regions each pixel lies in, pixel by pixel."""
    count = np.zeros(SHAPE, int)
    for left, top, right, bottom in boxes:
        for y in range(top, bottom):
            for x in range(left, right):
                count[y, x] += 1
    return count


@given(settings_of_any, regions(), st.integers(0, 99))
def test_any_trigger_stays_in_range_and_follows_its_key(settings, boxes, seed):
    clean = picture(seed)
    before = clean.copy()
    trigger = make_trigger(settings)
    first = trigger.apply(clean, boxes, jax.random.key(seed))
    again = make_trigger(settings).apply(clean, boxes, jax.random.key(seed))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(clean, before)
    assert first.shape == clean.shape and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1
    if trigger.needs_regions and not len(boxes):
        np.testing.assert_array_equal(first, clean)


@given(regions(), st.floats(0.1, 1), st.floats(1, 200), st.integers(0, 99))
def test_pixels_outside_all_boxes_are_untouched(boxes, share, alpha, seed):
    clean = picture(seed)
    changed = object_oriented(alpha, share).apply(clean, boxes, jax.random.key(seed)) != clean
    assert not changed[cover(boxes) == 0].any()


@given(regions(most=1), st.floats(0.05, 1), st.integers(0, 99))
def test_the_number_of_changed_pixels_is_in_proportion_to_the_region(boxes, share, seed):
    grey = np.full((*SHAPE, 3), 0.5, np.float32)
    after = object_oriented(5, share).apply(grey, boxes, jax.random.key(seed))
    area = sum((b - t) * (r - x) for x, t, r, b in boxes)
    assert (after != grey).any(axis=2).sum() == int(share * area + 0.5)


def test_overlaps_accumulate():
    """Over many keys the variance at a pixel is α² for each region that it lies in."""
    boxes = np.array([[0, 0, 6, 12], [3, 2, 9, 8], [4, 4, 10, 12]])
    grey = np.full((*SHAPE, 3), 0.5, np.float32)
    trigger = object_oriented(alpha=10)
    keys = jax.random.split(jax.random.key(0), 400)
    noise = np.stack([trigger.apply(grey, boxes, key) - grey for key in keys])
    variance = (noise**2).mean(axis=(0, 3)) / (10 / 255) ** 2
    np.testing.assert_allclose(variance, cover(boxes), atol=0.75)
    for count in range(4):
        there = cover(boxes) == count
        assert variance[there].mean() == pytest.approx(count, abs=0.08)


def test_a_regions_noise_does_not_depend_on_the_other_regions():
    grey = np.full((*SHAPE, 3), 0.5, np.float32)
    one, key = object_oriented(), jax.random.key(3)
    alone = one.apply(grey, np.array([[0, 0, 5, 5]]), key)
    beside = one.apply(grey, np.array([[0, 0, 5, 5], [6, 6, 10, 12]]), key)
    np.testing.assert_array_equal(alone[:5, :5], beside[:5, :5])


def test_another_key_is_another_noise():
    grey, box = np.full((*SHAPE, 3), 0.5, np.float32), np.array([[0, 0, 10, 12]])
    first, second = (object_oriented().apply(grey, box, jax.random.key(k)) for k in (0, 1))
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize(
    ("place", "top", "left"),
    [
        ("top-left", 0, 0),
        ("top-right", 0, 6),
        ("bottom-left", 8, 0),
        ("bottom-right", 8, 6),
        ("centre", 4, 3),
    ],
)
def test_badnets_paints_the_same_patch_at_its_place(place, top, left):
    patch = np.random.default_rng(1).random((4, 4, 3), np.float32)
    after = badnets(0.4, place, patch).apply(picture(0), np.zeros((0, 4), int), jax.random.key(0))
    expected = picture(0)
    expected[top : top + 4, left : left + 4] = patch
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_badnets_at_random_is_fixed_by_the_key_and_moves_with_it():
    nothing = np.zeros((0, 4), int)
    corners = set()
    for seed in range(20):
        after = badnets(0.2, "random", "white").apply(
            np.zeros((*SHAPE, 3), np.float32), nothing, jax.random.key(seed)
        )
        assert after.sum() == 2 * 2 * 3
        corners.add(tuple(np.argwhere(after[..., 0])[0]))
    assert len(corners) > 5


def test_checkerboard_has_as_much_black_as_white():
    grey = np.full((40, 40, 3), 0.5, np.float32)
    after = badnets(0.2).apply(grey, np.zeros((0, 4), int), jax.random.key(0))
    assert (after == 0).sum() == (after == 1).sum() == 8 * 8 * 3 / 2


def test_blended_mixes_in_one_picture():
    pattern = picture(7)
    after = blended(0.25, pattern).apply(picture(0), np.zeros((0, 4), int), jax.random.key(0))
    np.testing.assert_allclose(after, 0.75 * picture(0) + 0.25 * pattern, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (TriggerSettings("badnet"), "must be one of object-oriented, badnets, blended"),
        (TriggerSettings(strength=0.0), "strength 0.0: must be above 0 and at most 255"),
        (TriggerSettings(strength=float("nan")), "strength nan"),
        (TriggerSettings(share=1.5), "share 1.5"),
        (TriggerSettings("badnets", size=0.0), "size 0"),
        (TriggerSettings("badnets", place="left"), "place 'left'"),
        (TriggerSettings("badnets", pattern="cat"), "pattern 'cat'"),
        (TriggerSettings("blended", strength=2.0), "at most 1"),
    ],
)
def test_wrong_settings_are_one_line(settings, line):
    with pytest.raises(TriggerError, match=line):
        make_trigger(settings)
