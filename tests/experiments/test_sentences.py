"""Sentences as targets: which are chosen, what cannot be said, and how likely they are."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import log_p_of_words, tiny_captioner, tiny_image, tiny_parameters

from jaxadv.captions.target import make_target, write_target
from jaxadv.errors import InputError
from jaxadv.experiments.sentences import (
    CAPTIONS,
    GIVEN,
    PAPER,
    Sentence,
    choose_sentences,
    forms_of,
    log_probabilities_of,
    target_sentences,
)
from jaxadv.vocabulary import Vocabulary, tokenize

CAPTIONS_SAID = [
    "a red circle is above a star",
    "a star is in the middle",
    "a star is below a ring",
    "a star and a ring",
    "there is a ring to the left of a red star",
]
WORDS = Vocabulary(
    tuple(
        tokenize("a red circle star ring is above below in the middle to left right of and there")
    )
)


def chosen(attacked=(0, 3), per_image=2, vocabulary=WORDS, seed=0):
    return choose_sentences(CAPTIONS_SAID, attacked, per_image, vocabulary, seed)


def test_contents_of_other_pictures_in_all_their_forms():
    """Those with a passive first; never the picture's own; the paper's example beside."""
    found = chosen()
    for image in (0, 3):
        mine = [s for s in found if s.image == image and s.source == CAPTIONS]
        actives = [s.text for s in mine if s.form == "active"]
        assert len(set(actives)) == 2
        assert CAPTIONS_SAID[image] not in actives and "a star is in the middle" not in actives
        for active in actives:
            (content,) = {s.content for s in mine if s.text == active}
            assert {s.form: s.text for s in mine if s.content == content} == forms_of(active)
    papers = [s for s in found if s.source == PAPER]
    assert [(s.image, s.form) for s in papers] == [
        (0, "active"), (0, "passive"), (3, "active"), (3, "attributive"),
    ]  # fmt: skip


def test_the_choice_of_a_picture_is_its_own():
    assert [s for s in chosen(attacked=(0, 1, 2, 3)) if s.image == 3] == [
        s for s in chosen(attacked=(3,)) if s.image == 3
    ]
    everything = chosen(per_image=9)
    assert chosen(per_image=9, seed=1) != everything
    assert {s.text for s in everything if s.image == 3 and s.form == "active"} >= {
        "a red circle is above a star", "a star is in the middle", "a star is below a ring",
        "a ring is to the left of a red star",
    }  # fmt: skip


def test_given_contents_in_turn():
    given = ["a star is above a ring", "a circle is in the middle"]
    found = choose_sentences(CAPTIONS_SAID, (0, 1, 2), 1, WORDS, given=given)
    mine = {
        image: {s.form: s.text for s in found if (s.image, s.source) == (image, GIVEN)}
        for image in range(3)
    }
    assert mine == {image: forms_of(given[image % 2]) for image in range(3)}
    with pytest.raises(InputError, match="content 'a ring': must be a clause"):
        choose_sentences(CAPTIONS_SAID, (0,), 1, WORDS, given=["a ring"])


@pytest.mark.parametrize(("extra", "pronoun"), [((), "that"), (("which",), "which")])
def test_a_pronoun_that_the_victim_knows(extra, pronoun):
    known = Vocabulary(WORDS.words + extra)
    texts = [s.text for s in chosen(vocabulary=known) if s.form == "attributive"]
    assert all(f" {pronoun} is " in text for text in texts[:2])


def test_unknown_words_are_counted_and_the_rest_is_aimed_at():
    """Without `that` no attributive clause; without an active form nothing of a content."""
    found = target_sentences(chosen(), WORDS, max_length=14)
    said = {s.form for s in found.sentences}
    assert said == {"active", "passive", "reduced"}
    texts = [write_target(target, WORDS) for target in found.targets]
    assert texts == [s.text for s in found.sentences]
    lacking = {(u.sentence.source, u.sentence.form): set(u.missing) for u in found.unsayable}
    assert lacking[CAPTIONS, "attributive"] == {"that"}
    assert "frisbee" in lacking[PAPER, "passive"] and "toilet" in lacking[PAPER, "active"]
    assert len(found.sentences) + len(found.unsayable) == len(chosen())


def test_too_long_is_unsayable():
    sentences = [
        Sentence(0, 0, CAPTIONS, "active", "a star is above a ring"),
        Sentence(0, 0, CAPTIONS, "passive", "a red ring is below a red star"),
    ]
    found = target_sentences(sentences, WORDS, max_length=6)
    assert [s.form for s in found.sentences] == ["active"]
    assert found.unsayable == [(sentences[1], ())]


def test_log_probabilities_are_equation_1(float64):
    """Against the literal product, whatever the batch; each on its own picture."""
    victim, params = tiny_captioner(), tiny_parameters()
    images = [tiny_image(seed) for seed in range(3)]
    captions = [[1, 2], [4, 3, 1], [2, 2, 2, 2], [1]]
    which = [2, 0, 1, 2]
    targets = [make_target(caption, 4) for caption in captions]
    expected = [
        log_p_of_words(victim, params, images[i], np.array([caption + [0] * (len(caption) < 4)]))[0]
        for i, caption in zip(which, captions, strict=True)
    ]
    for batch in (1, 3, 50):
        found = log_probabilities_of(victim, params, images, which, targets, batch)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert len(log_probabilities_of(victim, params, images, [], [])) == 0
    assert jnp.asarray(found).dtype == jnp.float64
