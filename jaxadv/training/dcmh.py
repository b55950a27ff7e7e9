"""DCMH's training (Jiang and Li, CVPR 2017, "Deep Cross-Modal Hashing", section 3).

Over the codes of the whole training set (F of pictures, G of texts, a row each; the paper has them
as columns) and bits B that both share, eq. 1 is

    min  Σ_ij log(1 + e^Θ_ij) - S_ij Θ_ij  +  γ (‖B - F‖² + ‖B - G‖²)  +  η (‖Fᵀ1‖² + ‖Gᵀ1‖²)

with `Θ_ij = ½ F_iᵀ G_j`: the likelihood of S, quantisation, and balance of every bit. It is
minimised in turn over the picture network, the text network (each by mini-batches against the
remembered codes of all) and B.

The released code divides each mini-batch's objective by the number of its pairs, as here, and takes
plain gradient steps from networks that know ImageNet; Adam is what learns scenes from scratch.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data.pairs import Pairs
from jaxadv.hashing.hasher import binary_code
from jaxadv.training.captioner import Report
from jaxadv.training.hash_parts import (
    batches,
    begin,
    merge,
    mirror,
    say,
    see,
    shuffled,
    split,
    stepper,
)
from jaxadv.training.optimisers import adam
from jaxadv.training.pairwise import (
    decorrelation,
    half_products,
    negative_log_likelihood,
    quantisation,
    share_label,
)
from jaxadv.victims.nets.dcmh import DCMH

IMAGE, TEXT = ("features", "image_hash"), ("text_hidden", "text_hash")


class Weights(NamedTuple):
    """The weights of eq. 1; the paper's and the code's are 1.

    Attributes:
      quantisation: γ.
      balance: η.
      decorrelation: of `pairwise.decorrelation` of each batch, beside the mean over its pairs; not
        in the paper.
    """

    quantisation: float = 1.0
    balance: float = 1.0
    decorrelation: float = 0.0


DEFAULT = Weights()


class Memory(NamedTuple):
    """Codes of the whole training set, f32[n, K] each.

    Attributes:
      images: F.
      texts: G.
      bits: B, -1 or 1.
    """

    images: Array
    texts: Array
    bits: Array


def balance(codes: Array) -> Array:
    """Return `‖Fᵀ1‖²` (eq. 1, third term): 0 if every bit is as often on as off."""
    return jnp.sum(codes.sum(axis=0) ** 2)


def batch_objective(
    codes: Array,
    rows: Array,
    own: Array,
    other: Array,
    bits: Array,
    similar: Array,
    weights: Weights,
) -> Array:
    """Return what of eq. 1 depends on some codes of one modality; its gradient is eq. 2 (or 3).

    Args:
      codes: theirs, f32[b, K].
      rows: their places in the training set, i32[b].
      own: the remembered codes of this modality, f32[n, K].
      other: of the other one.
      bits: B.
      similar: their rows of S, f32[b, n].
      weights: γ and η.
    """
    return (
        negative_log_likelihood(half_products(codes, other), similar)
        + weights.quantisation * quantisation(bits[rows], codes)
        + weights.balance * balance(own.at[rows].set(codes))
    )


def best_bits(images: Array, texts: Array) -> Array:
    """Return the B that minimises eq. 1 for given F and G: `sign(F + G)` (eq. 4)."""
    return binary_code(images + texts)


def fit_dcmh(
    net: DCMH,
    variables: Any,
    pairs: Pairs,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
    weights: Weights = DEFAULT,
) -> Iterator[tuple[Report, Any]]:
    """Alternate between F, G and B (the paper's algorithm 1), going through the pairs each time.

    Args:
      net: the network.
      variables: where to start.
      pairs: the training set.
      steps: of each of the two networks.
      batch: pairs a step.
      learning_rate: Adam's, at the start; falls to zero along a cosine.
      key: of the order and the mirroring.
      weights: of the terms.

    Yields:
      after each round a report (the mean of the batches' objectives, a pair of examples, in which
      the balance of all weighs n / batch times as much as in eq. 1) and the variables as they are
      then.

    Raises:
      PairsError: there are fewer pairs than a batch has.
    """
    labels, tags = jnp.asarray(pairs.labels, jnp.float32), jnp.asarray(pairs.tags)
    terms = len(labels) * batch
    optimiser = adam(learning_rate, steps)

    def image_loss(
        layers: Any, rest: Any, memory: Memory, rows: Array, pictures: Array, key: Array
    ) -> tuple[Array, Any]:
        codes, rest = see(net, "image_code", layers, rest, mirror(pictures, key))
        similar = share_label(labels[rows], labels)
        value = batch_objective(codes, rows, *memory, similar, weights) / terms
        value += weights.decorrelation * decorrelation(codes)
        return value, (memory._replace(images=memory.images.at[rows].set(codes)), rest)

    def text_loss(layers: Any, memory: Memory, rows: Array) -> tuple[Array, Memory]:
        images, texts, bits = memory
        codes = say(net, layers, tags[rows], "text_code")
        similar = share_label(labels[rows], labels)
        value = batch_objective(codes, rows, texts, images, bits, similar, weights) / terms
        value += weights.decorrelation * decorrelation(codes)
        return value, memory._replace(texts=texts.at[rows].set(codes))

    image_step, text_step = stepper(optimiser, image_loss), stepper(optimiser, text_loss)
    *layers, rest = split(variables, IMAGE, TEXT)
    image, text = (begin(optimiser, some) for some in layers)
    texts = jax.jit(partial(say, net, method="text_code"))(text.layers, tags)
    images = jnp.zeros_like(texts)  # until they are first seen
    memory = Memory(images, texts, best_bits(images, texts))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    done = 0
    while done < steps:
        losses = []
        number = batches(len(labels), batch, steps - done)
        for step, rows in enumerate(shuffled(len(labels), batch, number, rng), start=done):
            given = pairs.pictures[rows], jax.random.fold_in(key, step)
            image, value, (memory, rest) = image_step(image, rest, memory, rows, *given)
            losses.append(value)
        for rows in shuffled(len(labels), batch, number, rng):
            text, value, memory = text_step(text, memory, rows)
            losses.append(value)
        memory = memory._replace(bits=best_bits(memory.images, memory.texts))
        done += number
        mean = float(jnp.stack(losses).mean())
        yield Report(done, mean), merge(rest, image.layers, text.layers)
