"""Fitting taggers: binary cross-entropy on every label, on scenes or over a frozen backbone."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxadv.training.captioner import Report
from jaxadv.victims.nets.classifier_net import ClassifierNet


class LabelData(NamedTuple):
    """Pictures u8[n, H, W, 3] with their labels bool[n, c]."""

    pictures: np.ndarray
    labels: np.ndarray


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Mean over the labels of `-y ln p - (1 - y) ln(1 - p)`, with `p = sigmoid(logit)`."""
    return optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype)).mean()


def fit_labels(
    net: ClassifierNet,
    variables: Any,
    data: Callable[[int], LabelData],
    *,
    steps: int,
    passes: int,
    batch: int,
    optimiser: optax.GradientTransformation,
    key: Array,
    report_every: int = 50,
) -> Iterator[tuple[Report, Any]]:
    """Minimise the binary cross-entropy, all layers together.

    Args:
      net: the network.
      variables: where to start.
      data: `epoch -> LabelData`.
      steps: optimiser steps.
      passes: how often an epoch's pictures are gone through, mirrored or not, at random.
      batch: pictures a step.
      optimiser: of all parameters.
      key: of the order and the mirroring.
      report_every: steps between reports.

    Yields:
      a report (the mean loss since the last) and the variables as they are then.
    """

    def loss(params: Any, statistics: Any, pictures: Array, labels: Array) -> tuple[Array, Any]:
        logits, changed = net.apply(
            {"params": params, "batch_stats": statistics},
            pictures,
            train=True,
            mutable=["batch_stats"],
        )
        return binary_cross_entropy(logits, labels), changed.get("batch_stats", {})

    @jax.jit
    def step(
        params: Any, statistics: Any, state: Any, pictures: Array, labels: Array, key: Array
    ) -> tuple[Any, Any, Any, Array]:
        mirrored = jax.random.bernoulli(key, shape=(len(pictures), 1, 1, 1))
        images = jnp.where(mirrored, pictures[:, :, ::-1], pictures) / 255
        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, statistics, images, labels
        )
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state, value

    params, statistics = variables["params"], variables.get("batch_stats", {})
    state = optimiser.init(params)
    losses: list[Array] = []
    for number, (pictures, labels) in enumerate(_batches(data, batch, steps, passes, key)):
        params, statistics, state, value = step(
            params, statistics, state, pictures, labels, jax.random.fold_in(key, number)
        )
        losses.append(value)
        if (number + 1) % report_every == 0 or number + 1 == steps:
            mean = float(jnp.stack(losses).mean())
            losses.clear()
            kept = {"batch_stats": statistics} if statistics else {}
            yield Report(number + 1, mean), {"params": params, **kept}


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
    """Fit what comes after a frozen backbone, on features that are computed once.

    Adam with decoupled weight decay and a cosine schedule, on the binary cross-entropy.

    Args:
      head: its parameters, where to start.
      read: `(head, features f32[C]) -> logits f32[c]`.
      features: f32[n, v, C], of v views of each picture (mirrored or not), one drawn a step.
      labels: bool[n, c].
      steps: optimiser steps.
      batch: pictures a step, drawn with replacement.
      learning_rate: at the start; falls to zero along a cosine.
      weight_decay: AdamW's.
      key: of the draws.
      report_every: steps between reports.

    Yields:
      a report (the mean loss since the last) and the head as it is then.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    optimiser = optax.adamw(schedule, weight_decay=weight_decay)
    pictures, views = features.shape[:2]

    def loss(head: Any, some: Array, wanted: Array) -> Array:
        return binary_cross_entropy(jax.vmap(read, in_axes=(None, 0))(head, some), wanted)

    @jax.jit
    def step(head: Any, state: Any, some: Array, wanted: Array) -> tuple[Any, Any, Array]:
        value, gradient = jax.value_and_grad(loss)(head, some, wanted)
        updates, state = optimiser.update(gradient, state, head)
        return optax.apply_updates(head, updates), state, value

    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    state = optimiser.init(head)
    losses: list[Array] = []
    for number in range(1, steps + 1):
        rows, view = rng.integers(pictures, size=batch), rng.integers(views, size=batch)
        head, state, value = step(head, state, features[rows, view], labels[rows])
        losses.append(value)
        if number % report_every == 0 or number == steps:
            mean = float(jnp.stack(losses).mean())
            losses.clear()
            yield Report(number, mean), head


def _batches(
    data: Callable[[int], LabelData], batch: int, steps: int, passes: int, key: Array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walk through the pictures epoch by epoch, shuffled, whole batches only."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    done = epoch = 0
    while done < steps:
        now = data(epoch)
        for _ in range(passes):
            order = rng.permutation(len(now.pictures))
            batch = min(batch, len(order))
            for first in range(0, len(order) - batch + 1, batch):
                if done == steps:
                    return
                rows = order[first : first + batch]
                yield now.pictures[rows], now.labels[rows]
                done += 1
        epoch += 1
