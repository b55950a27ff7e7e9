import math
import time

import numpy as np
import pytest

from jaxadv.core.cider import cider_d, document_frequencies, prepare

REFERENCES = [
    ["a red circle above a blue square", "the circle is above the square", "red circle on top"],
    ["two dogs play in the snow", "dogs dogs dogs in snow"],
    ["a man rides a horse on the beach", "a man on a horse", "horse and rider at the sea shore"],
    ["a cat"],
    ["a plate of food with a fork and a knife on a wooden table near a window"],
]
CANDIDATES = [
    "a red circle above a blue square",
    "dogs dogs dogs dogs play in the snow",
    "a man rides on the beach with a dog",
    "cat",
    "a plate on a table",
]
# pycocoevalcap 1.2: cider.cider_scorer.CiderScorer(n=4, sigma=6.0), one `scorer += (candidate,
# references)` for each image, then scorer.compute_score()[1].
COCO_SCORES = [4.398858024652, 3.877534495497, 1.635898566625, 2.442156785226, 0.221967530159]

WORDS = [[caption.split() for caption in captions] for captions in REFERENCES]
STATISTICS = document_frequencies(WORDS)


@pytest.mark.parametrize("i", range(len(CANDIDATES)))
def test_same_as_pycocoevalcap(i):
    score = cider_d(CANDIDATES[i].split(), WORDS[i], STATISTICS)
    assert score == pytest.approx(COCO_SCORES[i], abs=1e-6)


def test_prepared_references_score_the_same():
    for candidate, captions in zip(CANDIDATES, WORDS, strict=True):
        direct = cider_d(candidate.split(), captions, STATISTICS)
        assert cider_d(candidate.split(), prepare(captions, STATISTICS), STATISTICS) == direct


def test_integer_tokens_score_like_words():
    numbers = {word: i for i, word in enumerate(sorted({w for c in WORDS for r in c for w in r}))}
    as_numbers = [[[numbers[word] for word in r] for r in captions] for captions in WORDS]
    statistics = document_frequencies(as_numbers)
    candidate = WORDS[2][0]
    expected = cider_d(candidate, WORDS[2], STATISTICS)
    score = cider_d(tuple(numbers[word] for word in candidate), as_numbers[2], statistics)
    assert score == pytest.approx(expected, rel=1e-12)


def test_frequencies_count_images_not_captions():
    assert STATISTICS.images == 5
    assert STATISTICS.frequencies["dogs",] == 1
    assert STATISTICS.frequencies["a",] == 4
    assert STATISTICS.frequencies["a", "man"] == 1


def test_the_reference_itself_scores_ten():
    """All four cosines are 1 and the lengths agree."""
    corpus = [[("a", "b", "c", "d")], [("e",)]]
    score = cider_d(("a", "b", "c", "d"), corpus[0], document_frequencies(corpus))
    assert score == pytest.approx(10)


def test_by_hand():
    """Two images, so that every weight is count * log 2, or 0 for "x", which both have.

    n = 1: (1, 1) against (1,): cosine 1/√2. n = 2: (ab) against (xa): 0. Lengths are equal (the
    word x has weight 0 but counts), so there is no penalty; n = 3, 4: nothing.
    """
    corpus = [[("x", "a")], [("x",)]]
    score = cider_d(("a", "b"), corpus[0], document_frequencies(corpus))
    assert score == pytest.approx(10 / 4 / math.sqrt(2))


def test_repetition_is_clipped_and_length_is_penalised():
    """ "a a a" against "a": min(3, 1) * 1 / (3 * 1) = 1/3, two words longer: exp(-4 / 72)."""
    corpus = [[("a",)], [("b",)]]
    score = cider_d(("a", "a", "a"), corpus[0], document_frequencies(corpus))
    assert score == pytest.approx(10 / 4 / 3 * math.exp(-4 / 72))


def test_nothing_in_common_and_nothing_said_score_zero():
    assert cider_d(("zebra", "crossing"), WORDS[0], STATISTICS) == 0
    assert cider_d((), WORDS[0], STATISTICS) == 0


def test_a_corpus_of_one_image_scores_zero():
    assert cider_d(("a", "cat"), [("a", "cat")], document_frequencies([[("a", "cat")]])) == 0


def test_text_that_was_not_split_is_refused():
    with pytest.raises(TypeError, match="split it"):
        cider_d("a cat", WORDS[0], STATISTICS)
    with pytest.raises(TypeError, match="split it"):
        document_frequencies(REFERENCES)


def test_missing_references_are_refused():
    with pytest.raises(ValueError, match="at least one reference"):
        cider_d(("a",), [], STATISTICS)
    for empty in ([], [[]], [[()]]):
        with pytest.raises(ValueError, match="at least one word"):
            document_frequencies(empty)


def test_fast_enough_for_self_critical_training():
    """Over a thousand 12-word captions a second against 5 references each; here it is ~10 000."""
    rng = np.random.default_rng(0)
    corpus = rng.integers(1, 200, (50, 5, 12)).tolist()
    statistics = document_frequencies(corpus)
    prepared = [prepare(captions, statistics) for captions in corpus]
    candidates = rng.integers(1, 200, (500, 12)).tolist()
    start = time.process_time()
    for i, candidate in enumerate(candidates):
        cider_d(candidate, prepared[i % 50], statistics)
    assert time.process_time() - start < 0.5
