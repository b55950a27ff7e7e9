"""Adversarial pairs for adversarial training (CMLA, Li et al. 2019, section 4.3).

Pairs of a training set are attacked, and the results are added to the set: an attacked picture with
its original text and labels, and an attacked text with its original picture and labels. Each new
row comes from one row, so picture, text and labels always match. (The released code reads the
pictures back from JPEG files in the order of a folder's listing, but texts and labels in the order
of the training set.)
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.core.attack import Attack
from jaxadv.core.run import run
from jaxadv.data.pairs import Pairs, PairsError, as_examples
from jaxadv.hashing.cmla import HashTarget, Known, Modality, cmla, hash_target
from jaxadv.hashing.hasher import CrossModalHasher

MODALITIES: tuple[Modality, Modality] = ("image", "text")


def adversarial_pairs(
    victim: CrossModalHasher,
    known: Known,
    pairs: Pairs,
    count: int,
    *,
    iterations: int = 100,
    batch: int = 50,
    seed: int = 0,
) -> Iterator[Pairs]:
    """Attack the pictures, and then the texts, of some pairs with the paper's settings.

    Args:
      victim: the hasher that is attacked.
      known: its parameters, and its codes of all pairs.
      pairs: the training set.
      count: number of pairs that are attacked, drawn at random.
      iterations: number of steps of each attack.
      batch: number of attacks that run at once.
      seed: random seed for the draw.

    Yields:
      Batches of adversarial pairs, `2 * count` pairs in total.

    Raises:
      PairsError: `count` is less than 1 or more than the number of pairs.
    """
    total = len(pairs.ids)
    if not 0 < count <= total:
        raise PairsError(
            f"{count} adversarial pairs: must be between 1 and {total}, the number of pairs"
        )
    drawn = np.random.default_rng(seed).permutation(total)[:count]
    for modality in MODALITIES:
        attack = cmla(victim, modality)
        for first in range(0, count, batch):
            yield _attacked(
                attack, modality, known, pairs, drawn[first : first + batch], iterations
            )


def _attacked(
    attack: Attack,
    modality: Modality,
    known: Known,
    pairs: Pairs,
    rows: np.ndarray,
    iterations: int,
) -> Pairs:
    """Attack one modality of some rows and return the adversarial pairs."""
    targets = _targets(jnp.asarray(pairs.labels[rows]), jnp.asarray(pairs.labels))
    pictures, texts = pairs.pictures[rows], pairs.texts[rows]
    examples = jnp.asarray(as_examples(pictures) if modality == "image" else texts)
    result = run(attack, known, examples, targets, iterations=iterations, ids=jnp.asarray(rows))
    changed = np.asarray(result.final.image)
    return Pairs(
        np.round(255 * changed).astype(np.uint8) if modality == "image" else pictures,
        changed if modality == "text" else texts,
        pairs.labels[rows],
        tuple(f"{pairs.ids[row]}-adversarial-{modality}" for row in rows),
        pairs.classes,
    )


@jax.jit
def _targets(labels: Array, context: Array) -> HashTarget:
    targets: HashTarget = jax.vmap(partial(hash_target, context=context))(labels)
    return targets
