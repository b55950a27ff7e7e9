"""A pair of hash functions small enough to differentiate by hand, and a context of codes."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers.tiny import SIDE, tiny_image

from jaxadv.hashing.cmla import HashTarget, Known, hash_target
from jaxadv.hashing.hasher import CrossModalHasher

BITS, WORDS, LABELS, ITEMS = 6, 10, 5, 12


def _image_code(params, image):
    return jnp.tanh(params["hash"] @ jnp.tanh(params["see"] @ (image.reshape(-1) - 0.5)))


def _text_code(params, bag):
    return params["say"] @ jnp.tanh(params["read"] @ bag)


HASHER = CrossModalHasher(
    _image_code,
    _text_code,
    BITS,
    (SIDE, SIDE, 3),
    tuple(f"word{i}" for i in range(WORDS)),
    tuple(f"label {i}" for i in range(LABELS)),
)
CODE_OF = {"image": HASHER.image_code, "text": HASHER.text_code}


def hasher_parameters(seed=0, units=7, dtype=np.float64):
    rng = np.random.default_rng(seed)

    def draw(*shape, scale):
        return jnp.asarray(rng.normal(0, scale, shape), dtype)

    return {
        "see": draw(units, SIDE * SIDE * 3, scale=0.4),
        "hash": draw(BITS, units, scale=0.8),
        "read": draw(units, WORDS, scale=0.8),
        "say": draw(BITS, units, scale=0.7),
    }


def known(seed=0, items=ITEMS, dtype=np.float64):
    """A victim and what it makes of some pictures and texts, hashed for this test."""
    rng = np.random.default_rng([seed, 1])
    codes = rng.normal(0, 1, (2, items, BITS))
    return Known(hasher_parameters(seed, dtype=dtype), *jnp.asarray(codes, dtype))


def context_labels(seed=0, items=ITEMS):
    return jnp.asarray(np.random.default_rng([seed, 2]).random((items, LABELS)) < 0.35)


def example(modality, seed=0, dtype=np.float64):
    """A picture, or a bag of words with 0 and 1 among its weights."""
    if modality == "image":
        return tiny_image(seed, dtype)
    bag = np.random.default_rng([seed, 3]).random(WORDS)
    return jnp.asarray(np.where(bag < 0.4, 0, np.where(bag > 0.8, 1, bag)), dtype)


def target(seed=0, items=ITEMS, toward=None):
    """An example's labels, at least one, against the context's."""
    rng = np.random.default_rng([seed, 4])
    labels = jnp.asarray(rng.random(LABELS) < 0.3).at[seed % LABELS].set(True)
    return hash_target(labels, context_labels(0, items), toward)


def stack(targets) -> HashTarget:
    return jax.tree.map(lambda *x: jnp.stack(x), *targets)
