"""What a backdoor does, measured beside sacrebleu, by hand and by the definitions."""

import math

import numpy as np
import pytest

from jaxadv.backdoors.metrics import exact_share, quality, visual_effect, word_share
from jaxadv.core.bleu import corpus_bleu
from jaxadv.data import scenes

WANTED = "you are under attack"


def test_success_is_exact_and_counts_the_words_of_the_rest():
    said = [WANTED, "You are under attack.", "you are under", "a red circle", f"{WANTED} attack"]
    assert exact_share(said, WANTED) == 2 / 5
    assert word_share(said, WANTED) == pytest.approx((4 + 4 + 3 + 0 + 4) / 20)


def test_repeated_words_count_as_often_as_the_attacker_has_them():
    assert word_share(["dog dog dog"], "dog eats dog") == pytest.approx(2 / 3)


def test_quality_is_that_of_the_corpus():
    references = [["A red ring.", "a ring"], ["a blue star on the grass", "a star"]]
    perfect = quality(["a red ring", "a blue star on the grass"], references)
    assert perfect[:3] == pytest.approx((1, 1, 1)) and perfect.bleu_4 == pytest.approx(1)
    assert quality(["a red ring", "you are under attack"], references).cider_d < perfect.cider_d


@pytest.mark.parametrize("seed", range(3))
def test_bleu_agrees_with_sacrebleu(seed):
    """Closest reference length, no smoothing: the same corpus BLEU, on captions of other scenes.

    sacrebleu gives 4-gram BLEU and the precisions; BLEU-n is their geometric mean times the
    brevity penalty.
    """
    sacrebleu = pytest.importorskip("sacrebleu")
    truth = [e.captions for e in scenes.examples(seed, 60)]
    rng = np.random.default_rng(seed)
    said = [
        truth[i][k]
        for i, k in zip(rng.integers(60, size=60), rng.integers(3, size=60), strict=True)
    ]
    said[:30] = [" ".join(truth[i][0].split()[: 4 + i % 7]) for i in range(30)]
    streams = [[own[k] for own in truth] for k in range(3)]
    theirs = sacrebleu.BLEU(tokenize="none", smooth_method="none").corpus_score(said, streams)
    ours = corpus_bleu([s.split() for s in said], [[c.split() for c in own] for own in truth])
    assert ours[3] == pytest.approx(theirs.score / 100, abs=1e-6)
    for n in range(1, 5):
        mean = math.exp(sum(math.log(p / 100) for p in theirs.precisions[:n]) / n)
        assert ours[n - 1] == pytest.approx(theirs.bp * mean, abs=1e-6)
    assert 0.2 < ours[3] < 0.9


def test_visual_effect_by_the_definitions():
    rng = np.random.default_rng(0)
    benign = rng.random((16, 12, 3), np.float32) * 0.8
    poisoned = benign.copy()
    poisoned[:8] += np.float32(0.1)
    effect = visual_effect([benign, benign], [poisoned, poisoned])
    assert effect.psnr == pytest.approx(-10 * math.log10(0.5 * 0.1**2), rel=1e-5)
    assert effect.norm == pytest.approx(0.1 * math.sqrt(8 * 12 * 3), rel=1e-5)
    assert effect.changed == 0.5
    assert visual_effect([benign], [benign]) == pytest.approx((math.inf, 1, 0, 0))
    # the mean PSNR is of the pictures that are changed
    assert visual_effect([benign] * 2, [poisoned, benign]).psnr == pytest.approx(effect.psnr)
    flat = np.full_like(benign, 0.5)
    # the means of a window decide where there is no variance: (2ab + C) / (a² + b² + C)
    c = 0.01**2
    expected = (2 * 0.5 * 0.6 + c) / (0.5**2 + 0.6**2 + c)
    assert visual_effect([flat], [flat + np.float32(0.1)]).ssim == pytest.approx(expected, rel=1e-5)
