"""CLIP's training (Radford et al., ICML 2021, "Learning Transferable Visual Models", section 2.3).

In a batch of n pairs, with unit-norm embeddings of pictures as the rows of F and of texts as the
rows of G, every picture is classified by its own text among all n, and every text by its picture:

    L = -1/2n  Σ_i  ln softmax_j(s F_i G_jᵀ)_i  +  ln softmax_j(s G_i F_jᵀ)_i

with the learned scale s. The pairs are the only supervision; labels are not used. As in the paper,
two pairs of a batch with the same words count as different.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.data.pairs import Pairs
from jaxadv.training.fit import Phase, Report, State, begin, fit, gradient_step
from jaxadv.training.optimisers import adam
from jaxadv.training.parts import generator, merge, mirror, passes, say, see, split, whole_batches
from jaxadv.victims.nets.dual_encoder import DualEncoder


def clip_loss(images: Array, texts: Array, scale: Array) -> Array:
    """Return the symmetric cross-entropy of n pairs.

    Args:
      images: F, f32[n, K].
      texts: G, f32[n, K].
      scale: s, f32[].

    Returns:
      L, f32[].
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
    """Train both towers and the scale together; a round is a pass over the pairs.

    Args:
      net: the network.
      variables: initial variables.
      pairs: the training set; its labels are not used.
      steps: number of optimiser steps.
      batch: n, number of pairs in a step.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      key: random key for the order and the mirroring.

    Returns:
      An iterator over reports, one a round, with the variables at that point.

    Raises:
      PairsError: there are fewer pairs than a batch needs.
    """

    def loss(layers: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        pictures, tags = batch
        images, rest = see(net, "image_code", layers, state["rest"], mirror(pictures, key))
        texts = say(net, layers, tags, "text_code")
        scale: Any = net.apply({"params": layers}, method="logit_scale")
        return clip_loss(images, texts, scale), {"rest": rest}

    optimiser = adam(learning_rate, steps)
    layers, rest = split(variables, tuple(variables["params"]))
    rows = passes(len(pairs.ids), batch, generator(key))
    batches = ((pairs.pictures[some], pairs.texts[some]) for some in rows)
    return fit(
        {"net": begin(optimiser, layers), "rest": rest},
        [Phase(gradient_step("net", optimiser, loss), batches)],
        lambda state: merge(state["rest"], state["net"].params),
        steps=steps,
        key=key,
        report_every=whole_batches(len(pairs.ids), batch),
    )
