"""Pairs: rows that stay together, what is similar, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.data import scenes
from jaxadv.data.pairs import (
    SCENE_CLASSES,
    SCENE_TAGS,
    Pairs,
    PairsError,
    check_pairs,
    join,
    scene_pairs,
    similar,
)

TAGS, CLASSES = ("a", "b", "c"), ("x", "y")


def some_pairs(count=3, **changed):
    pairs = Pairs(
        np.zeros((count, 4, 4, 3), np.uint8),
        np.zeros((count, 3), np.float32),
        np.ones((count, 2), bool),
        tuple(f"pair-{i}" for i in range(count)),
        CLASSES,
    )
    return pairs._replace(**changed)


def test_scenes_say_what_they_show():
    pairs = scene_pairs(5, 8, start=3)
    check_pairs(pairs, (len(SCENE_TAGS),), SCENE_CLASSES)
    for row, (picture, tags, labels, name) in enumerate(zip(*pairs[:4], strict=True)):
        shown = scenes.scene(5, 3 + row)
        words = {shown.ground, *(w for t in shown.things for w in (t.size, t.colour, t.shape))}
        assert {SCENE_TAGS[i] for i in np.flatnonzero(tags)} == words
        assert {SCENE_CLASSES[i] for i in np.flatnonzero(labels)} == {t.shape for t in shown.things}
        assert name == f"scene-5-{3 + row}"
        np.testing.assert_allclose(
            picture / 255, scenes.example(5, 3 + row).picture, atol=0.502 / 255
        )


def test_scenes_of_another_side():
    assert scene_pairs(0, 2, side=96).pictures.shape == (2, 96, 96, 3)


def test_scenes_are_a_sensible_task():
    """Neither nearly all nor nearly no pairs are similar: chance is far below a MAP of 0.85."""
    labels = np.array(
        [
            [s in {t.shape for t in scenes.scene(1, i).things} for s in SCENE_CLASSES]
            for i in range(400)
        ]
    )
    assert 0.3 < similar(labels, labels).mean() < 0.55


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_similar_pairs_share_a_label(rows):
    labels = np.array(rows)
    expected = [[any(a and b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    np.testing.assert_array_equal(similar(labels, labels), expected)


def test_rows_stay_together():
    both = join(scene_pairs(0, 2), scene_pairs(1, 3))
    check_pairs(both, (len(SCENE_TAGS),), SCENE_CLASSES)
    for row, again in enumerate(zip(*scene_pairs(1, 3)[:4], strict=True), start=2):
        for got, expected in zip((field[row] for field in both[:4]), again, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"texts": np.zeros((3, 4), np.float32)}, r"texts of shape \(3, 4\).*need shape \(3, 3\)"),
        ({"texts": np.zeros((2, 3), np.float32)}, r"texts of shape \(2, 3\): 3 pictures"),
        ({"labels": np.ones((3, 1), bool)}, r"labels of shape \(3, 1\).*need shape \(3, 2\)"),
        ({"labels": np.array([[1, 1], [0, 0], [0, 0]], bool)}, r"pair-1 has no label \(2 of 3"),
        ({"texts": np.full((3, 3), 1.5, np.float32)}, "the bag of pair-0 must be between 0 and 1"),
        ({"texts": np.full((3, 3), np.nan, np.float32)}, "the bag of pair-0 must be between"),
        ({"ids": ("one",)}, r"ids of shape \(1,\)"),
        ({"classes": ("x", "z")}, r"classes \('x', 'z'\): the hasher's are \('x', 'y'\)"),
    ],
)
def test_what_does_not_fit_is_named(changed, message):
    check_pairs(some_pairs(), (len(TAGS),), CLASSES)
    with pytest.raises(PairsError, match=message) as caught:
        check_pairs(some_pairs(**changed), (len(TAGS),), CLASSES)
    assert "\n" not in str(caught.value)


def test_only_pairs_of_one_kind_are_joined():
    with pytest.raises(PairsError, match=r"texts of shape \(5,\) cannot join those of .* \(3,\)"):
        join(some_pairs(), some_pairs(texts=np.zeros((3, 5), np.float32)))
    with pytest.raises(PairsError, match=r"labels of \('x', 'z'\) cannot join those of \('x', 'y'"):
        join(some_pairs(), some_pairs(classes=("x", "z")))
