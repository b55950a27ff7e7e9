"""A dual encoder of few tokens, of which all texts can be enumerated."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.hashing.cmla import Known, hash_target
from jaxadv.hashing.hasher import CrossModalHasher, unit

BITS, TOKENS, LENGTH, ITEMS = 5, 7, 4, 9


def text_code(params, text):
    """Places count differently, and not for themselves."""
    weights = text if text.ndim == 2 else jax.nn.one_hot(text, TOKENS)
    hidden = jnp.tanh(params["places"] * (weights @ params["embed"]))
    return unit(params["say"] @ jnp.tanh(params["mix"] @ hidden.sum(0)))


READER = CrossModalHasher(
    lambda params, image: unit(params["see"] @ image.reshape(-1)),
    text_code,
    BITS,
    (2, 2, 3),
    (),
    ("a", "b", "c"),
    lambda params: params["scale"],
)


def known(seed=0):
    rng = np.random.default_rng([seed, 10])

    def draw(*shape):
        return jnp.asarray(rng.normal(0, 1, shape), jnp.float32)

    params = {
        "embed": draw(TOKENS, 6),
        "places": 1 + 0.5 * draw(LENGTH, 1),
        "mix": draw(6, 6),
        "say": draw(BITS, 6),
        "see": draw(BITS, 12),
        "scale": jnp.float32(4),
    }
    return Known(params, unit(draw(ITEMS, BITS)), unit(draw(ITEMS, BITS)))


def text(seed=0):
    return jnp.asarray(np.random.default_rng([seed, 11]).integers(0, TOKENS, LENGTH), jnp.int32)


def target(seed=0):
    """One label of three; the context has each in turn."""
    context = jnp.eye(3, dtype=bool)[jnp.arange(ITEMS) % 3]
    return hash_target(jnp.eye(3, dtype=bool)[seed % 3], context)
