"""How the project's own taggers are made: on crowded scenes, and on photographs over a backbone.

A recipe is a generator of progress that ends by saving the victim with what it can do.
"""

from collections.abc import Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data import scenes
from jaxadv.data.example import Example
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import DataSet, Record, label_matrix
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.metrics import mean_average_precision
from jaxadv.training.classifier import LabelData, fit_head, fit_labels
from jaxadv.training.optimisers import Optimiser, adam, constant
from jaxadv.training.recipes import Progress, hold_out
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture, Params, VictimError


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
        optimiser=adam(learning_rate, steps),
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


# ---------------------------------------------------------------- photographs


def backbone_of(victim: zoo.Victim, wanted: str | None = None) -> tuple[str, Params]:
    """Return the name of a victim's backbone and its variables by kind.

    Raises:
      VictimError: the victim has another backbone than the wanted one.
    """
    name = str(getattr(victim.architecture, "backbone", "none"))
    if wanted not in (None, name):
        raise VictimError(f"victim {victim.name!r} has the backbone {name}, not {wanted}")
    return name, {k: part["backbone"] for k, part in victim.params.items() if "backbone" in part}


def train_tagger_on_photos(
    folder: Path,
    architecture: ClassifierArchitecture,
    data: DataSet,
    backbone: Params,
    *,
    source: str,
    steps: int,
    held_out: int = 100,
    batch: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 1.0,
    seed: int = 0,
    at_once: int = 8,
) -> Iterator[Progress]:
    """Train the linear head of a tagger over a frozen backbone; save it with its held-out mAP.

    Features, of each photograph and of its mirror image, are computed once. The held-out
    photographs have no say in the training.

    Args:
      folder: where the victim goes.
      architecture: what to train, at any side that the backbone takes.
      data: photographs with labels, and their classes.
      backbone: its variables by kind ("params", and "batch_stats" where it has them), such as
        `load_mobilenet_v2` and `backbone_of` give; what the tagger does not use is left aside.
      source: of the backbone, for the record.
      steps: optimiser steps.
      held_out: photographs that are never trained on; their ids go into the record.
      batch: photographs a step.
      learning_rate: at the start of the cosine.
      weight_decay: of the head.
      seed: of the head's initial weights and of the order.
      at_once: photographs that the backbone sees together.
    """
    photos = sorted(data.records, key=lambda p: p.id)
    classes = data.classes or ()
    training, aside = hold_out(photos, held_out)
    net = architecture.network(len(classes))
    key = jax.random.key(seed)
    variables = _over(backbone, jax.jit(net.init)(key, jnp.zeros(architecture.image_shape)))
    total = len(photos) + steps
    see = jax.jit(partial(net.apply, method="see"))
    features: dict[str, np.ndarray] = {}
    pictures = read_pictures(photos, architecture.image_shape[:2])
    for start in range(0, len(photos), at_once):
        some = photos[start : start + at_once]
        shown = list(islice(pictures, len(some)))
        both = np.stack([*shown, *(picture[:, ::-1] for picture in shown)])
        seen = np.asarray(see(variables, both)).reshape(2, len(some), -1)
        features |= {p.id: seen[:, i] for i, p in enumerate(some)}
        yield Progress(len(features), total, f"features of {len(features)} photographs")

    def of(some: list[Record]) -> np.ndarray:
        return np.stack([features[p.id] for p in some])

    def read(head: Any, feature: Array) -> Array:
        params = {**variables, "params": {**variables["params"], **head}}
        return jnp.asarray(net.apply(params, feature, method="read"))

    fit = fit_head(
        {"fc": variables["params"]["fc"]},
        read,
        of(training),
        label_matrix(data._replace(records=tuple(training))),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        key=key,
    )
    for report, now in fit:
        variables = {**variables, "params": {**variables["params"], **now}}
        yield Progress(len(photos) + report.step, total, f"loss {report.loss:.4f} a label")
    logits = jnp.asarray(net.apply(variables, of(aside)[:, 0], method="read"))
    about: dict[str, Any] = {"photographs": len(training), "steps": steps, "batch": batch}
    about |= {"learning_rate": learning_rate, "weight_decay": weight_decay}
    news = _save(
        folder,
        architecture,
        data._replace(records=tuple(aside)),
        variables,
        logits,
        source=f"jaxadv train classifier on photographs, backbone {source}, seed {seed}",
        training=about,
    )
    yield Progress(total, total, news)


