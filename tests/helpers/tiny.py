"""A captioner small enough to enumerate: a hand-written recurrent net, no Flax."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.captioner import Captioner
from jaxadv.vocabulary import Vocabulary

WORDS = ("a", "cat", "dog", "sits", "here")
SIDE = 4


def tiny_captioner(words=4, max_length=4, units=6):
    """A captioner over `words` words; its parameters are `tiny_parameters(words, units)`."""

    def encode(params, image):
        return jnp.tanh(params["see"] @ (image.reshape(-1) - 0.5))

    def begin(params, features):
        return advance(params, features, jnp.zeros(units, features.dtype), jnp.asarray(0))

    def advance(params, features, state, token):
        x = params["embed"][token] + params["look"] @ features
        return jnp.tanh(params["keep"] @ state + x)

    def logits(params, state):
        return params["say"] @ state

    vocabulary = Vocabulary(WORDS[:words])
    return Captioner(encode, begin, advance, logits, vocabulary, max_length, (SIDE, SIDE, 3))


def tiny_parameters(words=4, units=6, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)

    def draw(*shape, scale):
        return jnp.asarray(rng.normal(0, scale, shape), dtype)

    return {
        "see": draw(units, SIDE * SIDE * 3, scale=0.5),
        "look": draw(units, units, scale=0.8),
        "embed": draw(words + 1, units, scale=1.0),
        "keep": draw(units, units, scale=0.6),
        "say": draw(words + 1, units, scale=1.5),
    }


def tiny_image(seed=0, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(SIDE, SIDE, 3)), dtype)


def batch_of(make, count):
    return jnp.stack([make(seed) for seed in range(count)])


def all_captions(victim, places):
    """Every sequence of `places` words (no end token), as rows."""
    words = victim.vocabulary.size - 1
    grid = np.meshgrid(*[np.arange(1, words + 1)] * places, indexing="ij")
    return np.stack([g.ravel() for g in grid], axis=1)


def log_p_of_words(victim, params, image, captions):
    """ln P of the words of each row (no end token), the literal product of eq. 1, in numpy."""
    features = victim.encode(params, image)
    totals = []
    for caption in captions:
        state = victim.begin(params, features)
        total = 0.0
        for word in caption:
            total += float(jax.nn.log_softmax(victim.logits(params, state))[word])
            state = victim.advance(params, features, state, jnp.asarray(word))
        totals.append(total)
    return np.array(totals)
