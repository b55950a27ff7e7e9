"""A retriever of one's own: two matrices by hand, embeddings compared by their similarity."""

import jax.numpy as jnp
import numpy as np
from helpers.tiny import SIDE

from jaxadv.hashing.hasher import CrossModalHasher, unit

WORDS, SIZE = 10, 6
LABELS = tuple(f"label {i}" for i in range(5))

RETRIEVER = CrossModalHasher(
    image_code=lambda params, image: unit(params["see"] @ (image.reshape(-1) - 0.5)),
    text_code=lambda params, bag: unit(params["read"] @ bag),
    bits=SIZE,
    image_shape=(SIDE, SIDE, 3),
    tags=tuple(f"word{i}" for i in range(WORDS)),
    classes=LABELS,
    logit_scale=lambda params: params["scale"],
)


def retriever_parameters(seed=0, dtype=np.float32, scale=5.0):
    rng = np.random.default_rng(seed)
    return {
        "see": jnp.asarray(rng.normal(size=(SIZE, SIDE * SIDE * 3)), dtype),
        "read": jnp.asarray(rng.normal(size=(SIZE, WORDS)), dtype),
        "scale": jnp.asarray(scale, dtype),
    }
