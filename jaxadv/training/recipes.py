"""How the project's own captioners are made: on scenes, and on photographs over a frozen backbone.

Each recipe is a generator of progress that ends by saving the victim with what it can do.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import Captioner, Params, greedy
from jaxadv.captions.scene_match import Match, match
from jaxadv.data import scenes
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import FolderError, Record
from jaxadv.training.captioner import (
    CaptionData,
    caption_data,
    fit_likelihood,
    negative_log_likelihood,
)
from jaxadv.training.self_critical import fit_self_critical
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import CaptionNet, initial_variables
from jaxadv.victims.nets.mobilenet_v2 import load_mobilenet_v2
from jaxadv.vocabulary import Vocabulary, build_vocabulary


class Progress(NamedTuple):
    """One line of news: how far, and what was measured."""

    done: int
    total: int
    message: str


# ---------------------------------------------------------------- scenes


class SceneAccuracy(NamedTuple):
    """Share of held-out scenes whose greedy caption says each part right (`scene_match`)."""

    colour: float
    shape: float
    relation: float
    everything: float


def scene_accuracy(victim: Captioner, params: Params, count: int = 1000) -> SceneAccuracy:
    """Caption `count` held-out scenes and compare with what they show."""
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
) -> Callable[[int], CaptionData]:
    """Draw an epoch's scenes; with a curriculum, at first of one object, then of at most two."""

    def epoch(number: int) -> CaptionData:
        most = min(3, 1 + number // 2) if curriculum else 3
        first = number * per_epoch
        drawn = [
            scenes.example(scenes.TRAINING_SEED, index, things=(1, most))
            for index in range(first, first + per_epoch)
        ]
        pictures = np.stack([e.picture for e in drawn])
        return caption_data(pictures, [e.captions or () for e in drawn], vocabulary, max_length)

    return epoch


def train_on_scenes(
    folder: Path,
    architecture: CaptionerArchitecture,
    *,
    steps: int,
    self_critical_steps: int = 0,
    backbone_from: str | None = None,
    curriculum: bool = False,
    batch: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    per_epoch: int = 6000,
) -> Iterator[Progress]:
    """Train a captioner on freshly drawn scenes and save it with its held-out accuracy.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      steps: optimiser steps on the likelihood.
      self_critical_steps: then so many of self-critical training, for SCST's victim.
      backbone_from: a victim whose backbone's layers to start from (the papers' victims share
        one, too).
      curriculum: begin with scenes of one object, then of at most two (Show-and-Tell, which sees
        only the mean of the grid, learns nothing of the objects otherwise).
      batch: captions a step.
      learning_rate: at the start of the cosine.
      seed: of the initial weights, the order and the samples.
      per_epoch: scenes drawn at a time.
    """
    vocabulary = scenes.vocabulary()
    net = architecture.network(vocabulary.size)
    victim = architecture.captioner(vocabulary)
    key = jax.random.key(seed)
    variables = initial_variables(net, architecture.image_shape, key)
    if backbone_from is not None:
        variables = _with_backbone(variables, zoo.load(backbone_from).params)
    total = steps + self_critical_steps
    fit = fit_likelihood(
        net,
        variables,
        _scene_epochs(vocabulary, architecture.max_length, per_epoch, curriculum),
        vocabulary=vocabulary,
        max_length=architecture.max_length,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        key=key,
    )
    for report, now in fit:
        variables = now
        yield Progress(report.step, total, f"loss {report.loss:.3f} a word")
    before = scene_accuracy(victim, variables)
    measures: dict[str, Any] = {"held_out_scenes": before._asdict()}
    if self_critical_steps:
        yield Progress(steps, total, f"{before.everything:.3f} right before CIDEr-D")
        tuned = _self_critical_on_scenes(
            net, victim, variables, self_critical_steps, key, batch, per_epoch
        )
        for message, now in tuned:
            variables = now
            yield Progress(steps + message.done, total, message.message)
        measures = {
            "held_out_scenes_before_self_critical": before._asdict(),
            "held_out_scenes": scene_accuracy(victim, variables)._asdict(),
        }
    zoo.save(
        folder,
        architecture,
        {"vocabulary": vocabulary.words},
        variables,
        source=f"jaxadv train captioner --data scenes, seed {seed}",
        training={
            "steps": steps,
            "self_critical_steps": self_critical_steps,
            "backbone_from": backbone_from,
            "curriculum": curriculum,
            "batch": batch,
            "learning_rate": learning_rate,
        },
        measures=measures,
    )
    reached = measures["held_out_scenes"]
    yield Progress(total, total, ", ".join(f"{k} {v:.3f}" for k, v in reached.items()))


def _with_backbone(variables: Any, other: Any) -> Any:
    """Take over another victim's backbone, layer by layer where the names agree."""
    return {
        name: {**part, "backbone": {**part["backbone"], **other[name]["backbone"]}}
        if "backbone" in part
        else part
        for name, part in variables.items()
    }


def _self_critical_on_scenes(
    net: CaptionNet,
    victim: Captioner,
    variables: Any,
    steps: int,
    key: Array,
    batch: int,
    per_epoch: int,
) -> Iterator[tuple[Progress, Any]]:
    """Fine-tune the decoder; `variables` keep their backbone."""
    drawn = list(scenes.examples(scenes.TRAINING_SEED, per_epoch))
    grids = compute_grids(net, variables, np.stack([e.picture for e in drawn]))
    references = [[(*victim.vocabulary.encode(c), 0) for c in e.captions or ()] for e in drawn]
    frozen = {k: v for k, v in variables["params"].items() if k != "decoder"}

    def whole(decoder: Any) -> Any:
        return {**variables, "params": {**frozen, "decoder": decoder}}

    # the grid stands in for the features, since `prepare` has parameters that are fitted, too;
    # what it made of the grid travels with the state
    def begin(decoder: Any, grid: Array) -> tuple[Any, Any]:
        params = whole(decoder)
        features = net.apply(params, grid, method="prepare")
        return features, victim.begin(params, features)

    def advance(decoder: Any, grid: Array, carried: Any, token: Array) -> tuple[Any, Any]:
        features, state = carried
        return features, victim.advance(whole(decoder), features, state, token)

    def logits(decoder: Any, carried: Any) -> Array:
        return victim.logits(whole(decoder), carried[1])

    decoder_victim = victim._replace(begin=begin, advance=advance, logits=logits)
    fit = fit_self_critical(
        decoder_victim,
        variables["params"]["decoder"],
        jnp.asarray(grids),
        references,
        steps=steps,
        batch=batch,
        learning_rate=1e-4,
        key=key,
    )
    for report, decoder in fit:
        news = f"CIDEr-D: sampled {report.sampled:.3f}, greedy {report.greedy:.3f}"
        yield Progress(report.step, steps, news), whole(decoder)


# ---------------------------------------------------------------- photographs


def compute_grids(
    net: CaptionNet, variables: Any, images: np.ndarray, batch: int = 20
) -> np.ndarray:
    """Run the frozen backbone over pictures, a few at a time; f32[n, h, w, C]."""
    see = jax.jit(partial(net.apply, method="see"))
    return np.concatenate(
        [np.asarray(see(variables, images[i : i + batch])) for i in range(0, len(images), batch)]
    )


def hold_out(
    photos: Sequence[Record], count: int, before: Collection[str] = ()
) -> tuple[list[Record], list[Record]]:
    """Part photographs into those to train on and `count` to keep aside; the same each time.

    Those whose ids are in `before`, held out by earlier training, are kept aside instead.
    """
    if any(photo.id in before for photo in photos):
        known = set(before)
        return [p for p in photos if p.id not in known], [p for p in photos if p.id in known]
    if count >= len(photos):
        raise FolderError(f"{len(photos)} photographs: cannot hold out {count} of them")
    order = np.random.default_rng(scenes.HELD_OUT_SEED).permutation(len(photos))
    return [photos[i] for i in order[count:]], [photos[i] for i in sorted(order[:count])]


def train_on_photos(
    folder: Path,
    architecture: CaptionerArchitecture,
    photos: Sequence[Record],
    *,
    backbone_weights: Path,
    steps: int,
    held_out: int = 100,
    more_than: int = 4,
    batch: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    report_every: int = 50,
    **record: Any,
) -> Iterator[Progress]:
    """Train a decoder over a frozen MobileNetV2, keep the weights of the best held-out loss.

    Features are computed once.

    Args:
      folder: where the victim goes.
      architecture: what to train; its backbone is `mobilenet-v2`.
      photos: photographs with captions.
      backbone_weights: the backbone's `.npz`.
      steps: optimiser steps.
      held_out: photographs that are never trained on; their ids go into the record.
      more_than: a word is in the vocabulary if the training captions say it more often than this.
      batch: captions a step.
      learning_rate: at the start of the cosine.
      seed: of the initial weights, the order and dropout.
      report_every: steps between held-out losses.
      **record: what else the victim's record shall say; must be JSON.
    """
    training, aside = hold_out(photos, held_out)
    vocabulary = build_vocabulary([c for p in training for c in p.captions or ()], more_than)
    net = architecture.network(vocabulary.size)
    victim = architecture.captioner(vocabulary)
    key = jax.random.key(seed)
    given = load_mobilenet_v2(backbone_weights)["params"]
    variables = initial_variables(net, architecture.image_shape, key)
    params = variables["params"]  # the file's classifier is not part of a captioner
    variables = {"params": {**params, "backbone": {n: given[n] for n in params["backbone"]}}}

    total = len(photos) + steps
    grids: dict[str, np.ndarray] = {}
    pictures = read_pictures(photos, architecture.image_shape[:2])
    for i in range(0, len(photos), 20):
        some = photos[i : i + 20]
        seen = compute_grids(net, variables, np.stack(list(islice(pictures, len(some)))))
        grids |= {p.id: grid for p, grid in zip(some, seen, strict=True)}
        yield Progress(len(grids), total, f"features of {len(grids)} photographs")

    def data(of: Sequence[Record]) -> CaptionData:
        stacked = np.stack([grids[p.id] for p in of])
        return caption_data(
            stacked, [p.captions or () for p in of], vocabulary, architecture.max_length
        )

    held_out_loss = _held_out_loss(net, victim, data(aside))
    best, best_variables, best_step = np.inf, variables, 0
    fit = fit_likelihood(
        net,
        variables,
        cache(lambda _: data(training)),
        vocabulary=vocabulary,
        max_length=architecture.max_length,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        key=key,
        frozen_backbone=True,
        report_every=report_every,
    )
    for report, now in fit:
        loss = held_out_loss(now)
        if loss < best:
            best, best_variables, best_step = loss, now, report.step
        news = f"loss {report.loss:.3f} a word, held out {loss:.3f} (best {best:.3f})"
        yield Progress(len(photos) + report.step, total, news)
    zoo.save(
        folder,
        architecture,
        {"vocabulary": vocabulary.words},
        best_variables,
        source="jaxadv train captioner on photographs, backbone MobileNetV2 1.0 224 (ImageNet)",
        training={"steps": best_step, "batch": batch, "learning_rate": learning_rate, "seed": seed},
        measures={"held_out_loss_a_word": best},
        held_out=[p.id for p in aside],
        **record,
    )
    yield Progress(total, total, f"best held-out loss {best:.3f} at step {best_step}")


def _held_out_loss(net: CaptionNet, victim: Captioner, data: CaptionData) -> Callable[[Any], float]:
    @jax.jit
    def mean(variables: Any, grids: Array, tokens: Array) -> Array:
        def one(grid: Array, tokens: Array) -> Array:
            features = net.apply(variables, grid, method="prepare")
            return negative_log_likelihood(victim, variables, features, tokens)

        return jax.vmap(one)(grids, tokens).mean()

    def loss(variables: Any) -> float:
        parts = np.array_split(np.arange(len(data.captions)), max(1, len(data.captions) // 100))
        sums = [
            float(mean(variables, data.inputs[data.owner[p]], data.captions[p])) * len(p)
            for p in parts
        ]
        return sum(sums) / len(data.captions)

    return loss
