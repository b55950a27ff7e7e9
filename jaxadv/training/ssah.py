"""SSAH's training (Li et al., CVPR 2018, "Self-Supervised Adversarial Hashing Networks").

A label network learns similarity from label vectors alone. Its semantic features and its codes
teach an image and a text network, and so do two discriminators, which tell the features of these
networks from those of labels. Each network's objective is

    α J1 + γ J2 + η J3 + β J4

- J1 `Σ_ij log(1 + e^Δ_ij) - S_ij Δ_ij`, `Δ_ij = ½ F_iᵀ F^l_j`, of semantic features;
- J2 the same of codes, `Γ_ij = ½ H_iᵀ H^l_j`;
- J3 `‖H - B‖²`, quantisation;
- J4 `‖L̂ - L‖²`, label prediction;

with F^l and H^l from the label network (in its own objective, too), and B = sign(H^l + H^v + H^t),
or sign(H^l) for the label network, which is trained first. A discriminator minimises
`Σ (D(F^l) - 1)² + Σ D(F)²`, and the network that it judges opposes it.

As in the authors' release (lelan-li/SSAH, TensorFlow), each term is divided by its number of
summands, so that the weights mean the same for any training set. Other differences:

- The release weighs all terms by 1, but its pairwise terms are squared differences of `S Δ` and
  `log(1 + e^Δ)`. With the paper's pairwise terms, a quantisation weight of 1 freezes the first
  signs: the MAP of the label network's codes on scenes is 0.95, and 0.9995 with 0.1, the default
  here. The discriminators' weight of 0.1 was not compared with others.
- The paper's networks maximise the loss of their discriminator, which is unbounded with squares.
  Here they minimise `Σ (D(F) - 1)²`, which draws them towards the score of labels. The release does
  the same with cross-entropy.
- The release makes ten passes over the labels in a round, and starts from ImageNet; here it is two.
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
from jaxadv.victims.nets.ssah import SSAH, Discriminator, Semantics

IMAGE, TEXT, LABEL = ("features", "image"), ("text",), ("label",)
LABEL_PASSES = 2
"""Number of passes of the label network over the labels in a round."""


class Weights(NamedTuple):
    """The weights of a network's terms.

    Attributes:
      features: α, for J1.
      codes: γ, for J2.
      quantisation: η, for J3.
      labels: β, for J4.
      adversary: for the discriminator's term.
      decorrelation: for `pairwise.decorrelation` of each batch's codes; not in the paper.
    """

    features: float = 1.0
    codes: float = 1.0
    quantisation: float = 0.1
    labels: float = 1.0
    adversary: float = 0.1
    decorrelation: float = 0.0


DEFAULT = Weights()


class Remembered(NamedTuple):
    """A network's last outputs for the training set: f32[n, semantic] and f32[n, K]."""

    features: Array
    codes: Array

    def put(self, rows: Array, said: Semantics) -> "Remembered":
        """Return a copy with some rows replaced."""
        return Remembered(
            self.features.at[rows].set(said.features), self.codes.at[rows].set(said.code)
        )


def label_error(read: Array, labels: Array) -> Array:
    """Return J4, `‖L̂ - L‖²`, of predicted and true labels f32[n, c]."""
    return jnp.sum((read - labels) ** 2)


def taught(
    said: Semantics,
    labels: Array,
    similar: Array,
    teacher: Remembered,
    bits: Array,
    weights: Weights,
) -> Array:
    """Return a network's objective on a batch, with each term divided by its number of summands.

    Args:
      said: the network's outputs for b examples.
      labels: labels of the examples, f32[b, c].
      similar: rows of S, f32[b, n].
      teacher: the label network's outputs for the training set.
      bits: rows of B, f32[b, K].
      weights: weights of the terms.

    Returns:
      The objective, f32[].
    """
    features = negative_log_likelihood(half_products(said.features, teacher.features), similar)
    codes = negative_log_likelihood(half_products(said.code, teacher.codes), similar)
    return (
        weights.features * features / similar.size
        + weights.codes * codes / similar.size
        + weights.quantisation * quantisation(bits, said.code) / bits.size
        + weights.labels * label_error(said.labels, labels) / labels.size
        + weights.decorrelation * decorrelation(said.code)
    )


def told_apart(of_labels: Array, of_others: Array) -> Array:
    """Return the discriminator's loss `Σ (D(F^l) - 1)² + Σ D(F)²`, given its scores."""
    return jnp.sum((of_labels - 1) ** 2) + jnp.sum(of_others**2)


def unfooled(of_others: Array) -> Array:
    """Return the loss that opposes the discriminator, `Σ (D(F) - 1)²`, given its scores."""
    return jnp.sum((of_others - 1) ** 2)


