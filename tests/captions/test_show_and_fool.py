"""Show-and-Fool's losses against plain loops over places and words."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.captions import criteria
from jaxadv.captions.show_and_fool import (
    Keywords,
    caption_logits,
    caption_margin,
    keyword_logits,
    keyword_margin,
    untargeted_caption_margin,
    untargeted_keyword_margin,
)
from jaxadv.captions.target import make_target

PLACES, WORDS = 5, 6
KEYWORDS = Keywords(jnp.array([2, 4, 0, 0]))


@pytest.fixture(params=range(4))
def logits(request):
    return np.random.default_rng(request.param).normal(0, 2, (PLACES, WORDS)).astype(np.float32)


def gap(logits, t, word):
    return max(z for k, z in enumerate(logits[t]) if k != word) - logits[t, word]


@pytest.mark.parametrize("margin", [0.0, 1.0, 10_000.0])
@pytest.mark.parametrize("latent", [set(), {1}])
def test_caption_losses(logits, margin, latent):
    scores = jnp.asarray(logits)
    target = make_target([3, 1, 5], PLACES, latent)
    seen = [(t, w) for t, w in enumerate([3, 1, 5, 0]) if t not in latent]
    wanted = sum(max(-margin, gap(logits, t, w)) for t, w in seen)
    assert caption_margin(scores, target, margin) == pytest.approx(wanted, rel=1e-5)
    wanted = sum(max(-margin, -gap(logits, t, w)) for t, w in seen)
    got = untargeted_caption_margin(scores, target, margin)
    assert got == pytest.approx(wanted, rel=1e-5)
    wanted = -sum(logits[t, w] for t, w in seen)
    assert caption_logits(scores, target) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("said", [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_keyword_losses(logits, said, margin):
    places = [t for t in range(PLACES) if said[t]]
    top = logits.argmax(axis=1)
    keywords = [2, 4]

    def gated(t, word):
        other_leads = top[t] in keywords and top[t] != word
        return 10_000.0 if other_leads else max(-margin, gap(logits, t, word))

    scores, mask = jnp.asarray(logits), jnp.array(said, bool)
    wanted = sum(min(gated(t, w) for t in places) for w in keywords)
    assert keyword_margin(scores, mask, KEYWORDS, margin) == pytest.approx(wanted, rel=1e-5)
    wanted = sum(max(max(-margin, -gap(logits, t, w)) for t in places) for w in keywords)
    got = untargeted_keyword_margin(scores, mask, KEYWORDS, margin)
    assert got == pytest.approx(wanted, rel=1e-5)
    wanted = -sum(max(logits[t, w] for t in places) for w in keywords)
    assert keyword_logits(scores, mask, KEYWORDS) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("criterion", "target", "said", "holds"),
    [
        (criteria.says_target, make_target([3, 1], 4, {1}), [3, 5, 0, 0], True),
        (criteria.says_target, make_target([3, 1], 4, {1}), [3, 5, 1, 0], False),
        (criteria.leaves_caption, make_target([3, 1], 4), [3, 1, 0, 0], False),
        (criteria.leaves_caption, make_target([3, 1], 4), [3, 1, 1, 0], True),
        (criteria.says_keywords, KEYWORDS, [4, 1, 2, 0], True),
        (criteria.says_keywords, KEYWORDS, [4, 1, 1, 0], False),
        (criteria.avoids_keywords, KEYWORDS, [1, 1, 1, 0], True),
        (criteria.avoids_keywords, KEYWORDS, [1, 4, 1, 0], False),
    ],
)
def test_criteria(criterion, target, said, holds):
    assert bool(criterion(target, jnp.array(said))) is holds