def _over(backbone: Params, variables: Params) -> Params:
    """Put a backbone's variables in the place of a network's own."""
    return {
        kind: {**part, "backbone": {name: backbone[kind][name] for name in part["backbone"]}}
        if "backbone" in part
        else part
        for kind, part in variables.items()
    }


def _save(
    folder: Path,
    architecture: ClassifierArchitecture,
    held_out: DataSet,
    variables: Params,
    logits: Array,
    **about: Any,
) -> str:
    """Save a tagger with its precision on held-out photographs, of which these are the logits."""
    truth = label_matrix(held_out)
    there = truth.any(axis=0)
    reached = float(mean_average_precision(logits[:, there], jnp.asarray(truth[:, there])))
    count, classes = len(held_out.records), int(there.sum())
    found = {"mean_average_precision": reached, "photographs": count, "classes": classes}
    zoo.save(
        folder,
        architecture,
        {"classes": held_out.classes or ()},
        variables,
        measures={"held_out_photographs": found},
        held_out=[p.id for p in held_out.records],
        **about,
    )
    news = f"mean average precision {reached:.3f} on {count} held-out photographs"
    return f"{news}, over the {classes} classes that they show"


class Schedule(NamedTuple):
    """How all layers of a tagger are fitted (TkMIA's Table 5; epochs are not given there).

    Attributes:
      optimiser: "adam" (COCO and NUS-WIDE), or "sgd" with momentum 0.9 (VOC).
      batch: photographs a step; 32 for VOC, 128 for COCO, 64 for NUS-WIDE.
      learning_rate: constant.
      weight_decay: added to the gradient.
    """

    optimiser: Optimiser = "adam"
    batch: int = 64
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4


PAPERS_SCHEDULE = Schedule()
AT_A_TIME = 1024  # photographs in memory


def train_all_layers_on_photos(
    folder: Path,
    architecture: ClassifierArchitecture,
    data: DataSet,
    backbone: Params,
    *,
    source: str,
    steps: int,
    schedule: Schedule = PAPERS_SCHEDULE,
    held_out: int = 100,
    seed: int = 0,
) -> Iterator[Progress]:
    """Train a tagger on photographs, all layers of its backbone included; save it with its mAP.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      data: photographs with labels, and their classes.
      backbone: where its backbone begins, as for `train_tagger_on_photos`.
      source: of the backbone, for the record.
      steps: optimiser steps.
      schedule: optimiser, batch and rates.
      held_out: photographs that are never trained on; their ids go into the record.
      seed: of the head's initial weights, the order and the mirroring.
    """
    photos = sorted(data.records, key=lambda p: p.id)
    training, aside = hold_out(photos, held_out)
    net = architecture.network(len(data.classes or ()))
    key, shape = jax.random.key(seed), architecture.image_shape
    variables = _over(backbone, jax.jit(net.init)(key, jnp.zeros(shape)))
    order = np.random.default_rng(seed)
    waiting: list[Record] = []

    def next_part() -> LabelData:
        if not waiting:
            waiting.extend(training[row] for row in order.permutation(len(training)))
        some, waiting[:AT_A_TIME] = waiting[:AT_A_TIME], []
        return _photo_data(data, some, shape)

    whole = len(training) <= AT_A_TIME
    read = cache(next_part) if whole else next_part
    yield Progress(0, steps, f"reading {min(AT_A_TIME, len(training))} photographs")
    fit = fit_labels(
        net,
        variables,
        lambda _: read(),
        steps=steps,
        passes=1,
        batch=schedule.batch,
        optimiser=constant(schedule.optimiser, schedule.learning_rate, schedule.weight_decay),
        key=key,
        report_every=10,
    )
    for report, now in fit:
        variables = now
        yield Progress(report.step, steps, f"loss {report.loss:.4f} a label")
    score = jax.jit(net.apply)
    pictures = read_pictures(aside, shape[:2])
    logits = jnp.stack([score(variables, jnp.asarray(picture)) for picture in pictures])
    news = _save(
        folder,
        architecture,
        data._replace(records=tuple(aside)),
        variables,
        logits,
        source=f"jaxadv train classifier, all layers, backbone {source}, seed {seed}",
        training={"photographs": len(training), "steps": steps, **schedule._asdict()},
    )
    yield Progress(steps, steps, news)


def _photo_data(data: DataSet, records: list[Record], shape: tuple[int, int, int]) -> LabelData:
    """Read photographs as 8-bit pictures."""
    pictures = np.empty((len(records), *shape), np.uint8)
    for row, picture in enumerate(read_pictures(records, shape[:2])):
        pictures[row] = np.round(255 * picture)
    return LabelData(pictures, label_matrix(data._replace(records=tuple(records))))
