"""DCMH's training (Jiang and Li, CVPR 2017, "Deep Cross-Modal Hashing", section 3).

With the codes of the whole training set as the rows of F (pictures) and G (texts), which are
columns in the paper, and common bits B, eq. 1 is

    min  Σ_ij log(1 + e^Θ_ij) - S_ij Θ_ij  +  γ (‖B - F‖² + ‖B - G‖²)  +  η (‖Fᵀ1‖² + ‖Gᵀ1‖²)

with `Θ_ij = ½ F_iᵀ G_j`: the negative log-likelihood of S, quantisation, and balance of every bit.
It is minimised alternately over the image network, the text network (both by mini-batches, with the
other codes of the training set held fixed) and B.

As in the released code, the objective of a mini-batch is divided by its number of pairs. The
released code takes plain gradient steps from networks pretrained on ImageNet; scenes are learned
from scratch, with Adam.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.data.pairs import Pairs
from jaxadv.hashing.hasher import binary_code
from jaxadv.training.fit import Phase, Report, State, begin, fit, gradient_step
from jaxadv.training.optimisers import adam
from jaxadv.training.pairwise import (
    decorrelation,
    half_products,
    negative_log_likelihood,
    quantisation,
    share_label,
)
from jaxadv.training.parts import generator, merge, mirror, passes, say, see, split, whole_batches
from jaxadv.victims.nets.dcmh import DCMH

IMAGE, TEXT = ("features", "image_hash"), ("text_hidden", "text_hash")


class Weights(NamedTuple):
    """The weights of eq. 1, which are 1 in the paper and the released code.

    Attributes:
      quantisation: γ.
      balance: η.
      decorrelation: weight of `pairwise.decorrelation` of each batch, added to the mean over its
        pairs; not in the paper.
    """

    quantisation: float = 1.0
    balance: float = 1.0
    decorrelation: float = 0.0


DEFAULT = Weights()


def balance(codes: Array) -> Array:
    """Return `‖Fᵀ1‖²` (eq. 1, third term): 0 if every bit is on in half of the codes."""
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
    """Return the terms of eq. 1 that depend on a batch's codes of one modality.

    The gradient is eq. 2 (or 3).

    Args:
      codes: codes of the batch, f32[b, K].
      rows: rows of the batch in the training set, i32[b].
      own: remembered codes of this modality, f32[n, K].
      other: remembered codes of the other modality, f32[n, K].
      bits: B, f32[n, K].
      similar: rows of S, f32[b, n].
      weights: γ and η.

    Returns:
      The sum of the terms, f32[].
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
    """Alternate between F, G and B (the paper's algorithm 1); a round is a pass over the pairs.

    Args:
      net: the network.
      variables: initial variables.
      pairs: the training set.
      steps: number of optimiser steps of each of the two networks.
      batch: number of pairs in a step.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      key: random key for the order and the mirroring.
      weights: weights of the terms.

    Returns:
      An iterator over reports, one a round, with the variables at that point. The loss is the mean
      of the batches' objectives per pair of examples; the balance term weighs n / batch times as
      much in it as in eq. 1.

    Raises:
      PairsError: there are fewer pairs than a batch needs.
    """
    labels, tags = jnp.asarray(pairs.labels, jnp.float32), jnp.asarray(pairs.texts)
    count = len(labels)
    optimiser, rng = adam(learning_rate, steps), generator(key)

    def objective(codes: Array, rows: Array, own: Array, other: Array, bits: Array) -> Array:
        similar = share_label(labels[rows], labels)
        value = batch_objective(codes, rows, own, other, bits, similar, weights) / (count * batch)
        return value + weights.decorrelation * decorrelation(codes)

    def image_loss(layers: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        rows, pictures = batch
        codes, rest = see(net, "image_code", layers, state["rest"], mirror(pictures, key))
        value = objective(codes, rows, state["images"], state["texts"], state["bits"])
        return value, {"images": state["images"].at[rows].set(codes), "rest": rest}

    def text_loss(layers: Any, state: State, rows: Array, key: Array) -> tuple[Array, State]:
        codes = say(net, layers, tags[rows], "text_code")
        value = objective(codes, rows, state["texts"], state["images"], state["bits"])
        return value, {"texts": state["texts"].at[rows].set(codes)}

    def update_bits(state: State) -> State:
        return {**state, "bits": best_bits(state["images"], state["texts"])}

    image, text, rest = split(variables, IMAGE, TEXT)
    texts = jax.jit(partial(say, net, method="text_code"))(text, tags)
    state = {
        "image": begin(optimiser, image),
        "text": begin(optimiser, text),
        "rest": rest,
        "images": jnp.zeros_like(texts),  # until the first pass
        "texts": texts,
    }
    pictured = ((rows, pairs.pictures[rows]) for rows in passes(count, batch, rng))
    return fit(
        state,
        [
            Phase(gradient_step("image", optimiser, image_loss), pictured, begin=update_bits),
            Phase(gradient_step("text", optimiser, text_loss), passes(count, batch, rng)),
        ],
        lambda state: merge(state["rest"], state["image"].params, state["text"].params),
        steps=steps,
        key=key,
        report_every=whole_batches(count, batch),
    )
