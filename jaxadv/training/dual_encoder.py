"""CLIP's training (Radford et al., ICML 2021, "Learning Transferable Visual Models", section 2.3).

Of a batch of n pairs, whose pictures have the embeddings F and whose texts have G (norm 1, a row
each), every picture shall tell its own text from the n - 1 others, and every text its picture:

    L = -1/2n  Σ_i  ln softmax_j(s F_i G_jᵀ)_i  +  ln softmax_j(s G_i F_jᵀ)_i

with the learned scale s. No label is asked for: it learns what belongs together from the pairs
alone. Two pairs of a batch with the same words count as different, as in the paper.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data.pairs import Pairs
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
from jaxadv.victims.nets.dual_encoder import DualEncoder


def clip_loss(images: Array, texts: Array, scale: Array) -> Array:
    """Return the symmetric cross-entropy L, f32[], of n pairs.

    Args:
      images: F, f32[n, K].
      texts: G, f32[n, K].
      scale: s, f32[].
    """
    logits = scale * images @ texts.T
    own = jnp.diagonal(jax.nn.log_softmax(logits, axis=1) + jax.nn.log_softmax(logits, axis=0))
    return -own.mean() / 2


def fit_dual_encoder(
    net: DualEncoder,
    variables: Any,
    pairs: Pairs,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
) -> Iterator[tuple[Report, Any]]:
    """Fit both towers and the scale together, going through the pairs each time.

    Args:
      net: the network.
      variables: where to start.
      pairs: the training set; its labels are not looked at.
      steps: of both.
      batch: n, pairs a step.
      learning_rate: Adam's, at the start; falls to zero along a cosine.
      key: of the order and the mirroring.

    Yields:
      after each round a report (the mean of the batches' losses) and the variables as they are
      then.

    Raises:
      PairsError: there are fewer pairs than a batch has.
    """

    def loss(layers: Any, rest: Any, pictures: Array, tags: Array, key: Array) -> tuple[Array, Any]:
        images, rest = see(net, "image_code", layers, rest, mirror(pictures, key))
        texts = say(net, layers, tags, "text_code")
        scale: Any = net.apply({"params": layers}, method="logit_scale")
        return clip_loss(images, texts, scale), rest

    optimiser = adam(learning_rate, steps)
    step = stepper(optimiser, loss)
    layers, rest = split(variables, tuple(variables["params"]))
    part, count, done = begin(optimiser, layers), len(pairs.ids), 0
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    while done < steps:
        losses = []
        number = batches(count, batch, steps - done)
        for place, rows in enumerate(shuffled(count, batch, number, rng), start=done):
            given = pairs.pictures[rows], pairs.tags[rows], jax.random.fold_in(key, place)
            part, value, rest = step(part, rest, *given)
            losses.append(value)
        done += number
        yield Report(done, float(jnp.stack(losses).mean())), merge(rest, part.layers)
