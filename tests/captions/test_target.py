"""Targets as people write them."""

import pytest

from jaxadv.captions.target import (
    TargetError,
    _escaped,
    make_target,
    parse_keywords,
    parse_target,
    write_target,
)
from jaxadv.errors import InputError
from jaxadv.vocabulary import UnknownWordError, Vocabulary

VOCABULARY = Vocabulary(("a", "giraffe", "is", "on", "the", "grass", "dog"))


@pytest.mark.parametrize(
    ("text", "tokens", "observed", "length"),
    [
        ("a giraffe", [1, 2, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], 2),
        ("A Giraffe.", [1, 2, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], 2),
        ("a giraffe , .", [1, 2, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], 2),
        ("a giraffe....", [1, 2, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], 2),
        ("a _ is", [1, 0, 3, 0, 0, 0], [1, 0, 1, 1, 0, 0], 3),
        ("_ giraffe _", [0, 2, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], 3),
        ("a __ is", [1, 0, 3, 0, 0, 0], [1, 0, 1, 1, 0, 0], 3),
        ("a giraffe ...", [1, 2, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], 2),
        ("a giraffe…", [1, 2, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], 2),
        ("a giraffe is on the grass", [1, 2, 3, 4, 5, 6], [1] * 6, 6),
    ],
)
def test_reading(text, tokens, observed, length):
    target = parse_target(text, VOCABULARY, 6)
    assert target.tokens.tolist() == tokens
    assert target.observed.astype(int).tolist() == observed
    assert int(target.length) == length


@pytest.mark.parametrize("text", ["a giraffe", "a _ is", "_ giraffe _", "a dog ...", "a _ the ..."])
def test_writing_is_reading_backwards(text):
    target = parse_target(text, VOCABULARY, 6)
    assert write_target(target, VOCABULARY) == text


@pytest.mark.parametrize("text", ["a dog .", "a dog . ...", "a _ .", "a , dog 's", "a dog ..."])
def test_punctuation_that_the_victim_says(text):
    vocabulary = Vocabulary(("a", "dog", ".", ",", "'s"))
    assert write_target(parse_target(text, vocabulary, 6), vocabulary) == text


ODD = (
    "a", "traffic_light", "traffic", "light", "surfboard", ".", "hot dog", "_", "__", "...", "etc.",
    "'s", "dog's", "über", "漢字", "[unk]", "a:b:c", "C++", "U.S.", "it", ",",
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD)))
@pytest.mark.parametrize("form", ["{}", "a {}", "{} a", "a {} ...", "it _ {} it"])
def test_every_word_of_the_victim_can_be_asked_for(number, form):
    vocabulary = Vocabulary(ODD)
    wanted = [number + 1 if word == "{}" else 0 for word in form.replace(" ...", "").split()]
    target = parse_target(form.format(_escaped(ODD[number])), vocabulary, 6)
    assert all(not w or w == t for w, t in zip(wanted, target.tokens.tolist(), strict=False))
    assert int(target.length) == len(wanted)
    assert write_target(target, vocabulary) == form.format(_escaped(ODD[number]))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a surfboard.", "a surfboard ."),
        ('"a surfboard", it', "a surfboard , it"),
        ("a traffic_light!", "a traffic_light"),
        ("a Traffic_Light", "a traffic_light"),
        ("a hot dog's it", None),
        ("a_it", None),
        ("a ___ it", "a _ it"),
        ("a __ it", "a __ it"),
        ("a U.S. it", "a U.S. it"),
        ("a etc....", "a etc. ..."),
        ("a hot dog …", "a hot dog ..."),
    ],
)
def test_a_word_that_the_victim_has_is_that_word(text, written):
    vocabulary = Vocabulary(ODD)
    if written is None:
        with pytest.raises(UnknownWordError):
            parse_target(text, vocabulary, 6)
    else:
        assert write_target(parse_target(text, vocabulary, 6), vocabulary) == written


def test_every_word_can_be_a_keyword():
    vocabulary = Vocabulary((*ODD, "a,b"))
    for number, word in enumerate(vocabulary.words, start=1):
        assert parse_keywords(word, vocabulary).words.tolist() == [number, 0, 0, 0]
        if "," not in word:  # a word with a comma is meant where it stands alone
            assert set(parse_keywords(f"it, {word}", vocabulary).words.tolist()) >= {20, number}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a girafe", "unknown word 'girafe': did you mean 'giraffe'?"),
        ("a zzz", "unknown word 'zzz': the victim knows 7 words"),
        ("_ _", "no observed word"),
        ("", "no observed word"),
        ("...", "no observed word"),
        ("a giraffe ... dog", "'a giraffe ... dog': ... may stand at the end only"),
        ("... a dog ...", "may stand at the end only"),
        ("a giraffe is on the grass a", "7 words or tokens: this victim says at most 6"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as caught:
        parse_target(text, VOCABULARY, 6)
    assert "\n" not in str(caught.value)


def test_places():
    target = make_target([1, 2, 3, 4], 6, {1, 3}, ends=False)
    assert target.latent.astype(int).tolist() == [0, 1, 0, 1, 0, 0]
    assert int(target.reach) == 3
    assert int(make_target([1, 2], 6).reach) == 3


def test_keywords():
    assert parse_keywords("dog, Giraffe", VOCABULARY).words.tolist() == [7, 2, 0, 0]
    with pytest.raises(TargetError, match="0 keywords: give from 1 to 4"):
        parse_keywords(" ", VOCABULARY)
    with pytest.raises(UnknownWordError, match="did you mean 'dog'"):
        parse_keywords("dogg", VOCABULARY)
