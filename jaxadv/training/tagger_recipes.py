"""Recipes of taggers: on crowded scenes, and on photographs, the head alone or all layers.

The functions that train yield their progress.
"""

from collections.abc import Generator, Iterator
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data import scenes
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import DataSet, label_matrix
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.metrics import mean_average_precision
from jaxadv.progress import Progress
from jaxadv.training.classifier import LabelData, fit_head, fit_labels
from jaxadv.training.fit import Report
from jaxadv.training.optimisers import Optimiser, adam, constant
from jaxadv.training.recipe import PLAIN, Recipe, Storage, hold_out, train, with_messages
from jaxadv.training.start import with_backbone
from jaxadv.training.views import SEEN_TOGETHER, see_views
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture, Params
from jaxadv.victims.nets.classifier_net import ClassifierNet

LOSS = "loss {:.4f} a label"


def scene_precision(victim: MultiLabelClassifier, params: Params, count: int = 1000) -> float:
    """Return the mean average precision on `count` held-out crowded scenes."""
    score = jax.jit(jax.vmap(victim.logits, in_axes=(None, 0)))
    scores, labels = [], []
    for start in range(0, count, 100):
        data = _crowds(scenes.HELD_OUT_SEED, range(start, min(start + 100, count)))
        scores.append(score(params, jnp.asarray(data.pictures, jnp.float32) / 255))
        labels.append(jnp.asarray(data.labels))
    return float(mean_average_precision(jnp.concatenate(scores), jnp.concatenate(labels)))


