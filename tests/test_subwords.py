"""Sub-word vocabularies of three kinds of tokenizers, trained on a few captions."""

import pickle

import numpy as np
import pytest
import tokenizers
from helpers.subword_kinds import CAPTIONS, byte_level, metaspace, word_piece
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.captions.target import make_target, parse_keywords, parse_target, write_target
from jaxadv.errors import InputError
from jaxadv.subwords import SubwordVocabulary
from jaxadv.vocabulary import UnknownWordError

KINDS = {make.__name__: make() for make in (byte_level, word_piece, metaspace)}
ROWS = 340


@pytest.fixture(params=KINDS)
def vocabulary(request):
    return SubwordVocabulary(*KINDS[request.param], rows=ROWS)


@pytest.mark.parametrize("text", [*CAPTIONS[:4], "the man runs on the wave"])
def test_there_and_back(vocabulary, text):
    numbers = vocabulary.encode(text)
    assert all(0 < n < ROWS for n in numbers)
    assert vocabulary.decode([*numbers, 0, 5]) == text
    target = parse_target(text, vocabulary, 40)
    assert target.tokens.tolist()[: len(numbers)] == numbers
    assert write_target(target, vocabulary) == text


def test_a_gap_is_one_token(vocabulary):
    """What stands around gaps is as many tokens as behind other words."""
    whole = vocabulary.encode("a brown dog runs over the grass")
    tokens = {text: len(vocabulary.behind(text)) for text in ("brown", "runs over", "the grass")}
    text = "a _ dog _ _ the grass ..."
    target = parse_target(text, vocabulary, 40)
    latent = np.flatnonzero(np.asarray(target.latent))
    assert (
        len(latent) == 3
        and int(target.length)
        == len(whole) - sum(tokens[gone] for gone in ("brown", "runs over")) + 3
    )
    first = len(vocabulary.encode("a"))
    assert latent[0] == first
    assert target.tokens[0] == whole[0]
    end = int(target.length)
    seen = target.tokens[end - tokens["the grass"] : end].tolist()
    assert seen == vocabulary.behind("the grass") == whole[-len(seen) :]
    assert write_target(target, vocabulary) == text
    assert not bool(target.observed[end])


def test_a_caption_that_begins_with_a_gap(vocabulary):
    target = parse_target("_ dog", vocabulary, 20)
    assert bool(target.latent[0]) and write_target(target, vocabulary) == "_ dog"
    with pytest.raises(InputError, match="no observed word"):
        parse_target("_ _", vocabulary, 20)


def test_the_end_is_number_0_and_its_id_stands_for_token_0(vocabulary):
    assert set(vocabulary.suppressed) == {
        n for n in range(1, ROWS) if vocabulary.words[n - 1].startswith("<unused-")
    }
    assert vocabulary.size == ROWS and len(vocabulary.suppressed) > 0
    ended = tokenizers.Tokenizer.from_str(vocabulary.tokenizer).id_to_token(vocabulary.end)
    assert ended not in vocabulary.words


def test_what_a_caption_begins_with():
    """A blank before the first word makes another token of it, and is no part of the caption."""
    text, end = KINDS["byte_level"]
    plain, led = (SubwordVocabulary(text, end, ROWS, lead=lead) for lead in ("", " "))
    assert plain.encode("a dog") != led.encode("a dog")
    assert led.decode(led.encode("a dog")) == "a dog" == plain.decode(plain.encode("a dog"))


def test_words_it_cannot_write():
    wordpiece = SubwordVocabulary(*KINDS["word_piece"], rows=ROWS)
    with pytest.raises(UnknownWordError, match=r"'a dög': .* no token for 'ö'"):
        SubwordVocabulary(*KINDS["metaspace"], rows=ROWS).encode("a dög")
    with pytest.raises(UnknownWordError, match="no token for"):
        wordpiece.encode("a 狗")
    assert "dog" in wordpiece and "狗" not in wordpiece


def test_keywords_are_one_token(vocabulary):
    keywords = parse_keywords("a", vocabulary)
    assert vocabulary.decode(keywords.words) == "a"
    with pytest.raises(UnknownWordError, match=r"'skateboards': \d+ tokens .* must be one"):
        parse_keywords("skateboards", vocabulary)


@pytest.mark.parametrize(
    ("text", "end", "rows", "line"),
    [
        ("{}", 0, 9, "not a tokenizer.json"),
        ("not JSON", 0, 9, "not a tokenizer.json"),
        (KINDS["word_piece"][0], 99, ROWS, "no token 99"),
        (KINDS["word_piece"][0], 3, 9, "the network scores 9"),
    ],
)
def test_what_is_no_vocabulary(text, end, rows, line):
    with pytest.raises(InputError, match=line):
        SubwordVocabulary(text, end, rows)


def test_two_of_the_same_are_equal(vocabulary):
    """So that what was compiled for one serves the other, after pickling, too."""
    same = SubwordVocabulary(vocabulary.tokenizer, vocabulary.end, ROWS)
    assert same == vocabulary == pickle.loads(pickle.dumps(vocabulary))
    assert hash(same) == hash(vocabulary)
    assert same != SubwordVocabulary(vocabulary.tokenizer, vocabulary.end, ROWS + 1)


@given(st.text(max_size=20))
def test_any_text_of_bytes_comes_back(text):
    """Bytes can write everything."""
    vocabulary = SubwordVocabulary(*KINDS["byte_level"], rows=ROWS)
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text.strip()
    if numbers:
        assert write_target(make_target(numbers, 200), vocabulary) == text.strip()
