"""Words: of any script, all different, looked up as written first; marks that nobody says."""

import pytest

from jaxadv.captions.target import parse_keywords, parse_target, write_target
from jaxadv.errors import InputError
from jaxadv.vocabulary import UnknownWordError, Vocabulary, build_vocabulary, tokenize

WORDS = {
    "A man's dog, running!": ["a", "man's", "dog", "running"],
    "a well-known T-shirt_2": ["a", "well-known", "t-shirt_2"],
    "une crêpe brûlée": ["une", "crêpe", "brûlée"],
    "cafe\u0301 JALAPEÑO": ["café", "jalapeño"],  # a letter and its mark are composed
    "a man\u2019s dog": ["a", "man's", "dog"],
    "T\u2011shirt \u201cred\u201d \u2014 big\u2026": ["t-shirt", "red", "big"],
    "一只 狗，在跑。": ["一只", "狗", "在跑"],
    "собака бежит": ["собака", "бежит"],
    "हिन्दी में": ["हिन्दी", "में"],  # vowel signs are marks, not letters
    "می\u200cخواهم": ["میخواهم"],  # joined without a visible sign
    "a 🐶 runs\u00a0fast": ["a", "runs", "fast"],
    "\ufeffa dog": ["a", "dog"],
    "…!? 🐶": [],
}


@pytest.mark.parametrize("text", WORDS)
def test_captions_are_split_into_words_of_any_script(text):
    assert tokenize(text) == WORDS[text]
    assert tokenize(" ".join(WORDS[text])) == WORDS[text]  # splitting again changes nothing


@pytest.mark.parametrize("words", [("a", "cat", "a"), ("a", ""), ("a", 3)])
def test_words_are_texts_and_all_different(words):
    with pytest.raises(InputError, match=r"'a'|must be texts"):
        Vocabulary(words)


def test_the_word_as_written_is_meant_where_two_differ_by_case():
    vocabulary = Vocabulary(("A", "a", "Cat", "cat", "Dog", "CRÊPE"))
    assert [vocabulary.number(w) for w in ("a", "A", "Cat", "cat")] == [2, 1, 3, 4]
    assert [vocabulary.number(w) for w in ("dog", "crêpe", "cre\u0302pe")] == [5, 6, 6]
    assert write_target(parse_target("a cat", vocabulary, 6), vocabulary) == "a cat"


MARKS = ("UNK", "<UNK>", "<unk>", "[UNK]", "<S>", "<pad>", "<unused-11519>")


@pytest.mark.parametrize("mark", MARKS)
def test_marks_are_no_words(mark):
    vocabulary = Vocabulary(("a", mark, "cat"))
    assert vocabulary.suppressed == (2,)
    assert mark not in vocabulary and mark.lower() not in vocabulary
    for read in (
        lambda: parse_target(f"a {mark} cat", vocabulary, 6),
        lambda: parse_keywords(mark, vocabulary),
        lambda: vocabulary.encode("a unk cat"),
    ):
        with pytest.raises(UnknownWordError, match=r"which no caption contains|unknown word"):
            read()
    assert vocabulary.decode([1, 2, 3]) == f"a {mark} cat"
    assert Vocabulary(vocabulary.words, says_unknown=True).suppressed == ()


def test_an_ordinary_word_is_no_mark():
    assert Vocabulary(("unk", "<", "a>b", "unknown", "[a]", ".")).suppressed == ()


def test_rare_words_become_the_mark_where_there_is_one():
    assert build_vocabulary(["a cat", "a dog", "a cat"], 1).encode_known("a Dog, a CAT") == [
        1,
        3,
        1,
        2,
    ]
    assert Vocabulary(("a", "<UNK>")).encode_known("a dog") == [1, 2]
    with pytest.raises(UnknownWordError, match="'dog'"):
        Vocabulary(("a",)).encode_known("a dog")


def test_an_unknown_word_is_answered_with_what_the_victim_knows():
    vocabulary = Vocabulary(("a", "giraffe", "UNK"))
    with pytest.raises(UnknownWordError, match="did you mean 'giraffe'"):
        vocabulary.number("girafe")
    with pytest.raises(UnknownWordError, match=r"knows 2 words, such as 'a', 'giraffe'$"):
        vocabulary.number("xyz\x1b[2J" * 50)
