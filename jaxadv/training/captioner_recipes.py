"""Recipes of captioners: on scenes, and on photographs, with a frozen backbone or in all layers.

The functions that train yield their progress.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.backdoors.folder import training_record
from jaxadv.captions.captioner import Captioner, Params, greedy
from jaxadv.captions.scene_match import Match, match
from jaxadv.data import scenes
from jaxadv.data.opening import open_data
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import Record, captioned
from jaxadv.progress import Progress
from jaxadv.training.captioner import (
    LOSS,
    CaptionData,
    caption_data,
    fit_likelihood,
)
from jaxadv.training.recipe import Recipe, Trained, hold_out, train, with_messages
from jaxadv.training.self_critical import fit_decoder
from jaxadv.training.start import (
    Start,
    backbone_of,
    from_victim,
    with_backbone,
)
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import CaptionNet, initial_variables
from jaxadv.vocabulary import Vocabulary

LEARNING_RATE = 2e-3


# ---------------------------------------------------------------- scenes


class SceneAccuracy(NamedTuple):
    """Fractions of held-out scenes whose greedy caption gets each part right (`scene_match`)."""

    colour: float
    shape: float
    relation: float
    everything: float


def scene_accuracy(victim: Captioner, params: Params, count: int = 1000) -> SceneAccuracy:
    """Compare the captions of `count` held-out scenes with their content."""
    speak = jax.jit(jax.vmap(lambda i: greedy(victim, params, victim.encode(params, i)).tokens))
    matches: list[Match] = []
    for start in range(0, count, 100):
        some = list(scenes.examples(scenes.HELD_OUT_SEED, min(100, count - start), start))
        said = np.asarray(speak(jnp.stack([e.picture for e in some])))
        matches += [
            match(victim.vocabulary.decode(tokens), e.captions or ())
            for tokens, e in zip(said, some, strict=True)
        ]
    shares = np.mean([(*m, m.everything) for m in matches], axis=0)
    return SceneAccuracy(*(float(s) for s in shares))


def _scene_epochs(
    vocabulary: Vocabulary, max_length: int, per_epoch: int, curriculum: bool
) -> Iterator[CaptionData]:
    """Generate the scenes of each epoch; a curriculum starts with one object, then at most two."""
    for epoch in count():
        most = min(3, 1 + epoch // 2) if curriculum else 3
        drawn = [
            scenes.example(scenes.TRAINING_SEED, index, things=(1, most))
            for index in range(epoch * per_epoch, (epoch + 1) * per_epoch)
        ]
        pictures = np.stack([e.picture for e in drawn])
        yield caption_data(pictures, [e.captions or () for e in drawn], vocabulary, max_length)


def train_on_scenes(
    folder: Path,
    architecture: CaptionerArchitecture,
    *,
    steps: int,
    self_critical_steps: int = 0,
    backbone_from: str | None = None,
    curriculum: bool = False,
    batch: int = 64,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    per_epoch: int = 6000,
) -> Iterator[Progress]:
    """Train a captioner on generated scenes and save it with its held-out accuracy.

    Args:
      folder: the victim's folder.
      architecture: what is trained.
      steps: number of optimiser steps on the likelihood.
      self_critical_steps: number of self-critical steps that follow, as for SCST's victim.
      backbone_from: name of a victim whose backbone training starts from; victims of the papers
        share one, too.
      curriculum: start with scenes of one object, then of at most two. Otherwise Show-and-Tell,
        which sees only the mean of the grid, learns nothing about the objects.
      batch: number of captions in a step.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      seed: random seed for the initial weights, the order and the samples.
      per_epoch: number of scenes generated at a time.
    """
    vocabulary = scenes.vocabulary()
    net = architecture.network(vocabulary.size)
    victim = architecture.captioner(vocabulary)
    key = jax.random.key(seed)
    start = initial_variables(net, architecture.image_shape, key)
    if backbone_from is not None:
        start = with_backbone(start, backbone_of(zoo.load(backbone_from))[1])
    schedule: dict[str, Any] = {"batch": batch, "learning_rate": learning_rate}

    def fit() -> Iterator[Trained]:
        epochs = _scene_epochs(vocabulary, architecture.max_length, per_epoch, curriculum)
        job = fit_likelihood(
            architecture, vocabulary, start, epochs, steps=steps, key=key, **schedule
        )
        for trained in with_messages(job, LOSS):
            yield trained
        if not self_critical_steps:
            return
        before = scene_accuracy(victim, trained.variables)
        yield trained._replace(message=f"{before.everything:.3f} right before CIDEr-D")
        tuned = _self_critical_on_scenes(
            net, victim, trained.variables, self_critical_steps, key, batch, per_epoch
        )
        measures = {"held_out_scenes_before_self_critical": before._asdict()}
        for now in tuned:
            yield now._replace(step=steps + now.step, measures=measures)

    def summary(record: Any) -> str:
        reached = record["measures"]["held_out_scenes"]
        return ", ".join(f"{part} {share:.3f}" for part, share in reached.items())

    recipe = Recipe(
        architecture,
        {"vocabulary": vocabulary.words},
        fit(),
        steps + self_critical_steps,
        source=f"jaxadv train captioner --data scenes, seed {seed}",
        training={
            "steps": steps,
            "self_critical_steps": self_critical_steps,
            "backbone_from": backbone_from,
            "curriculum": curriculum,
            **schedule,
        },
        measure=lambda now: {"held_out_scenes": scene_accuracy(victim, now)._asdict()},
        summary=summary,
    )
    yield from train(folder, recipe)


def _self_critical_on_scenes(
    net: CaptionNet,
    victim: Captioner,
    variables: Any,
    steps: int,
    key: Array,
    batch: int,
    per_epoch: int,
) -> Iterator[Trained]:
    """Fine-tune the decoder; the backbone of `variables` is frozen."""
    drawn = list(scenes.examples(scenes.TRAINING_SEED, per_epoch))
    grids = compute_grids(net, variables, np.stack([e.picture for e in drawn]))
    references = [[(*victim.vocabulary.encode(c), 0) for c in e.captions or ()] for e in drawn]

    job = fit_decoder(
        net,
        victim,
        variables,
        grids,
        references,
        steps=steps,
        batch=batch,
        learning_rate=1e-4,
        key=key,
    )
    for report, now in job:
        yield Trained(report.step, str(report.loss), now)


# ---------------------------------------------------------------- photographs


def compute_grids(
    net: CaptionNet, variables: Any, images: np.ndarray, batch: int = 20
) -> np.ndarray:
    """Apply the frozen backbone to images f32[n, H, W, 3], in batches; return f32[n, h, w, C]."""
    see = jax.jit(partial(net.apply, method="see"))
    return np.concatenate(
        [np.asarray(see(variables, images[i : i + batch])) for i in range(0, len(images), batch)]
    )


def read_captioned(sources: Sequence[str]) -> tuple[Sequence[Record], dict[str, Any]]:
    """Return the captioned photographs of folders or data sets, and the record of their poison."""
    photos = captioned(open_data(sources)).records
    return photos, training_record([Path(source) for source in sources], len(photos))


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
    """Fine-tune a captioner on folders or prepared data sets, and add their words.

    Args:
      folder: the new victim's folder. If a source is poisoned, the record describes how.
      victim: the captioner to start from.
      sources: folders or prepared data sets of photographs with captions.
      steps: number of optimiser steps.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      held_out: number of photographs that are not trained on.
      seed: random seed for new rows, the order and dropout.

    Raises:
      InputError: a source cannot be read, or the victim is not a captioner.
    """
    photos, record = read_captioned(sources)
    yield from train_on_folder(
        folder,
        partial(from_victim, victim, seed=seed),
        photos,
        steps=steps,
        learning_rate=learning_rate,
        held_out=held_out,
        before=victim.record.get("held_out") or (),
        seed=seed,
        **record,
    )


def train_on_folder(
    folder: Path,
    begin: Callable[[Sequence[str]], Start],
    photos: Sequence[Record],
    *,
    steps: int,
    batch: int = 64,
    learning_rate: float = LEARNING_RATE,
    held_out: int = 100,
    before: Collection[str] = (),
    seed: int = 0,
    report_every: int = 50,
    **record: Any,
) -> Iterator[Progress]:
    """Train all layers of a captioner on photographs and save it.

    A MobileNetV2 backbone is frozen, because its batch statistics are folded into its weights; its
    grids are computed once.

    Args:
      folder: the victim's folder.
      begin: `training captions -> Start`.
      photos: photographs with captions; all are held in memory at the victim's resolution.
      steps: number of optimiser steps.
      batch: number of captions in a step.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      held_out: number of photographs that are not trained on; their ids are recorded.
      before: ids that earlier training held out (`hold_out`).
      seed: random seed for the order and dropout.
      report_every: number of steps between reports.
      **record: further entries of the victim's record; must be JSON.
    """
    training, aside = hold_out(photos, held_out, before)
    captions = [photo.captions or () for photo in training]
    architecture, vocabulary, variables, origin = begin([c for own in captions for c in own])
    total = len(training) + steps
    inputs = np.empty((len(training), *architecture.image_shape), np.float32)
    for number, picture in enumerate(read_pictures(training, architecture.image_shape[:2])):
        inputs[number] = picture
        if (number + 1) % 1000 == 0 or number + 1 == len(training):
            yield Progress(number + 1, total, "pictures read")
    frozen = architecture.backbone == "mobilenet-v2"
    if frozen:
        inputs = compute_grids(architecture.network(vocabulary.size), variables, inputs)
    data = caption_data(inputs, captions, vocabulary, architecture.max_length)
    schedule: dict[str, Any] = {"steps": steps, "batch": batch, "learning_rate": learning_rate}
    job = fit_likelihood(
        architecture,
        vocabulary,
        variables,
        repeat(data),
        key=jax.random.key(seed),
        frozen_backbone=frozen,
        report_every=report_every,
        **schedule,
    )
    recipe = Recipe(
        architecture,
        {"vocabulary": vocabulary.words},
        with_messages(job, LOSS),
        steps,
        source=f"jaxadv train captioner on {len(training)} pictures, from {origin}",
        training={**schedule, "seed": seed},
        measure=lambda _: {},
        summary=lambda _: f"trained for {steps} steps",
        record={"held_out": [p.id for p in aside], **record},
        read=len(training),
    )
    yield from train(folder, recipe)
