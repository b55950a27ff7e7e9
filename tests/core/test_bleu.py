import math

import pytest

from jaxadv.core.bleu import corpus_bleu

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
# pycocoevalcap 1.2: bleu.bleu_scorer.BleuScorer(n=4), `scorer += (candidate, references)` for each
# image, then scorer.compute_score(option="closest")[0]; below also for each image as a corpus.
COCO_BLEU = [0.644878179473, 0.576796578602, 0.499824996284, 0.421548796732]
COCO_BLEU_ONE_IMAGE = [
    [0.999999999714, 0.999999999702, 0.999999999687, 0.999999999667],
    [0.874999999891, 0.866025403668, 0.793700525869, 0.668740304039],
    [0.777777777691, 0.623609564389, 0.480749856708, 6.559965570e-05],
    [0.367879440436, 3.678794406e-04, 3.678794407e-05, 1.163336937e-05],
    [0.090717953253, 0.064147279919, 4.992401363e-07, 1.541338164e-09],
]

WORDS = [[caption.split() for caption in captions] for captions in REFERENCES]


def test_same_as_pycocoevalcap():
    bleu = corpus_bleu([candidate.split() for candidate in CANDIDATES], WORDS)
    assert bleu == pytest.approx(COCO_BLEU, abs=1e-6)


@pytest.mark.parametrize("i", range(len(CANDIDATES)))
def test_same_as_pycocoevalcap_on_one_image(i):
    bleu = corpus_bleu([CANDIDATES[i].split()], [WORDS[i]])
    assert bleu == pytest.approx(COCO_BLEU_ONE_IMAGE[i], abs=1e-6)


def test_a_reference_itself_has_bleu_one():
    assert corpus_bleu([(1, 2, 3, 4)], [[(9, 9), (1, 2, 3, 4)]]) == pytest.approx((1, 1, 1, 1))


def test_clipping_by_hand():
    """Papineni et al., example 2: seven times "the" has precision 2/7."""
    references = ["the cat is on the mat", "there is a cat on the mat"]
    bleu = corpus_bleu([["the"] * 7], [[caption.split() for caption in references]])
    assert bleu[0] == pytest.approx(2 / 7)
    assert bleu[1] == pytest.approx(0, abs=1e-6)


def test_brevity_penalty_by_hand():
    """Two of the right words against three: precisions 1 and 1, penalty exp(1 - 3/2)."""
    bleu = corpus_bleu([("a", "b")], [[("a", "b", "c")]])
    assert bleu[:2] == pytest.approx((math.exp(-0.5), math.exp(-0.5)))


def test_of_two_equally_close_references_the_shorter_sets_the_length():
    bleu = corpus_bleu([("a", "b")], [[("a", "b", "c"), ("a",)]])
    assert bleu[0] == pytest.approx(1)


def test_counts_are_of_the_whole_corpus():
    """1 of 1 and 0 of 3 words right: 1/4, not the mean 1/2."""
    bleu = corpus_bleu([("a",), ("x", "y", "z")], [[("a",)], [("a", "b", "c")]])
    assert bleu[0] == pytest.approx(1 / 4)


def test_empty_captions_score_zero():
    assert corpus_bleu([()], [[("a", "b")]]) == (0, 0, 0, 0)
    assert corpus_bleu([()], [[()]]) == (0, 0, 0, 0)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="2 candidates, 1 images"):
        corpus_bleu([("a",), ("b",)], [[("a",)]])
    with pytest.raises(ValueError, match="0 candidates"):
        corpus_bleu([], [])
    with pytest.raises(ValueError, match="at least one reference"):
        corpus_bleu([("a",)], [[]])
    with pytest.raises(TypeError, match="split it"):
        corpus_bleu(["a cat"], [[("a", "cat")]])
    with pytest.raises(TypeError, match="split it"):
        corpus_bleu([("a", "cat")], [["a cat"]])
