"""Fitting captioners on folders of pictures, whole: from scratch, or on from a victim there is.

The vocabulary is that of the training captions, as in any training run. A victim that is trained on
keeps its words and their numbers, and gets new rows for words that the captions bring.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.backdoors.folder import training_record
from jaxadv.data.opening import open_data
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import Record, captioned
from jaxadv.training.captioner import caption_data, fit_likelihood
from jaxadv.training.recipes import Progress, compute_grids, hold_out
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture, VictimError
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.vocabulary import Vocabulary, build_vocabulary, tokenize

LEARNING_RATE = 2e-3
MORE_THAN = 4


class Start(NamedTuple):
    """Where training begins.

    Attributes:
      architecture: what is trained.
      vocabulary: what it can say.
      variables: its weights.
      origin: in words, for the record.
      held_out: ids of the pictures on which it was never trained, where it was on others.
    """

    architecture: CaptionerArchitecture
    vocabulary: Vocabulary
    variables: Any
    origin: str
    held_out: tuple[str, ...] = ()


def from_scratch(
    architecture: CaptionerArchitecture, captions: Sequence[str], seed: int = 0
) -> Start:
    """Begin with random weights and the words that the captions say more than four times."""
    vocabulary = build_vocabulary(captions, MORE_THAN)
    net = architecture.network(vocabulary.size)
    variables = initial_variables(net, architecture.image_shape, jax.random.key(seed))
    return Start(architecture, vocabulary, variables, f"scratch, seed {seed}")


def from_victim(victim: zoo.Victim, captions: Sequence[str], seed: int = 0) -> Start:
    """Begin with a victim's weights; new words of the captions get rows drawn at random.

    Raises:
      VictimError: the victim is no captioner.
    """
    architecture = victim.architecture
    if not isinstance(architecture, CaptionerArchitecture):
        raise VictimError(f"victim {victim.name!r} is a {architecture.kind}, not a captioner")
    vocabulary = extend_vocabulary(victim.captioner.vocabulary, captions)
    net = architecture.network(vocabulary.size)
    fresh = initial_variables(net, architecture.image_shape, jax.random.key(seed))
    variables, origin = grow(victim.params, fresh), f"victim {victim.name}"
    aside = tuple(victim.record.get("held_out") or ())
    return Start(architecture, vocabulary, variables, origin, aside)


def fine_tune(
    folder: Path,
    victim: zoo.Victim,
    sources: Sequence[str],
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    held_out: int = 100,
    seed: int = 0,
) -> Iterator[Progress]:
    """Train a captioner on folders or prepared sets, adding the words that they bring.

    Args:
      folder: where the new victim goes; its record says of a poisoned source what was done to it.
      victim: where to begin.
      sources: of captioned photographs.
      steps: optimiser steps.
      learning_rate: at the start of the cosine.
      held_out: photographs that are never trained on.
      seed: of new rows, the order and dropout.

    Raises:
      InputError: a source cannot be read; the victim is no captioner.
    """
    photos = captioned(open_data(sources)).records
    record = training_record([Path(source) for source in sources], len(photos))
    learned, _ = hold_out(photos, held_out, victim.record.get("held_out") or ())
    start = from_victim(victim, [c for photo in learned for c in photo.captions or ()], seed)
    yield from train_on_folder(
        folder,
        start,
        photos,
        steps=steps,
        learning_rate=learning_rate,
        held_out=held_out,
        seed=seed,
        **record,
    )


def extend_vocabulary(vocabulary: Vocabulary, captions: Sequence[str]) -> Vocabulary:
    """Append the words that the captions say and the vocabulary lacks.

    Where it has a mark for rare words, only those that occur more than four times.

    >>> extend_vocabulary(Vocabulary(("a", "cat")), ["a dog", "a cat"]).words
    ('a', 'cat', 'dog')
    """
    least = 0 if vocabulary.unknown is None else MORE_THAN
    counts = Counter(word for caption in captions for word in tokenize(caption))
    new = sorted(w for w, count in counts.items() if count > least and w not in vocabulary)
    return Vocabulary((*vocabulary.words, *new))


def grow(variables: Any, fresh: Any) -> Any:
    """Lay weights over those of a like network with more words, whose further rows stay."""

    def lay(old: Any, new: Any) -> Any:
        return jnp.asarray(new).at[tuple(map(slice, np.shape(old)))].set(old)

    return jax.tree.map(lay, variables, fresh)


def train_on_folder(
    folder: Path,
    start: Start,
    photos: Sequence[Record],
    *,
    steps: int,
    batch: int = 64,
    learning_rate: float = LEARNING_RATE,
    held_out: int = 100,
    seed: int = 0,
    report_every: int = 50,
    **record: Any,
) -> Iterator[Progress]:
    """Fit a captioner on pictures on disk, backbone included, and save it.

    MobileNetV2, whose batch statistics are folded into its weights, stays as it is; its grids are
    computed once.

    Args:
      folder: where the victim goes.
      start: where to begin.
      photos: photographs with captions; all are held in memory at the victim's resolution.
      steps: optimiser steps.
      batch: captions a step.
      learning_rate: at the start of the cosine.
      held_out: photographs that are never trained on; their ids go into the record. Those that
        were held out when the victim to begin with was trained stay so, and no others.
      seed: of the order and of dropout.
      report_every: steps between reports.
      **record: what else the victim's record shall say; must be JSON.
    """
    architecture, vocabulary = start.architecture, start.vocabulary
    net = architecture.network(vocabulary.size)
    training, aside = hold_out(photos, held_out, start.held_out)
    total = len(training) + steps
    inputs = np.empty((len(training), *architecture.image_shape), np.float32)
    for number, picture in enumerate(read_pictures(training, architecture.image_shape[:2])):
        inputs[number] = picture
        if (number + 1) % 1000 == 0 or number + 1 == len(training):
            yield Progress(number + 1, total, "pictures read")
    frozen = architecture.backbone == "mobilenet-v2"
    if frozen:
        inputs = compute_grids(net, start.variables, inputs)
    captions = [photo.captions or () for photo in training]
    data = caption_data(inputs, captions, vocabulary, architecture.max_length)
    variables = start.variables
    fit = fit_likelihood(
        net,
        variables,
        cache(lambda _: data),
        vocabulary=vocabulary,
        max_length=architecture.max_length,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        key=jax.random.key(seed),
        frozen_backbone=frozen,
        report_every=report_every,
    )
    for report, now in fit:
        variables = now
        yield Progress(len(training) + report.step, total, f"loss {report.loss:.3f} a word")
    zoo.save(
        folder,
        architecture,
        {"vocabulary": vocabulary.words},
        variables,
        source=f"jaxadv train captioner on {len(training)} pictures, from {start.origin}",
        training={"steps": steps, "batch": batch, "learning_rate": learning_rate, "seed": seed},
        held_out=[p.id for p in aside],
        **record,
    )
    yield Progress(total, total, f"trained for {steps} steps")
