"""Fitting captioners: likelihood of people's captions, then self-critical training for SCST."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxadv.captions.captioner import Captioner, log_probabilities, sayable, spoken
from jaxadv.errors import InputError
from jaxadv.training.optimisers import adam
from jaxadv.victims.nets.caption_net import CaptionNet, as_captioner
from jaxadv.vocabulary import END, Vocabulary


class CaptionData(NamedTuple):
    """Pictures (or a frozen backbone's grids of them) with captions as numbers.

    Attributes:
      inputs: f32[n, H, W, 3] pictures, or f32[n, h, w, C] grids.
      captions: i32[m, T], padded with the end token.
      owner: i32[m], which input each caption describes.
    """

    inputs: np.ndarray
    captions: np.ndarray
    owner: np.ndarray


class Report(NamedTuple):
    """Where training stands after some steps: mean training loss a word since the last report."""

    step: int
    loss: float


def pad(tokens: list[int], length: int) -> np.ndarray:
    """Cut or pad a caption to `length` places."""
    cut = tokens[:length]
    return np.array(cut + [END] * (length - len(cut)), np.int32)


def caption_data(
    inputs: np.ndarray, captions: list[tuple[str, ...]], vocabulary: Vocabulary, length: int
) -> CaptionData:
    """Number the captions of each input, but those that teach little.

    Captions without a word are left out, and those in which more words are unknown than known.

    Raises:
      InputError: no caption is left.
    """
    rows = [
        (i, pad(tokens, length))
        for i, several in enumerate(captions)
        for tokens in map(vocabulary.encode_known, several)
        if tokens and 2 * tokens.count(vocabulary.unknown or END) <= len(tokens)
    ]
    if not rows:
        raise InputError(
            f"none of the {sum(map(len, captions)):,} captions is half made of the "
            f"{len(vocabulary.words):,} words that are learned: more captions are needed"
        )
    owner, tokens = zip(*rows, strict=True)
    return CaptionData(inputs, np.stack(tokens), np.array(owner, np.int32))


def negative_log_likelihood(victim: Captioner, params: Any, features: Any, tokens: Array) -> Array:
    """Return `-ln P(S_t | S_<t, I)`, the mean over a caption's words and its end token.

    Unknown words are read, since later words depend on them, but not learned: no caption that is
    decoded contains them.
    """
    log_p = log_probabilities(victim, params, features, tokens)
    chosen = jnp.take_along_axis(log_p, tokens[:, None], axis=1)[:, 0]
    known = jnp.asarray(sayable(victim.vocabulary))[tokens]
    counted = spoken(tokens) & known
    return -jnp.where(counted, chosen, 0.0).sum() / jnp.maximum(counted.sum(), 1)


def _split(variables: Any, frozen_backbone: bool) -> tuple[Any, Any]:
    """Part the parameters into those that are fitted and those that stay."""
    params = variables["params"]
    if not frozen_backbone:
        return params, {}
    return {"decoder": params["decoder"]}, {"backbone": params.get("backbone", {})}


def fit_likelihood(
    net: CaptionNet,
    variables: Any,
    data: Callable[[int], CaptionData],
    *,
    vocabulary: Vocabulary,
    max_length: int,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
    frozen_backbone: bool = False,
    report_every: int = 50,
) -> Iterator[tuple[Report, Any]]:
    """Maximise the likelihood of the captions with Adam and a cosine schedule.

    Args:
      net: the network; its decoder's dropout is on while training.
      variables: where to start.
      data: `epoch -> CaptionData`; drawn anew each epoch (scenes) or the same each time (photos).
      vocabulary: of the captions.
      max_length: words a caption.
      steps: optimiser steps.
      batch: captions a step.
      learning_rate: Adam's, at the start; falls to zero along a cosine.
      key: of the order of the captions and of dropout.
      frozen_backbone: `data.inputs` are grids, computed once, and only the decoder is fitted.
      report_every: steps between reports.

    Yields:
      a report and the variables as they are then.
    """
    training = net.clone(decoder=net.decoder.clone(training=True))
    optimiser = adam(learning_rate, steps)
    fitted, kept = _split(variables, frozen_backbone)
    statistics = variables.get("batch_stats", {})

    def loss(
        fitted: Any, kept: Any, statistics: Any, inputs: Array, tokens: Array, key: Array
    ) -> tuple[Array, Any]:
        all_variables = {"params": {**fitted, **kept}, "batch_stats": statistics}
        if frozen_backbone:
            grids = inputs
        else:
            grids, changed = training.apply(
                all_variables, inputs, train=True, method="see", mutable=["batch_stats"]
            )
            statistics = changed.get("batch_stats", {})

        def one(grid: Array, tokens: Array, key: Array) -> Array:
            victim = as_captioner(training, vocabulary, max_length, (0, 0, 3), {"dropout": key})
            features = training.apply(all_variables, grid, method="prepare")
            return negative_log_likelihood(victim, all_variables, features, tokens)

        losses = jax.vmap(one)(grids, tokens, jax.random.split(key, len(tokens)))
        return losses.mean(), statistics

    @jax.jit
    def step(
        fitted: Any,
        kept: Any,
        statistics: Any,
        state: Any,
        inputs: Array,
        tokens: Array,
        key: Array,
    ) -> tuple[Any, Any, Any, Array]:
        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(
            fitted, kept, statistics, inputs, tokens, key
        )
        updates, state = optimiser.update(gradient, state, fitted)
        return optax.apply_updates(fitted, updates), statistics, state, value

    state = optimiser.init(fitted)
    losses: list[Array] = []
    for number, (inputs, tokens) in enumerate(_batches(data, batch, steps, key)):
        fitted, statistics, state, value = step(
            fitted, kept, statistics, state, inputs, tokens, jax.random.fold_in(key, number)
        )
        losses.append(value)
        if (number + 1) % report_every == 0 or number + 1 == steps:
            mean = float(jnp.stack(losses).mean())
            losses.clear()
            now = {"params": {**fitted, **kept}}
            yield (
                Report(number + 1, mean),
                {**now, "batch_stats": statistics} if statistics else now,
            )


def _batches(
    data: Callable[[int], CaptionData], batch: int, steps: int, key: Array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walk through the captions epoch by epoch, shuffled, whole batches only.

    A batch has all captions where there are fewer than it asks for.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    done = epoch = 0
    while done < steps:
        now = data(epoch)
        order = rng.permutation(len(now.captions))
        size = min(batch, len(order))
        for first in range(0, len(order) - size + 1, size):
            if done == steps:
                return
            rows = order[first : first + size]
            yield now.inputs[now.owner[rows]], now.captions[rows]
            done += 1
        epoch += 1
