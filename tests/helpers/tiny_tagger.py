"""A tagger small enough to differentiate by hand: `sigmoid(out tanh(see (x - 0.5)) + bias)`."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers.tiny import SIDE

from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.target import LabelTarget, specify_random

LABELS = 9
CLASSES = tuple(f"label {i}" for i in range(LABELS))


def _logits(params, image):
    hidden = jnp.tanh(params["see"] @ (image.reshape(-1) - 0.5))
    return params["out"] @ hidden + params["bias"]


TAGGER = MultiLabelClassifier(_logits, CLASSES, (SIDE, SIDE, 3))


def tagger_parameters(seed=0, units=7, dtype=np.float64):
    rng = np.random.default_rng(seed)

    def draw(*shape, scale):
        return jnp.asarray(rng.normal(0, scale, shape), dtype)

    return {
        "see": draw(units, SIDE * SIDE * 3, scale=0.3),
        "out": draw(LABELS, units, scale=0.8),
        "bias": draw(LABELS, scale=0.3),
    }


def label_target(params, image, seed=0, k=None, number=None):
    """The target of a picture: Y the best labels, S some of them; different ones for each seed."""
    k = 1 + seed % 3 if k is None else k
    number = 1 + seed % 2 if number is None else number
    scores = TAGGER.scores(params, image)
    order = jnp.argsort(-scores)
    relevant = jnp.zeros(LABELS, bool).at[order[: k + number]].set(True)
    specified = specify_random(relevant, number, jax.random.key(seed))
    return LabelTarget(relevant, specified, jnp.asarray(k, jnp.int32))
