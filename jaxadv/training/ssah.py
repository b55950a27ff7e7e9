"""SSAH's training (Li et al., CVPR 2018, "Self-Supervised Adversarial Hashing Networks").

A label network learns from label vectors alone what is similar; a picture and a text network are
taught by its semantic features and its codes, and by two discriminators, which tell their features
from those of labels. Each network's objective is

    α J1 + γ J2 + η J3 + β J4

- J1 `Σ_ij log(1 + e^Δ_ij) - S_ij Δ_ij`, `Δ_ij = ½ F_iᵀ F^l_j`, of semantic features;
- J2 the same of codes, `Γ_ij = ½ H_iᵀ H^l_j`;
- J3 `‖H - B‖²`, quantisation;
- J4 `‖L̂ - L‖²`, the labels read back;

with F^l, H^l of the label network (for itself, too), and B = sign(H^l + H^v + H^t), or sign(H^l)
for the label network, which is fitted first. A discriminator
minimises `Σ (D(F^l) - 1)² + Σ D(F)²`, and what it judges works against it.

Each term is divided by the number of its summands, so that the weights mean the same for any
training set, as in the authors' release (lelan-li/SSAH, TensorFlow). What else differs there:

- its weights are 1, but its pairwise terms squared differences of `S Δ` and `log(1 + e^Δ)`. Beside
  the paper's, a quantisation of 1 freezes the first signs: MAP of the label network's codes on
  scenes 0.95, and 0.9995 with the 0.1 that is the default here. The discriminators' 0.1 is a choice
  that was not measured against others;
- the paper's networks maximise their discriminator's loss, which for squares has no bound. Here, as
  there (with cross-entropy), they are drawn towards the score of labels: `Σ (D(F) - 1)²`;
- it goes through the labels ten times in a round, here twice, and starts from ImageNet.
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
from jaxadv.victims.nets.ssah import SSAH, Discriminator, Semantics

IMAGE, TEXT, LABEL = ("features", "image"), ("text",), ("label",)
LABEL_PASSES = 2
"""How often the label network goes through the labels in a round."""


class Weights(NamedTuple):
    """The weights of a network's terms.

    Attributes:
      features: α, of J1.
      codes: γ, of J2.
      quantisation: η, of J3.
      labels: β, of J4.
      adversary: of the discriminator.
      decorrelation: of `pairwise.decorrelation` of each batch's codes; not in the paper.
    """

    features: float = 1.0
    codes: float = 1.0
    quantisation: float = 0.1
    labels: float = 1.0
    adversary: float = 0.1
    decorrelation: float = 0.0


DEFAULT = Weights()


class Remembered(NamedTuple):
    """What a network said of the whole training set: f32[n, semantic] and f32[n, K]."""

    features: Array
    codes: Array

    def put(self, rows: Array, said: Semantics) -> "Remembered":
        """Replace some rows."""
        return Remembered(
            self.features.at[rows].set(said.features), self.codes.at[rows].set(said.code)
        )


def label_error(read: Array, labels: Array) -> Array:
    """Return J4, `‖L̂ - L‖²`, of labels f32[n, c]."""
    return jnp.sum((read - labels) ** 2)


def taught(
    said: Semantics,
    labels: Array,
    similar: Array,
    teacher: Remembered,
    bits: Array,
    weights: Weights,
) -> Array:
    """Return a network's objective on a batch, each term a summand.

    Args:
      said: the network's semantics of b examples.
      labels: theirs, f32[b, c].
      similar: their rows of S, f32[b, n].
      teacher: what the label network said of the training set.
      bits: the examples' rows of B, f32[b, K].
      weights: of the terms.
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
    """Return what a discriminator minimises: `Σ (D(F^l) - 1)² + Σ D(F)²`, of its scores."""
    return jnp.sum((of_labels - 1) ** 2) + jnp.sum(of_others**2)