def _crowds(seed: int, indices: range) -> LabelData:
    examples = [scenes.crowd(seed, index) for index in indices]
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
      folder: the victim's folder.
      architecture: what is trained.
      steps: number of optimiser steps.
      batch: number of pictures in a step.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      seed: random seed for the initial weights, the order and the mirroring.
      per_epoch: number of scenes generated at a time.
      passes: number of passes over them.
    """
    names = {"classes": scenes.LABELS}
    net, victim = architecture.network(len(scenes.LABELS)), architecture.functions(names)
    key = jax.random.key(seed)
    yield Progress(0, steps, "drawing scenes")
    job = fit_labels(
        net,
        jax.jit(net.init)(key, jnp.zeros(architecture.image_shape)),
        (
            _crowds(scenes.TRAINING_SEED, range(first, first + per_epoch))
            for first in count(0, per_epoch)
        ),
        steps=steps,
        passes=passes,
        batch=batch,
        optimiser=adam(learning_rate, steps),
        key=key,
    )

    def measure(now: Params) -> dict[str, Any]:
        return {"held_out_scenes": {"mean_average_precision": scene_precision(victim, now)}}

    def summary(record: Any) -> str:
        reached = record["measures"]["held_out_scenes"]["mean_average_precision"]
        return f"mean average precision {reached:.3f} on held-out scenes"

    recipe = Recipe(
        architecture,
        names,
        with_messages(job, LOSS),
        steps,
        source=f"jaxadv train classifier --data scenes, seed {seed}",
        training={"steps": steps, "batch": batch, "learning_rate": learning_rate},
        measure=measure,
        summary=summary,
    )
    yield from train(folder, recipe)


# ---------------------------------------------------------------- photographs


class Schedule(NamedTuple):
    """How all layers of a tagger are trained (TkMIA's Table 5, which does not state the epochs).

    Attributes:
      optimiser: "adam" (COCO and NUS-WIDE), or "sgd" with momentum 0.9 (VOC).
      batch: number of photographs in a step; 32 for VOC, 128 for COCO, 64 for NUS-WIDE.
      learning_rate: constant learning rate.
      weight_decay: weight decay, which is added to the gradient.
    """

    optimiser: Optimiser = "adam"
    batch: int = 64
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4


HEAD: dict[str, Any] = {"batch": 64, "learning_rate": 1e-3, "weight_decay": 1.0}
AT_A_TIME = 1024  # photographs in memory, where all layers are trained


def train_tagger_on_photos(
    folder: Path,
    architecture: ClassifierArchitecture,
    data: DataSet,
    start: Params,
    *,
    origin: str,
    steps: int,
    schedule: Schedule | None = None,
    held_out: int = 100,
    seed: int = 0,
    storage: Storage = PLAIN,
) -> Iterator[Progress]:
    """Train a tagger on photographs and save it with its held-out mean average precision.

    Args:
      folder: the victim's folder.
      architecture: what is trained, with any side that the backbone takes.
      data: photographs with labels, and their classes.
      start: variables of a trained backbone by collection ("params", and "batch_stats" if it has
        any), as `load_mobilenet_v2` and `backbone_of` return.
      origin: the origin of the backbone, for the record.
      steps: number of optimiser steps.
      schedule: how all layers are trained. If None, the backbone is frozen, and the head is
        trained on the features of a few views of each photograph, computed once.
      held_out: number of photographs that are not trained on; their ids are recorded.
      seed: random seed for the head's initial weights, the views and the order.
      storage: how the weights are stored.
    """
    photos = data._replace(records=tuple(sorted(data.records, key=lambda p: p.id)))
    training, aside = (
        data._replace(records=tuple(some)) for some in hold_out(photos.records, held_out)
    )
    classes, shape = data.classes or (), architecture.image_shape
    net, key = architecture.network(len(classes)), jax.random.key(seed)
    variables = with_backbone(jax.jit(net.init)(key, jnp.zeros(shape)), start)
    variables = zoo.rounded(variables, storage.stored)
    if schedule is None:
        features = yield from _features(net, variables, photos, shape, steps, seed)
        job = _fit_head(net, variables, training, features, steps, key)
        shown = np.stack([features[p.id][0] for p in aside.records])
    else:
        yield Progress(0, steps, f"reading {min(AT_A_TIME, len(training.records))} photographs")
        job = fit_labels(
            net,
            variables,
            _parts(training, shape, seed),
            steps=steps,
            passes=1,
            batch=schedule.batch,
            optimiser=constant(schedule.optimiser, schedule.learning_rate, schedule.weight_decay),
            key=key,
            report_every=10,
        )

    def measure(now: Params) -> dict[str, Any]:
        if schedule is None:
            logits = jnp.asarray(net.apply(now, shown, method="read"))
        else:
            score, pictures = jax.jit(net.apply), read_pictures(aside.records, shape[:2])
            logits = jnp.stack([score(now, jnp.asarray(picture)) for picture in pictures])
        truth = label_matrix(aside)
        there = truth.any(axis=0)
        reached = float(mean_average_precision(logits[:, there], jnp.asarray(truth[:, there])))
        found = {"photographs": len(aside.records), "classes": int(there.sum())}
        return {"held_out_photographs": {"mean_average_precision": reached, **found}}

    def summary(record: Any) -> str:
        reached = record["measures"]["held_out_photographs"]
        return (
            f"mean average precision {reached['mean_average_precision']:.3f} on "
            f"{reached['photographs']} held-out photographs, over the {reached['classes']} classes "
            "that they show"
        )

    how = " on photographs" if schedule is None else ", all layers"
    recipe = Recipe(
        architecture,
        {"classes": classes},
        with_messages(job, LOSS),
        steps,
        source=f"jaxadv train classifier{how}, backbone {origin}, seed {seed}",
        training={
            "photographs": len(training.records),
            "steps": steps,
            **(HEAD if schedule is None else schedule._asdict()),
        },
        measure=measure,
        summary=summary,
        record={"held_out": [p.id for p in aside.records]},
        read=len(photos.records) if schedule is None else 0,
        storage=storage,
    )
    yield from train(folder, recipe)


def _features(
    net: ClassifierNet,
    variables: Params,
    data: DataSet,
    shape: tuple[int, int, int],
    steps: int,
    seed: int,
) -> Generator[Progress, None, dict[str, np.ndarray]]:
    """Return the features [VIEWS, ...] of the views of each photograph, by id."""
    see = partial(jax.jit(partial(net.apply, method="see")), variables)
    features: dict[str, np.ndarray] = {}
    total = len(data.records)
    for photo, seen in zip(
        data.records, see_views(see, data.records, shape[:2], seed), strict=True
    ):
        features[photo.id] = seen.astype(np.float32)
        if len(features) % SEEN_TOGETHER == 0 or len(features) == total:
            message = f"features of {len(features)} photographs"
            yield Progress(len(features), total + steps, message)
    return features


def _fit_head(
    net: ClassifierNet,
    variables: Params,
    data: DataSet,
    features: dict[str, np.ndarray],
    steps: int,
    key: Array,
) -> Iterator[tuple[Report, Params]]:
    """Train the head; yield the variables of the whole network."""

    def whole(head: Any) -> Params:
        return {**variables, "params": {**variables["params"], **head}}

    def read(head: Any, feature: Array) -> Array:
        return jnp.asarray(net.apply(whole(head), feature, method="read"))

    job = fit_head(
        {name: part for name, part in variables["params"].items() if name != "backbone"},
        read,
        np.stack([features[p.id] for p in data.records]),
        label_matrix(data),
        steps=steps,
        key=key,
        **HEAD,
    )
    return ((report, whole(head)) for report, head in job)


def _parts(data: DataSet, shape: tuple[int, int, int], seed: int) -> Iterator[LabelData]:
    """Read as many photographs as fit in memory at a time, endlessly, in random order."""
    rng, total = np.random.default_rng(seed), len(data.records)
    while True:
        order = rng.permutation(total)
        for first in range(0, total, AT_A_TIME):
            some = tuple(data.records[row] for row in order[first : first + AT_A_TIME])
            pictures = np.empty((len(some), *shape), np.uint8)
            for row, picture in enumerate(read_pictures(some, shape[:2])):
                pictures[row] = np.round(255 * picture)
            part = LabelData(pictures, label_matrix(data._replace(records=some)))
            yield from repeat(part) if total <= AT_A_TIME else (part,)
