"""Training taggers: binary cross-entropy on every label, of all layers or of the head alone."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array

from jaxadv.training.fit import Phase, Report, State, begin, fit, gradient_step
from jaxadv.training.parts import generator, merge, mirror, see, shuffled, split
from jaxadv.victims.nets.classifier_net import ClassifierNet


class LabelData(NamedTuple):
    """Pictures u8[n, H, W, 3] with their labels bool[n, c]."""

    pictures: np.ndarray
    labels: np.ndarray


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the mean of `-y ln p - (1 - y) ln(1 - p)`, `p = sigmoid(logit)`, over all labels."""
    return optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype)).mean()


def fit_labels(
    net: ClassifierNet,
    variables: Any,
    epochs: Iterator[LabelData],
    *,
    steps: int,
    passes: int,
    batch: int,
    optimiser: optax.GradientTransformation,
    key: Array,
    report_every: int = 50,
) -> Iterator[tuple[Report, Any]]:
    """Minimise the binary cross-entropy over all layers.

    Args:
      net: the network.
      variables: initial variables.
      epochs: the data of each epoch.
      steps: number of optimiser steps.
      passes: number of passes over the pictures of an epoch, which are mirrored at random.
      batch: number of pictures in a step; an epoch with fewer lowers it from then on.
      optimiser: the optimiser of all parameters.
      key: random key for the order and the mirroring.
      report_every: number of steps between reports.

    Returns:
      An iterator over reports, with the variables at that point.
    """

    def loss(params: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        pictures, labels = batch
        logits, rest = see(net, "__call__", params, state["rest"], mirror(pictures, key))
        return binary_cross_entropy(logits, labels), {"rest": rest}

    params, rest = split(variables, tuple(variables["params"]))
    return fit(
        {"net": begin(optimiser, params), "rest": rest},
        [Phase(gradient_step("net", optimiser, loss), _batches(epochs, batch, passes, key))],
        lambda state: merge(state["rest"], state["net"].params),
        steps=steps,
        key=key,
        report_every=report_every,
    )


def fit_head(
    head: Any,
    read: Callable[[Any, Array], Array],
    features: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    key: Array,
    report_every: int = 50,
) -> Iterator[tuple[Report, Any]]:
    """Train the head over a frozen backbone, on precomputed features.

    The loss is the binary cross-entropy, the optimiser AdamW with a cosine schedule.

    Args:
      head: initial parameters of the head.
      read: `(head, features f32[...]) -> logits f32[c]`.
      features: f32[n, v, ...], features of v views of each picture (`views`); a step draws one
        view of each of its pictures.
      labels: bool[n, c].
      steps: number of optimiser steps.
      batch: number of pictures in a step, drawn with replacement.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      key: random key for the draws.
      report_every: number of steps between reports.

    Returns:
      An iterator over reports, with the parameters of the head at that point.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    optimiser = optax.adamw(schedule, weight_decay=weight_decay)

    def loss(head: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        some, wanted = batch
        return binary_cross_entropy(jax.vmap(read, in_axes=(None, 0))(head, some), wanted), {}

    def draws() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = generator(key)
        pictures, views = features.shape[:2]
        while True:
            rows, view = rng.integers(pictures, size=batch), rng.integers(views, size=batch)
            yield features[rows, view], labels[rows]

    return fit(
        {"head": begin(optimiser, head)},
        [Phase(gradient_step("head", optimiser, loss), draws())],
        lambda state: state["head"].params,
        steps=steps,
        key=key,
        report_every=report_every,
    )


def _batches(
    epochs: Iterator[LabelData], batch: int, passes: int, key: Array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield shuffled pictures and their labels, epoch by epoch."""
    rng = generator(key)
    for now in epochs:
        batch = min(batch, len(now.pictures))
        for _ in range(passes):
            for rows in shuffled(len(now.pictures), batch, rng):
                yield now.pictures[rows], now.labels[rows]
