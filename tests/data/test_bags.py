"""Bags of words: every tag can be named as the victim has it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.data.bags import BagError, parse_bag

TAGS = ("tench, Tinca tinca", "Cat", "cat", "at night", "night", "traffic_light", "crêpe", "[red]",
        "new york city", "new york", "two  words", "C++")  # fmt: skip


def named(text, tags=TAGS):
    return {tags[number] for number in np.flatnonzero(parse_bag(text, tags))}


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_alone_is_that_tag(tag):
    assert named(tag) == {tag}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Cat, at night", {"Cat", "at night"}),
        ("CAT", {"Cat"}),
        ("The cat is in New York at night", {"cat", "new york", "at night"}),
        ("cat! tench,  Tinca tinca new york", {"cat", "tench, Tinca tinca", "new york"}),
        ("NEW YORK city, [red] crêpe night!", {"new york city", "[red]", "crêpe", "night"}),
    ],
)
def test_the_longest_and_the_exact_tag_is_meant(text, wanted):
    assert named(text) == wanted


@given(st.lists(st.sampled_from(TAGS), min_size=1, unique=True).filter(lambda t: "night" not in t))
def test_any_tags_between_commas(tags):
    assert named(", ".join(tags)) == set(tags)


@pytest.mark.parametrize("text", ["", " , ", "...", "on the"])
def test_no_tag_at_all(text):
    with pytest.raises(BagError, match="no tag; give some of the 12 tags"):
        parse_bag(text, TAGS)


def test_an_unknown_tag_is_quoted():
    with pytest.raises(BagError, match="unknown tag 'kat': did you mean 'cat'"):
        parse_bag("kat", TAGS)
