"""Captions that make sense, by simple measures; phrases that are repeated."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.captions.sensible import repeats_phrase, sensible

REPEATS = {
    "a dog runs on the grass": False,
    "a red circle is above a red square": False,
    "a man and a man": False,
    "on on": True,
    "a dog on the the grass": True,
    "a dog a dog": True,
    "a man in a shirt in a shirt runs": True,
    "a man in a hat and a man in a coat": True,  # four words twice
    "": False,
}


@pytest.mark.parametrize("caption", REPEATS)
def test_repeated_phrases(caption):
    assert repeats_phrase(caption.split()) == REPEATS[caption]


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_repeats_are_those_of_a_regular_expression(words):
    text = "".join(words)
    of_four = [text[i : i + 4] for i in range(len(text) - 3)]
    twice = any(of_four.count(some) > 1 for some in of_four)
    assert repeats_phrase(words) == (re.search(r"(.+)\1", text) is not None or twice)


def test_measures():
    captions = [(1, 2), (1, 2), (1, 3, 1, 3), (2,)]
    assert sensible(captions, unknown=2) == (4, 3, 0.25, 3 / 9)
    assert sensible(captions)[3] == 0
    assert sensible([]) == (0, 0, 0.0, 0.0)
