"""The targets that the exact-caption paper draws (section 5.1), and what is counted of them."""

import jax
import numpy as np
import pytest
from helpers.subword_kinds import CAPTIONS as SUBWORD_CAPTIONS
from helpers.subword_kinds import byte_level, metaspace, word_piece

from jaxadv.captions.methods import METHODS
from jaxadv.captions.sensible import repeats_phrase
from jaxadv.captions.target import TargetError, parse_target, write_target
from jaxadv.core.method import choose
from jaxadv.experiments.captions import TABLE_1, choose_targets, distinct_targets, requests_for
from jaxadv.subwords import SubwordVocabulary
from jaxadv.vocabulary import Vocabulary

LENGTH = 12
WORDS = Vocabulary(tuple("abcdefghi"))
CAPTIONS = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 3, 5, 7, 9, 2, 4, 6],
    [1, 4],
    [],
    [1, 2, 2, 2, 2],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [2, 9, 8, 7, 6],
]


EVERY = range(len(CAPTIONS))


def drawn(per_image=3, attacked=EVERY, seed=0):
    return choose_targets(CAPTIONS, TABLE_1, per_image, attacked, LENGTH, WORDS, seed)


@pytest.mark.parametrize("seed", range(2))
def test_the_first_word_stays_observed_in_every_setting(seed):
    of = {setting.name: setting for setting in TABLE_1}
    requests = drawn(seed=seed)
    assert {request.setting for request in requests} == set(of)
    for request in requests:
        target, setting = request.target, of[request.setting]
        words, observed = int(target.length), np.asarray(target.observed)
        latent = np.asarray(target.latent)
        assert observed[0] and not latent[0]
        if setting.observed is None:
            assert latent[:words].sum() == setting.latent and observed[words]
        else:
            places = np.flatnonzero(observed)
            assert len(places) == 1 + setting.observed
            assert all(1 <= place <= 6 for place in places[1:])


def test_no_target_is_the_benign_caption_empty_or_a_repeated_phrase():
    for request in (r for r in drawn(per_image=5, attacked=[0, 2]) if r.setting == "0 latent"):
        tokens = [int(t) for t in request.target.tokens if t]
        assert tokens in CAPTIONS and tokens != CAPTIONS[request.image]
        assert tokens and not repeats_phrase(tokens)


def test_a_picture_has_the_same_targets_whatever_others_are_attacked():
    alone = drawn(attacked=[2])
    among = [request for request in drawn() if request.image == 2]
    assert len(alone) == len(among)
    for one, other in zip(alone, among, strict=True):
        assert one.setting == other.setting
        jax.tree.map(np.testing.assert_array_equal, one.target, other.target)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("gem", [setting.name for setting in TABLE_1]),
        ("show-and-fool", ["0 latent"]),
        ("untargeted", ["untargeted"]),
    ],
)
def test_a_method_is_asked_for_what_it_can_aim_at(name, names):
    method = choose(METHODS, name)
    found = requests_for(method, CAPTIONS, TABLE_1, 1, EVERY, LENGTH, WORDS)
    assert {request.setting for request in found} == set(names)
    if name == "untargeted":
        assert [request.image for request in found] == [0, 1, 2, 4, 5, 6]  # the fourth has none
        assert [int(t) for t in found[1].target.tokens if t] == CAPTIONS[1]


def test_a_method_that_can_aim_at_nothing_is_refused():
    for method, settings in (
        (choose(METHODS, "show-and-fool", aim="keywords"), TABLE_1),
        (choose(METHODS, "show-and-fool"), TABLE_1[1:]),
    ):
        with pytest.raises(
            TargetError, match=r"keywords, which are not drawn|complete captions: set 0"
        ):
            requests_for(method, CAPTIONS, settings, 1, EVERY, LENGTH, WORDS)


def test_distinct_targets_are_counted():
    complete = [r for r in drawn(per_image=1) if r.setting == "0 latent"]
    assert distinct_targets(complete + complete) == distinct_targets(complete) <= len(complete)
    assert distinct_targets(complete) == len({tuple(np.asarray(r.target.tokens)) for r in complete})


@pytest.mark.parametrize("kind", [byte_level, metaspace, word_piece])
def test_of_sub_words_a_gap_stands_for_a_whole_word(kind):
    vocabulary = SubwordVocabulary(*kind(), rows=340)
    said = [vocabulary.encode(caption) for caption in dict.fromkeys(SUBWORD_CAPTIONS)]
    several = [c for c in said if len(c) > len(vocabulary.decode(c).split())]
    assert several, "every word of these captions is one token"
    requests = choose_targets(said, TABLE_1, 3, range(len(said)), 40, vocabulary)
    assert {r.setting for r in requests} >= {"0 latent", "1 latent", "2 latent", "1 obser"}
    for request in requests:
        written = write_target(request.target, vocabulary)
        again = parse_target(written, vocabulary, 40)
        assert (again.tokens == request.target.tokens).all(), written
        assert (again.observed == request.target.observed).all(), written


def test_of_sub_words_phrases_are_counted_in_words():
    """`a` and a colour of several tokens twice are no repeated phrase of four words."""
    vocabulary = SubwordVocabulary(*byte_level(), rows=340)
    tokens = vocabulary.encode("a purple dog and a purple cat")
    assert repeats_phrase(tokens) and len(tokens) > 10
    other = vocabulary.encode("a man")
    assert choose_targets([other, tokens], TABLE_1[:1], 1, [0], 40, vocabulary)