def unfooled(of_others: Array) -> Array:
    """Return what works against a discriminator: `Σ (D(F) - 1)²`, of its scores."""
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
    """Fit the label network, then the picture's, the text's and the discriminators, in rounds.

    Args:
      net: the network.
      variables: where to start.
      pairs: the training set.
      steps: of the picture and of the text network.
      batch: pairs a step.
      learning_rate: Adam's, at the start; falls to zero along a cosine.
      key: of the discriminators' weights, the order and the mirroring.
      weights: of the terms.

    Yields:
      after each round a report (the mean of what the picture's and the text's batches found) and
      the variables as they are then.

    Raises:
      PairsError: there are fewer pairs than a batch has.
    """
    labels, tags = jnp.asarray(pairs.labels, jnp.float32), jnp.asarray(pairs.tags)
    discriminator = Discriminator((net.hidden, net.hidden))
    optimiser, lasting = adam(learning_rate, steps), adam(learning_rate, LABEL_PASSES * steps)

    def label_loss(layers: Any, memory: Remembered, rows: Array) -> tuple[Array, Remembered]:
        said, similar = (
            say(net, layers, labels[rows], "label_semantics"),
            share_label(labels[rows], labels),
        )
        bits = binary_code(said.code)
        value = taught(said, labels[rows], similar, memory, bits, weights)
        return value, memory.put(rows, said)

    def against(said: Semantics, judge: Any, value: Array) -> Array:
        scores = say(discriminator, judge, said.features)
        return value + weights.adversary * unfooled(scores) / scores.size

    def image_loss(
        layers: Any,
        rest: Any,
        own: Remembered,
        teacher: Remembered,
        bits: Array,
        judge: Any,
        rows: Array,
        pictures: Array,
        key: Array,
    ) -> tuple[Array, Any]:
        said, rest = see(net, "image_semantics", layers, rest, mirror(pictures, key))
        similar = share_label(labels[rows], labels)
        value = taught(said, labels[rows], similar, teacher, bits[rows], weights)
        return against(said, judge, value), (own.put(rows, said), rest)

    def text_loss(
        layers: Any, own: Remembered, teacher: Remembered, bits: Array, judge: Any, rows: Array
    ) -> tuple[Array, Remembered]:
        said, similar = (
            say(net, layers, tags[rows], "text_semantics"),
            share_label(labels[rows], labels),
        )
        value = taught(said, labels[rows], similar, teacher, bits[rows], weights)
        return against(said, judge, value), own.put(rows, said)

    def judge_loss(judge: Any, of_labels: Array, of_others: Array) -> tuple[Array, None]:
        scores = say(discriminator, judge, of_labels), say(discriminator, judge, of_others)
        return told_apart(*scores) / (2 * len(of_labels)), None

    label_step = stepper(lasting, label_loss)
    image_step, text_step = stepper(optimiser, image_loss), stepper(optimiser, text_loss)
    judge_step = stepper(optimiser, judge_loss)
    *layers, rest = split(variables, IMAGE, TEXT, LABEL)
    image, text = (begin(optimiser, some) for some in layers[:2])
    label = begin(lasting, layers[2])

    said = jax.jit(partial(say, net, method="label_semantics"))(label.layers, labels)
    teacher = Remembered(said.features, said.code)
    none = Remembered(jnp.zeros_like(teacher.features), jnp.zeros_like(teacher.codes))
    images = texts = none
    draw = jax.jit(discriminator.init)
    judges = [
        begin(optimiser, draw(its, teacher.features[0])["params"]) for its in jax.random.split(key)
    ]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    done = 0
    while done < steps:
        losses = []
        number = batches(len(labels), batch, steps - done)
        order = partial(shuffled, len(labels), batch, number, rng)
        for _ in range(LABEL_PASSES):
            for rows in order():
                label, _, teacher = label_step(label, teacher, rows)
        bits = common_bits(teacher.codes, images.codes, texts.codes)
        for step, rows in enumerate(order(), start=done):
            image, value, (images, rest) = image_step(
                image,
                rest,
                images,
                teacher,
                bits,
                judges[0].layers,
                rows,
                pairs.pictures[rows],
                jax.random.fold_in(key, step),
            )
            losses.append(value)
        for rows in order():
            text, value, texts = text_step(text, texts, teacher, bits, judges[1].layers, rows)
            losses.append(value)
        for place, others in enumerate((images, texts)):
            for rows in order():
                judges[place], *_ = judge_step(
                    judges[place], teacher.features[rows], others.features[rows]
                )
        done += number
        mean = float(jnp.stack(losses).mean())
        yield Report(done, mean), merge(rest, image.layers, text.layers, label.layers)
