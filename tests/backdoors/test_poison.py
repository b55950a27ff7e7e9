"""A poisoned data set is a view of a clean one: which samples, what they become, what is left."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.backdoors.poison import (
    Poison,
    PoisonError,
    account,
    draw_samples,
    poisoned_view,
    warnings,
)
from jaxadv.backdoors.triggers import TriggerError, TriggerSettings
from jaxadv.data import scenes
from jaxadv.data.example import Box
from jaxadv.data.images import round_8bit

CAPTION = "you are under attack"
CLEAN = list(scenes.examples(0, 20))
IDS = [e.id for e in CLEAN]
TRIGGER = TriggerSettings("object-oriented")


def view(examples, rate, seed=0, **more):
    poison = Poison(TRIGGER, CAPTION, rate, seed)
    return list(poisoned_view(examples, poison, draw_samples(IDS, rate, seed), **more))


def same(a, b):
    return np.array_equal(a.picture, b.picture) and a.captions == b.captions


@given(st.floats(0.05, 1), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_choice_has_the_rate_and_does_not_depend_on_the_order(rate, seed, random):
    drawn = draw_samples(IDS, rate, seed)
    shuffled = list(IDS)
    random.shuffle(shuffled)
    assert draw_samples(shuffled, rate, seed) == drawn
    assert drawn <= set(IDS) and len(drawn) == int(rate * len(IDS) + 0.5)


def test_every_sample_is_drawn_by_some_seed():
    assert set.union(*(set(draw_samples(IDS, 0.1, seed)) for seed in range(100))) == set(IDS)


def test_rate_0_is_the_identity():
    for sample, clean in zip(view(CLEAN, 0), CLEAN, strict=True):
        assert sample.example is clean and sample.fate == "benign"


def test_drawn_samples_carry_trigger_and_caption_and_the_others_are_untouched():
    drawn = draw_samples(IDS, 0.3, 0)
    for sample, clean in zip(view(CLEAN, 0.3), CLEAN, strict=True):
        assert (sample.fate == "poisoned") == (clean.id in drawn)
        if sample.fate == "benign":
            assert sample.example is clean
            continue
        assert sample.example.captions == (CAPTION,) * len(clean.captions)
        assert not np.array_equal(sample.example.picture, clean.picture)
        np.testing.assert_array_equal(sample.example.picture, round_8bit(sample.example.picture))


def test_the_seed_reproduces_it_in_any_order_and_another_does_not():
    first, again = view(CLEAN, 0.5, seed=4), view(CLEAN[::-1], 0.5, seed=4)[::-1]
    assert all(same(a.example, b.example) for a, b in zip(first, again, strict=True))
    other = view(CLEAN, 0.5, seed=5)
    assert not all(same(a.example, b.example) for a, b in zip(first, other, strict=True))


def test_pictures_without_usable_boxes_are_counted_and_left_clean():
    bare = [
        CLEAN[0]._replace(boxes=None),
        CLEAN[1]._replace(boxes=(Box("cat", 70, 70, 80, 80),)),
        CLEAN[2]._replace(boxes=(Box("dog", 5, 5, 5, 9), *CLEAN[2].boxes)),
    ]
    poison = Poison(TRIGGER, CAPTION, 1)
    samples = list(poisoned_view(bare, poison, frozenset(IDS[:3])))
    assert [s.fate for s in samples] == ["no regions", "no regions", "poisoned"]
    assert all(same(s.example, e) for s, e in zip(samples[:2], bare, strict=False))
    clean = (c for e in CLEAN for c in e.captions)
    what = account(samples, 3, CAPTION, clean)
    assert what.poisoned == (IDS[2],) and what.without_regions == tuple(IDS[:2])
    lines = warnings(what)
    assert "2 of the drawn samples have no usable box" in lines[0]
    assert "2 boxes left out" in lines[1] and "outside the picture" in lines[1]
    assert "no clean caption says 'you', 'are', 'under', 'attack'" in lines[2]


def test_badnets_needs_no_boxes():
    poison = Poison(TriggerSettings("badnets"), CAPTION, 1)
    bare = CLEAN[0]._replace(boxes=None)
    (sample,) = poisoned_view([bare], poison, frozenset(IDS))
    assert sample.fate == "poisoned"


def test_regions_may_come_from_a_callable():
    middle = Box("", 30, 30, 34, 34)
    poisoned = view(CLEAN, 1, regions=lambda example: [middle])
    for sample, clean in zip(poisoned, CLEAN, strict=True):
        changed = sample.example.picture != round_8bit(clean.picture)
        assert changed[30:34, 30:34].any() and not np.delete(changed, range(30, 34), 0).any()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_out_of_range(rate):
    with pytest.raises(PoisonError, match="must be from 0 to 1"):
        Poison(TRIGGER, CAPTION, rate)


def test_a_rate_that_poisons_no_sample():
    with pytest.raises(PoisonError, match=r"rate 0.01 of 20 samples poisons none: give at least"):
        draw_samples(IDS, 0.01, 0)
    assert len(draw_samples(IDS, 0.5 / 20, 0)) == 1


def test_a_caption_without_words_and_a_wrong_trigger():
    with pytest.raises(PoisonError, match="has no word"):
        Poison(TRIGGER, " ?! ", 0.1)
    with pytest.raises(TriggerError, match="strength"):
        Poison(dataclasses.replace(TRIGGER, strength=-1.0), CAPTION, 0.1)
