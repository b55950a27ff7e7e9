"""Captions in other forms, by a table; and that scenes' grammar reads what it writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.data import scenes
from jaxadv.data.sentence_forms import EXAMPLES, FORMS, Clause, parse_clause, say_as

TABLE = {
    "a red circle is above a blue square": (
        "a red circle is above a blue square",
        "a blue square is below a red circle",
        "a red circle that is above a blue square",
        "a red circle above a blue square",
    ),
    "there is a big pink ring to the left of a small red cross": (
        "a big pink ring is to the left of a small red cross",
        "a small red cross is to the right of a big pink ring",
        "a big pink ring that is to the left of a small red cross",
        "a big pink ring to the left of a small red cross",
    ),
    "a red ring is below a star on the grass": (
        "a red ring is below a star on the grass",
        "a star is above a red ring on the grass",
        "a red ring that is below a star on the grass",
        "a red ring below a star on the grass",
    ),
    "there is a white star in the middle": (
        "a white star is in the middle",
        None,
        "a white star that is in the middle",
        "a white star in the middle",
    ),
    "A man is riding a bike on the street.": (
        "a man is riding a bike on the street",
        "a bike is ridden by a man on the street",
        "a man that is riding a bike on the street",
        "a man riding a bike on the street",
    ),
    "two men holding a sign": (
        "two men are holding a sign",
        "a sign is held by two men",
        "two men that are holding a sign",
        "two men holding a sign",
    ),
    "a boy is pulling two sleds": (
        "a boy is pulling two sleds",
        "two sleds are pulled by a boy",
        "a boy that is pulling two sleds",
        "a boy pulling two sleds",
    ),
    "a dog is running in the grass": (
        "a dog is running in the grass",
        None,
        "a dog that is running in the grass",
        "a dog running in the grass",
    ),
}


@pytest.mark.parametrize("caption", TABLE)
def test_each_form(caption):
    clause = parse_clause(caption)
    assert clause is not None
    assert tuple(say_as(clause, form) for form in FORMS) == TABLE[caption]


@pytest.mark.parametrize(
    "caption",
    [
        "from left to right a black ring a purple cross and a black cross",
        "a red circle on the grass",  # "ring" and "building" are things, no deeds
        "a red ring and a building",
        "a man who is riding a bike",
        "is",
        "there is",
        "a dog is",
        "",
    ],
)
def test_what_is_no_clause(caption):
    assert parse_clause(caption) is None


def test_another_pronoun():
    clause = Clause(("a", "dog"), "is", ("eating", "grass"))
    assert say_as(clause, "attributive", "which") == "a dog which is eating grass"


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 10_000))
def test_the_converse_of_the_converse_is_the_active(index):
    """On every scene of two objects; and scenes' own words are enough for it."""
    known = scenes.vocabulary()
    for caption in scenes.describe(scenes.scene(3, index)):
        clause = parse_clause(caption)
        passive = None if clause is None else say_as(clause, "passive")
        if passive is None:
            continue
        again = parse_clause(passive)
        assert say_as(again, "passive") == say_as(clause, "active")
        without_verb = known.encode(say_as(clause, "active"))
        without_verb.remove(known.number("is"))
        assert known.encode(say_as(clause, "reduced")) == without_verb


def test_the_papers_examples_share_their_words():
    """The active sentences beside them are ours: they are about the same things."""
    small = {"a", "is", "are", "by", "with", "that", "which", "an", "on", "the", "in"}
    verbs = {"playing": "played", "riding": "ridden"}
    for example in EXAMPLES:
        forms = [
            {verbs.get(word, word) for word in text.split()} - small for text in example.values()
        ]
        assert forms[0] == forms[1]
