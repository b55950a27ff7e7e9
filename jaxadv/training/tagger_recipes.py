"""How the project's own taggers are made: on crowded scenes.

A recipe is a generator of progress that ends by saving the victim with what it can do.
"""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.data import scenes
from jaxadv.data.example import Example
from jaxadv.metrics.ranking import mean_average_precision
from jaxadv.training.classifier import LabelData, fit_labels
from jaxadv.training.recipes import Progress
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture, Params
from jaxadv.victims.classifier import MultiLabelClassifier


def scene_precision(victim: MultiLabelClassifier, params: Params, count: int = 1000) -> float:
    """Mean average precision over `count` held-out crowded scenes."""
    score = jax.jit(jax.vmap(victim.logits, in_axes=(None, 0)))
    scores, labels = [], []
    for start in range(0, count, 100):
        some = range(start, min(start + 100, count))
        data = _label_data([scenes.crowd(scenes.HELD_OUT_SEED, index) for index in some])
        scores.append(score(params, jnp.asarray(data.pictures, jnp.float32) / 255))
        labels.append(jnp.asarray(data.labels))
    return float(mean_average_precision(jnp.concatenate(scores), jnp.concatenate(labels)))


def _label_data(examples: list[Example]) -> LabelData:
    pictures = np.stack([e.picture for e in examples])
    labels = np.stack([e.labels for e in examples if e.labels is not None])
    return LabelData(np.round(255 * pictures).astype(np.uint8), labels)


def train_tagger_on_scenes(
    folder: Path,
    architecture: ClassifierArchitecture,
    *,
    steps: int,
    batch: int = 64,
    learning_rate: float = 3e-3,
    seed: int = 0,
    per_epoch: int = 5000,
    passes: int = 8,
) -> Iterator[Progress]:
    """Train a tagger on crowded scenes and save it with its held-out mean average precision.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      steps: optimiser steps.
      batch: pictures a step.
      learning_rate: at the start of the cosine.
      seed: of the initial weights, the order and the mirroring.
      per_epoch: scenes drawn at a time.
      passes: over them, before new ones are drawn.
    """
    net = architecture.network(len(scenes.LABELS))
    key = jax.random.key(seed)
    variables = jax.jit(net.init)(key, jnp.zeros(architecture.image_shape))

    def epoch(number: int) -> LabelData:
        drawn = range(number * per_epoch, (number + 1) * per_epoch)
        return _label_data([scenes.crowd(scenes.TRAINING_SEED, index) for index in drawn])

    yield Progress(0, steps, "drawing scenes")
    fit = fit_labels(
        net,
        variables,
        epoch,
        steps=steps,
        passes=passes,
        batch=batch,
        learning_rate=learning_rate,
        key=key,
    )
    for report, now in fit:
        variables = now
        yield Progress(report.step, steps, f"loss {report.loss:.4f} a label")
    names = {"classes": scenes.LABELS}
    reached = scene_precision(architecture.functions(names), variables)
    zoo.save(
        folder,
        architecture,
        names,
        variables,
        source=f"jaxadv train classifier --data scenes, seed {seed}",
        training={"steps": steps, "batch": batch, "learning_rate": learning_rate},
        measures={"held_out_scenes": {"mean_average_precision": reached}},
    )
    yield Progress(steps, steps, f"mean average precision {reached:.3f} on held-out scenes")
