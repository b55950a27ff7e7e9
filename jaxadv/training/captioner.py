"""Training captioners: maximum likelihood of human captions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import Captioner, log_probabilities, sayable, spoken
from jaxadv.errors import InputError
from jaxadv.training.fit import Phase, Report, State, begin, fit, gradient_step
from jaxadv.training.optimisers import adam
from jaxadv.training.parts import generator, merge, see, shuffled, split
from jaxadv.training.views import views_of_caption
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import as_captioner
from jaxadv.vocabulary import END, Vocabulary

LOSS = "loss {:.3f} a word"


class CaptionData(NamedTuple):
    """Images, or a frozen backbone's grids of their views, with tokenized captions.

    Attributes:
      inputs: images f32[n, H, W, 3], or grids [n, v, h, w, C] of v views of each image.
      captions: tokens i32[m, T], padded with the end token.
      owner: i32[m], the row of the input that each caption describes.
      views: i32[m], how many of the first views each caption describes; None for images.
    """

    inputs: np.ndarray
    captions: np.ndarray
    owner: np.ndarray
    views: np.ndarray | None = None


def caption_data(
    inputs: np.ndarray,
    captions: list[tuple[str, ...]],
    vocabulary: Vocabulary,
    length: int,
    views: int | None = None,
) -> CaptionData:
    """Tokenize the captions of each input.

    Captions without a word, and those with more unknown than known words, are left out.

    Args:
      inputs: images f32[n, H, W, 3], or grids [n, v, h, w, C] of v views of each image.
      captions: the captions of each input.
      vocabulary: the words that are learned.
      length: number of tokens that each caption is cut or padded to.
      views: v, for grids.

    Returns:
      The inputs with the captions that are left.

    Raises:
      InputError: no caption is left.
    """
    rows = [
        (i, (tokens + length * [END])[:length], views and views_of_caption(caption, views))
        for i, several in enumerate(captions)
        for caption in several
        if (tokens := vocabulary.encode_known(caption))
        and 2 * tokens.count(vocabulary.unknown or END) <= len(tokens)
    ]
    if not rows:
        raise InputError(
            f"none of the {sum(map(len, captions)):,} captions has at least half of its words in "
            f"the vocabulary of {len(vocabulary.words):,}: more captions are needed"
        )
    owner, padded, described = zip(*rows, strict=True)
    seen = None if views is None else np.array(described, np.int32)
    return CaptionData(inputs, np.array(padded, np.int32), np.array(owner, np.int32), seen)


def negative_log_likelihood(
    victim: Captioner, params: Any, features: Any, tokens: Array, smoothing: float = 0.0
) -> Array:
    """Return the mean of `-ln P(S_t | S_<t, I)` over a caption's words and its end token.

    Unknown words are inputs of the decoder, because later words depend on them, but not targets:
    decoding never chooses them.

    Args:
      victim: the captioner.
      params: its parameters.
      features: its features of one image.
      tokens: the caption i32[T], padded with the end token.
      smoothing: the share of label smoothing, which is spread over all words that may be predicted.
    """
    log_p = log_probabilities(victim, params, features, tokens)
    chosen = jnp.take_along_axis(log_p, tokens[:, None], axis=1)[:, 0]
    known = jnp.asarray(sayable(victim.vocabulary))
    if smoothing:
        mean = jnp.where(known, log_p, 0.0).sum(axis=1) / known.sum()
        chosen = (1 - smoothing) * chosen + smoothing * mean
    counted = spoken(tokens) & known[tokens]
    return -jnp.where(counted, chosen, 0.0).sum() / jnp.maximum(counted.sum(), 1)


def fit_likelihood(
    architecture: CaptionerArchitecture,
    vocabulary: Vocabulary,
    variables: Any,
    epochs: Iterator[CaptionData],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
    frozen_backbone: bool = False,
    smoothing: float = 0.0,
    weight_decay: float = 0.0,
    report_every: int = 50,
) -> Iterator[tuple[Report, Any]]:
    """Maximise the likelihood of captions with AdamW and a cosine schedule.

    Args:
      architecture: what is trained; the dropout of its decoder is active.
      vocabulary: its vocabulary.
      variables: initial variables.
      epochs: the data of each epoch, new (scenes) or always the same (photographs).
      steps: number of optimiser steps.
      batch: number of captions in a step; if an epoch has fewer, all of them.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      key: random key for the order of the captions and for dropout.
      frozen_backbone: train the decoder only, on precomputed grids.
      smoothing: the share of label smoothing.
      weight_decay: weight decay of AdamW; 0 is Adam.
      report_every: number of steps between reports.

    Returns:
      An iterator over reports, with the variables at that point.
    """
    net = architecture.network(vocabulary.size)
    training = net.clone(decoder=net.decoder.clone(training=True))
    optimiser = adam(learning_rate, steps, weight_decay)
    layers = set(variables["params"])
    frozen = {"backbone"} if frozen_backbone else set()
    fitted, kept, rest = split(variables, layers - frozen, frozen)

    def loss(params: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        inputs, tokens = batch
        grids, rest = inputs.astype(jnp.float32), state["rest"]
        params = {**params, **state["kept"]}
        if not frozen_backbone:
            grids, rest = see(training, "see", params, rest, inputs)
        all_variables = {"params": params, **state["rest"]}

        def one(grid: Array, tokens: Array, key: Array) -> Array:
            victim = as_captioner(
                training, vocabulary, architecture.max_length, (0, 0, 3), {"dropout": key}
            )
            features = training.apply(all_variables, grid, method="prepare")
            return negative_log_likelihood(victim, all_variables, features, tokens, smoothing)

        losses = jax.vmap(one)(grids, tokens, jax.random.split(key, len(tokens)))
        return losses.mean(), {"rest": rest}

    return fit(
        {"net": begin(optimiser, fitted), "kept": kept, "rest": rest},
        [Phase(gradient_step("net", optimiser, loss), _batches(epochs, batch, key))],
        lambda state: merge(state["rest"], state["net"].params, state["kept"]),
        steps=steps,
        key=key,
        report_every=report_every,
    )


def _batches(
    epochs: Iterator[CaptionData], batch: int, key: Array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the inputs and tokens of shuffled captions, epoch by epoch."""
    rng = generator(key)
    for now in epochs:
        for rows in shuffled(len(now.captions), min(batch, len(now.captions)), rng):
            read = now.owner[rows]
            if now.views is not None:
                read = read, rng.integers(now.views[rows])
            yield now.inputs[read], now.captions[rows]