def common_bits(label: Array, image: Array, text: Array) -> Array:
    """Return B = sign(H^l + H^v + H^t)."""
    return binary_code(label + image + text)


def fit_ssah(
    net: SSAH,
    variables: Any,
    pairs: Pairs,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
    weights: Weights = DEFAULT,
) -> Iterator[tuple[Report, Any]]:
    """Train the label, image and text networks and the discriminators in turn.

    A round is a pass over the pairs.

    Args:
      net: the network.
      variables: initial variables.
      pairs: the training set.
      steps: number of optimiser steps of the image and of the text network.
      batch: number of pairs in a step.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      key: random key for the discriminators' weights, the order and the mirroring.
      weights: weights of the terms.

    Returns:
      An iterator over reports, one a round, with the variables at that point. The loss is the mean
      over the batches of pictures and of texts.

    Raises:
      PairsError: there are fewer pairs than a batch needs.
    """
    labels, tags = jnp.asarray(pairs.labels, jnp.float32), jnp.asarray(pairs.texts)
    discriminator = Discriminator((net.hidden, net.hidden))
    optimiser, lasting = adam(learning_rate, steps), adam(learning_rate, LABEL_PASSES * steps)
    rows_of = partial(passes, len(labels), batch, generator(key))

    def objective(said: Semantics, rows: Array, teacher: Remembered, bits: Array) -> Array:
        similar = share_label(labels[rows], labels)
        return taught(said, labels[rows], similar, teacher, bits, weights)

    def label_loss(layers: Any, state: State, rows: Array, key: Array) -> tuple[Array, State]:
        said = say(net, layers, labels[rows], "label_semantics")
        value = objective(said, rows, state["labels"], binary_code(said.code))
        return value, {"labels": state["labels"].put(rows, said)}

    def against_judge(said: Semantics, rows: Array, state: State, judge: str) -> Array:
        value = objective(said, rows, state["labels"], state["bits"][rows])
        scores = say(discriminator, state[judge].params, said.features)
        return value + weights.adversary * unfooled(scores) / scores.size

    def image_loss(layers: Any, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        rows, pictures = batch
        said, rest = see(net, "image_semantics", layers, state["rest"], mirror(pictures, key))
        value = against_judge(said, rows, state, "image_judge")
        return value, {"images": state["images"].put(rows, said), "rest": rest}

    def text_loss(layers: Any, state: State, rows: Array, key: Array) -> tuple[Array, State]:
        said = say(net, layers, tags[rows], "text_semantics")
        value = against_judge(said, rows, state, "text_judge")
        return value, {"texts": state["texts"].put(rows, said)}

    def judge_loss(
        judge: Any, state: State, rows: Array, key: Array, others: str
    ) -> tuple[Array, State]:
        seen = state["labels"].features[rows], state[others].features[rows]
        of_labels, of_others = (say(discriminator, judge, features) for features in seen)
        return told_apart(of_labels, of_others) / (2 * len(rows)), {}

    def update_bits(state: State) -> State:
        codes = (state[name].codes for name in ("labels", "images", "texts"))
        return {**state, "bits": common_bits(*codes)}

    image, text, label, rest = split(variables, IMAGE, TEXT, LABEL)
    said = jax.jit(partial(say, net, method="label_semantics"))(label, labels)
    teacher = Remembered(said.features, said.code)
    nothing = jax.tree.map(jnp.zeros_like, teacher)
    draw = jax.jit(discriminator.init)
    judges = (draw(own, teacher.features[0])["params"] for own in jax.random.split(key))
    state = {
        "image": begin(optimiser, image),
        "text": begin(optimiser, text),
        "label": begin(lasting, label),
        "image_judge": begin(optimiser, next(judges)),
        "text_judge": begin(optimiser, next(judges)),
        "rest": rest,
        "labels": teacher,
        "images": nothing,
        "texts": nothing,
        "bits": nothing.codes,
    }
    label_step = gradient_step("label", lasting, label_loss)
    judge_steps = [
        gradient_step(judge, optimiser, partial(judge_loss, others=others))
        for judge, others in (("image_judge", "images"), ("text_judge", "texts"))
    ]
    pictured = ((rows, pairs.pictures[rows]) for rows in rows_of())
    return fit(
        state,
        [
            *(Phase(label_step, rows_of(), reported=False) for _ in range(LABEL_PASSES)),
            Phase(gradient_step("image", optimiser, image_loss), pictured, begin=update_bits),
            Phase(gradient_step("text", optimiser, text_loss), rows_of()),
            *(Phase(step, rows_of(), reported=False) for step in judge_steps),
        ],
        lambda state: merge(state["rest"], *(state[p].params for p in ("image", "text", "label"))),
        steps=steps,
        key=key,
        report_every=whole_batches(len(labels), batch),
    )
