"""Many attacks on a hasher: codes of a database, and queries attacked in batches."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core.attack import Attack
from jaxadv.core.run import snapshots
from jaxadv.data.pairs import Pairs, as_examples
from jaxadv.hashing.cmla import HashTarget, Known, Modality, hash_target
from jaxadv.hashing.hasher import CrossModalHasher, Params
from jaxadv.hashing.metrics import distortion

CONTEXT = 10_000
"""The most pairs that an attack looks at: as many as the paper's victims are trained on."""


class Codes(NamedTuple):
    """What a hasher makes of pairs, before the sign: f32[n, K] each."""

    image: np.ndarray
    text: np.ndarray


class Snapshot(NamedTuple):
    """What some attacks had come to after so many steps; a leading axis of them.

    Attributes:
      examples: the adversarial pictures f32[n, H, W, 3], or texts f32[n, T].
      codes: f32[n, K], of them.
      codes_8bit: likewise, of what a user would save.
      distortion: f32[n], the paper's D.
      success, success_8bit: bool[n], whether what is found first was wanted.
    """

    examples: np.ndarray
    codes: np.ndarray
    codes_8bit: np.ndarray
    distortion: np.ndarray
    success: np.ndarray
    success_8bit: np.ndarray


class Progress(NamedTuple):
    """How many attacks are done, and what the last batch came to, for each number of steps."""

    done: int
    total: int
    message: str
    snapshots: tuple[Snapshot, ...]
    seconds: float


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
        return pairs.tags[rows]
    return np.asarray(as_examples(pairs.pictures[rows]))


def known(params: Params, codes: Codes, most: int = CONTEXT) -> Known:
    """Give an attack the codes of the first pairs of a database as its context.

    Args:
      params: the victim's.
      codes: of the database.
      most: so many pairs.
    """
    return Known(params, *(jnp.asarray(some[:most]) for some in codes))


def attack_queries(
    attack: Attack,
    what: Known,
    context: np.ndarray,
    examples: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    *,
    iterations: Sequence[int],
    batch: int,
    toward: np.ndarray | None = None,
) -> Iterator[Progress]:
    """Attack pictures or texts in batches of one size, which compile once.

    Args:
      attack: CMLA on pictures or on texts.
      what: the victim's parameters and the codes of the context.
      context: bool[N, c], labels of the context.
      examples: what is attacked, by rows of `labels`.
      labels: bool[n, c], of what is attacked.
      iterations: numbers of steps after which they are looked at, rising.
      batch: attacks at once.
      toward: bool[c], labels of what they shall find; None for the paper's attack.
    """
    total = len(labels)
    batch = min(batch, total)
    far = None if toward is None else jnp.asarray(toward)
    make = jax.jit(jax.vmap(hash_target, in_axes=(0, None, None)))
    changes = jax.jit(jax.vmap(distortion))
    for done, rows in enumerate(_batches(total, batch)):
        benign = jnp.asarray(examples(rows))
        targets: HashTarget = make(labels[rows], context, far)
        began = time.perf_counter()
        ids = jnp.asarray(rows)
        results = snapshots(attack, what, benign, targets, iterations=iterations, ids=ids)
        finals = jax.block_until_ready([result.final for result in results])
        seconds = time.perf_counter() - began
        real = min(batch, total - done * batch)
        found = tuple(
            Snapshot(
                *(
                    np.asarray(x)[:real]
                    for x in (
                        final.image,
                        final.output,
                        final.output_8bit,
                        changes(benign, final.image),
                        final.success,
                        final.success_8bit,
                    )
                )
            )
            for final in finals
        )
        message = f"{found[-1].success_8bit.mean():.0%} fooled"
        yield Progress(done * batch + real, total, message, found, seconds * real / batch)


def join(some: Sequence[Snapshot]) -> Snapshot:
    """Put snapshots of several batches together."""
    joined: Snapshot = jax.tree.map(lambda *x: np.concatenate(x), *some)
    return joined


def _batches(total: int, batch: int) -> Iterator[np.ndarray]:
    """Rows in batches of one size; the last one is filled up with the last row."""
    for start in range(0, total, batch):
        yield np.minimum(np.arange(start, start + batch), total - 1)
