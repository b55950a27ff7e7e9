"""What an attack on a hasher needs to know: the codes of a database, and what is attacked."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.data.pairs import Pairs, as_examples
from jaxadv.hashing.cmla import Known, Modality
from jaxadv.hashing.hasher import CrossModalHasher, Params

CONTEXT = 10_000
"""The most pairs that an attack looks at: as many as the paper's victims are trained on."""


class Codes(NamedTuple):
    """What a hasher makes of pairs, before the sign: f32[n, K] each."""

    image: np.ndarray
    text: np.ndarray


def encode(victim: CrossModalHasher, params: Params, pairs: Pairs, batch: int = 200) -> Codes:
    """Hash pairs of both modalities."""
    image_code = jax.jit(jax.vmap(victim.image_code, in_axes=(None, 0)))
    text_code = jax.jit(jax.vmap(victim.text_code, in_axes=(None, 0)))
    total, images, texts = len(pairs.ids), [], []
    for rows in _batches(total, batch):
        images.append(np.asarray(image_code(params, examples_of(pairs, "image", rows))))
        texts.append(np.asarray(text_code(params, examples_of(pairs, "text", rows))))
    return Codes(np.concatenate(images)[:total], np.concatenate(texts)[:total])


def examples_of(pairs: Pairs, modality: Modality, rows: np.ndarray) -> np.ndarray:
    """Return the pictures or the texts of some pairs as they are attacked, in [0, 1]."""
    if modality == "text":
        return pairs.texts[rows]
    return np.asarray(as_examples(pairs.pictures[rows]))


def known(params: Params, codes: Codes, most: int = CONTEXT) -> Known:
    """Give an attack the codes of the first pairs of a database as its context.

    Args:
      params: the victim's.
      codes: of the database.
      most: the number of pairs.
    """
    return Known(params, *(jnp.asarray(some[:most]) for some in codes))


def _batches(total: int, batch: int) -> Iterator[np.ndarray]:
    """Rows in batches of one size; the last one is filled up with the last row."""
    for start in range(0, total, batch):
        yield np.minimum(np.arange(start, start + batch), total - 1)
