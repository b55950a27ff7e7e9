"""The recipe of a captioner of photographs over a frozen backbone."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import Captioner, greedy
from jaxadv.core.bleu import corpus_bleu
from jaxadv.core.cider import cider_d, document_frequencies, prepare
from jaxadv.data.records import Record
from jaxadv.progress import Progress
from jaxadv.training.captioner import (
    LOSS,
    CaptionData,
    caption_data,
    fit_likelihood,
    negative_log_likelihood,
)
from jaxadv.training.recipe import PLAIN, Recipe, Storage, Trained, hold_out, train
from jaxadv.training.self_critical import fit_decoder
from jaxadv.training.start import MORE_THAN, from_scratch, with_backbone
from jaxadv.training.views import VIEWS, see_views
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture, Params
from jaxadv.victims.nets.caption_net import CaptionNet
from jaxadv.vocabulary import tokenize

VALIDATION = 60
"""Number of training photographs that choose the step whose weights are kept."""
SELF_CRITICAL_RATE = 5e-5
IMAGE_GAIN = 5.0


class CaptionScores(NamedTuple):
    """Scores of greedy captions, as coco-caption computes them.

    Attributes:
      bleu_4: BLEU-4 of the corpus.
      cider_d: mean CIDEr-D; document frequencies are those of the references.
    """

    bleu_4: float
    cider_d: float


def scores_of(said: Sequence[Sequence[str]], photos: Sequence[Record]) -> CaptionScores:
    """Compare one caption of each photograph, as words, with those of people."""
    references = [[tuple(tokenize(c)) for c in p.captions or ()] for p in photos]
    statistics = document_frequencies(references)
    ciders = [
        cider_d(tuple(words), prepare(own, statistics), statistics)
        for words, own in zip(said, references, strict=True)
    ]
    return CaptionScores(corpus_bleu(said, references)[3], float(np.mean(ciders)))


def train_on_photos(
    folder: Path,
    architecture: CaptionerArchitecture,
    photos: Sequence[Record],
    *,
    backbone: Params,
    origin: str,
    steps: int,
    self_critical_steps: int = 0,
    held_out: int = 100,
    more_than: int = MORE_THAN,
    batch: int = 64,
    learning_rate: float = 2e-3,
    smoothing: float = 0.05,
    weight_decay: float = 1e-2,
    seed: int = 0,
    report_every: int = 50,
    storage: Storage = PLAIN,
    **record: Any,
) -> Iterator[Progress]:
    """Train a decoder over a frozen backbone and save it with its scores on held-out photographs.

    The features of a few views of each photograph are computed once (`views`). A few of the
    training photographs are set aside as a validation set. The weights with the best loss on them
    are kept, and of the self-critical steps those with the best CIDEr-D: on few photographs the
    reward rises long after captions have become worse.

    Args:
      folder: the victim's folder.
      architecture: what is trained.
      photos: photographs with captions.
      backbone: variables of a trained backbone by collection, as `load_mobilenet_v2` and
        `backbone_of` return.
      origin: the origin of the backbone, for the record.
      steps: number of optimiser steps on the likelihood.
      self_critical_steps: number of self-critical steps that follow.
      held_out: number of photographs that are not trained on; their ids are recorded.
      more_than: the vocabulary has the words that occur more often in the training captions.
      batch: number of captions in a step.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      smoothing: the share of label smoothing.
      weight_decay: weight decay of AdamW.
      seed: random seed for the initial weights, the views, the order and dropout.
      report_every: number of steps between validation losses.
      storage: how the weights are stored.
      **record: further entries of the victim's record; must be JSON.
    """
    training, aside = hold_out(photos, held_out)
    training, validation = hold_out(training, min(VALIDATION, len(training) // 2))
    captions = [c for p in training for c in p.captions or ()]
    _, vocabulary, drawn, _ = from_scratch(architecture, captions, seed, more_than)
    net = architecture.network(vocabulary.size)
    start = zoo.rounded(with_backbone(drawn, backbone), storage.stored)
    victim = architecture.captioner(vocabulary)
    ordered = [*training, *validation, *aside]
    total = len(ordered) + steps + self_critical_steps
    see = partial(jax.jit(partial(net.apply, method="see")), start)
    grids: list[np.ndarray] = []
    for some, count in ((training, VIEWS), ([*validation, *aside], 1)):
        for grid in see_views(see, some, architecture.image_shape[:2], seed, count):
            grids.append(grid)
            if len(grids) % 20 == 0 or len(grids) == len(ordered):
                yield Progress(len(grids), total, f"features of {len(grids)} photographs")
    seen = np.stack(grids[: len(training)])
    start = standardised(start, seen[:, 0].mean(axis=(1, 2), dtype=np.float32))
    tested = np.concatenate(grids[len(training) : len(training) + len(validation)])
    shown = np.concatenate(grids[len(training) + len(validation) :])
    captions_of_held_out = _speaker(victim, net, shown)

    def data(grids: np.ndarray, of: Sequence[Record], views: int | None = None) -> CaptionData:
        said = [p.captions or () for p in of]
        return caption_data(grids, said, vocabulary, architecture.max_length, views)

    schedule: dict[str, Any] = {
        "batch": batch,
        "learning_rate": learning_rate,
        "smoothing": smoothing,
        "weight_decay": weight_decay,
    }

    def fit() -> Iterator[Trained]:
        validation_loss = _mean_loss(net, victim, data(tested, validation))
        job = fit_likelihood(
            architecture,
            vocabulary,
            start,
            repeat(data(seen, training, VIEWS)),
            steps=steps,
            key=jax.random.key(seed),
            frozen_backbone=True,
            report_every=report_every,
            **schedule,
        )
        best, kept, at = np.inf, start, 0
        for report, now in job:
            loss = validation_loss(now)
            if loss < best:
                best, kept, at = loss, now, report.step
            message = f"{LOSS.format(report.loss)}, validation {loss:.3f} (best {best:.3f})"
            measures: dict[str, Any] = {"validation_loss_a_word": best}
            yield Trained(report.step, message, kept, {"steps": at}, measures)
        if self_critical_steps:
            likely = scores_of(captions_of_held_out(kept), aside)
            measures["held_out_photographs_before_self_critical"] = likely._asdict()
            references = [
                [(*tokens, 0) for c in p.captions or () if (tokens := vocabulary.encode_known(c))]
                for p in training
            ]
            watched = _speaker(victim, net, tested)
            reached = scores_of(watched(kept), validation).cider_d
            taken = 0
            tuned = fit_decoder(
                net,
                victim,
                kept,
                seen[:, 0],
                references,
                steps=self_critical_steps,
                batch=min(batch, len(references)),
                learning_rate=SELF_CRITICAL_RATE,
                key=jax.random.key(seed),
            )
            for rewards, changed in tuned:
                score = scores_of(watched(changed), validation)
                if score.cider_d > reached:
                    reached, kept, taken = score.cider_d, changed, rewards.step
                yield Trained(
                    steps + rewards.step,
                    f"{rewards.loss}, validation {score.cider_d:.3f} (best {reached:.3f})",
                    kept,
                    {"steps": at, "self_critical_steps": taken},
                    {**measures, "validation_cider_d": reached},
                )

    def measure(now: Params) -> dict[str, Any]:
        scores = scores_of(captions_of_held_out(now), aside)
        return {"held_out_photographs": {**scores._asdict(), "photographs": len(aside)}}

    def summary(record: Any) -> str:
        reached = record["measures"]["held_out_photographs"]
        return (
            f"BLEU-4 {reached['bleu_4']:.3f}, CIDEr-D {reached['cider_d']:.3f} on "
            f"{reached['photographs']} held-out photographs"
        )

    recipe = Recipe(
        architecture,
        {"vocabulary": vocabulary.words},
        fit(),
        steps + self_critical_steps,
        source=f"jaxadv train captioner on photographs, backbone {origin}, seed {seed}",
        training={
            "photographs": len(training),
            **schedule,
            "self_critical_steps": self_critical_steps,
            "seed": seed,
        },
        measure=measure,
        summary=summary,
        record={"held_out": [p.id for p in aside], **record},
        read=len(ordered),
        storage=storage,
    )
    yield from train(folder, recipe)


def standardised(variables: Params, pooled: np.ndarray, gain: float = IMAGE_GAIN) -> Params:
    """Initialise the layer that embeds a pooled picture, so that pictures differ at the start.

    The means of a ReLU network's grids are nearly the same for all pictures. A decoder that sees
    nothing else learns to write one sentence for all of them before it learns to look.

    Args:
      variables: initial variables of a captioner; returned as they are without such a layer.
      pooled: f32[n, C], the mean of each training photograph's grid.
      gain: standard deviation of the embedded pictures, for a layer that keeps it.

    Returns:
      The variables, with a layer that centres and scales each feature.
    """
    decoder = variables["params"]["decoder"]
    layer = decoder.get("img_embed", {})
    if "bias" not in layer:
        return variables
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-3
    kernel = gain * layer["kernel"] / spread[:, None]
    embedded = {"kernel": kernel, "bias": -mean @ kernel}
    params = {**variables["params"], "decoder": {**decoder, "img_embed": embedded}}
    return {**variables, "params": params}


def _speaker(
    victim: Captioner, net: CaptionNet, grids: np.ndarray
) -> Callable[[Any], list[tuple[str, ...]]]:
    """Return a function from variables to the words of the greedy caption of each grid."""

    @jax.jit
    def speak(variables: Any, grids: Array) -> Array:
        def one(grid: Array) -> Array:
            features = net.apply(variables, grid, method="prepare")
            return greedy(victim, variables, features).tokens

        return jax.vmap(one)(grids.astype(jnp.float32))

    def captions(variables: Any) -> list[tuple[str, ...]]:
        some = [speak(variables, grids[i : i + 50]) for i in range(0, len(grids), 50)]
        decode = victim.vocabulary.decode
        return [tuple(tokenize(decode(own))) for own in np.concatenate(some)]

    return captions


def _mean_loss(net: CaptionNet, victim: Captioner, data: CaptionData) -> Callable[[Any], float]:
    """Return a function that computes the mean loss a word over some captions."""

    @jax.jit
    def mean(variables: Any, grids: Array, tokens: Array) -> Array:
        def one(grid: Array, tokens: Array) -> Array:
            features = net.apply(variables, grid.astype(jnp.float32), method="prepare")
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
