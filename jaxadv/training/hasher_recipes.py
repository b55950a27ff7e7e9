"""Recipes of hashers: on scenes, and on data sets of pictures with tags or captions.

The functions that train yield their progress.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.data import scenes
from jaxadv.data.pairs import (
    SCENE_CLASSES,
    SCENE_TAGS,
    Pairs,
    PairsError,
    as_examples,
    check_pairs,
    join,
    scene_pairs,
    take,
)
from jaxadv.data.records import DataSet
from jaxadv.data.set_pairs import caption_tags, feature_width, label_by_captions, set_pairs
from jaxadv.hashing.cmla import Known
from jaxadv.hashing.metrics import HAMMING, Comparison, effective_dimensions, retrieval
from jaxadv.hashing.similarity import comparison
from jaxadv.progress import Progress
from jaxadv.training import dcmh, ssah
from jaxadv.training.adversarial_pairs import adversarial_pairs
from jaxadv.training.dual_encoder import fit_dual_encoder
from jaxadv.training.fit import Report
from jaxadv.training.recipe import PLAIN, Recipe, Storage, train, with_messages
from jaxadv.training.start import begin_from, begin_from_features
from jaxadv.victims import zoo
from jaxadv.victims.architectures import HasherArchitecture, Names, Params, VictimError
from jaxadv.victims.nets.hash_net import HashNet, initial_variables
from jaxadv.victims.zoo import Victim

BITS = (16, 32, 48, 64)
FROZEN = "mobilenet-v2"  # the backbone that is not trained
SCENE_NAMES: Names = {"tags": SCENE_TAGS, "classes": SCENE_CLASSES}
# Adam's steps do not shrink with the gradient. With a weight of 1, a bit whose balance is computed
# from remembered codes would swing from one side to the other.
DCMH_WEIGHTS = dcmh.Weights(balance=0.01)


def hash_pairs(net: HashNet, variables: Any, pairs: Pairs, batch: int = 200) -> tuple[Array, Array]:
    """Return the codes f32[n, K] of pictures and of texts, before the sign."""
    starts = range(0, len(pairs.ids), batch)
    images = [_code(net, "image_code", variables, pairs.pictures[i : i + batch]) for i in starts]
    texts = [_code(net, "text_code", variables, pairs.texts[i : i + batch]) for i in starts]
    return jnp.concatenate(images), jnp.concatenate(texts)


@partial(jax.jit, static_argnames=("net", "method"))
def _code(net: HashNet, method: str, variables: Any, examples: Array) -> Any:
    return net.apply(variables, as_examples(examples), method=method)


class MeanAveragePrecision(NamedTuple):
    """MAP over the full ranking, with pictures as queries for texts and vice versa."""

    image_to_text: float
    text_to_image: float


def retrieval_precision(
    net: HashNet, variables: Any, queries: Pairs, database: Pairs, by: Comparison = HAMMING
) -> MeanAveragePrecision:
    """Measure how well queries of each modality retrieve similar pairs of the other.

    Args:
      net: the network.
      variables: its variables.
      queries: pairs whose pictures and texts are the queries.
      database: pairs that are retrieved.
      by: how codes are compared.

    Returns:
      The MAP in both directions.
    """
    images, texts = (by.keep(np.asarray(codes)) for codes in hash_pairs(net, variables, queries))
    others = [by.keep(np.asarray(codes)) for codes in hash_pairs(net, variables, database)]

    def precision(asking: np.ndarray, asked: np.ndarray) -> float:
        labels = queries.labels, database.labels
        return retrieval(asking, asked, *labels, bits=net.bits, by=by).mean_average_precision

    return MeanAveragePrecision(precision(images, others[1]), precision(texts, others[0]))


def hasher_architecture(
    method: str | None = None,
    backbone: str | None = None,
    bits: int | None = None,
    *,
    like: Victim | None = None,
) -> HasherArchitecture:
    """Return an architecture of the published sizes, or of small ones for a small backbone.

    Args:
      method: a key of `METHODS`; "dcmh" by default.
      backbone: "vgg-f-small" by default, for scenes of 64 pixels.
      bits: 32 by default.
      like: a hasher whose architecture is returned; the other arguments must agree with it.

    Returns:
      The architecture.

    Raises:
      VictimError: the method or the backbone is unknown, no paper has codes of that length, or an
        argument disagrees with `like`.
    """
    if like is not None:
        made = like.architecture
        if not isinstance(made, HasherArchitecture):
            raise VictimError(f"victim {like.name!r} is a {made.kind}, not a hasher")
        for what, given in (("method", method), ("backbone", backbone), ("bits", bits)):
            if given not in (None, has := getattr(made, what)):
                raise VictimError(f"--{what} {given}: victim {like.name!r} has {has}; leave it out")
        return made
    method, backbone = method or "dcmh", backbone or "vgg-f-small"
    bits = 32 if bits is None else bits
    if bits not in BITS:
        raise VictimError(f"--bits {bits}: must be one of {', '.join(map(str, BITS))}")
    if backbone == FROZEN:
        return HasherArchitecture(method, backbone, bits, units=512, semantic=128)
    if backbone.endswith("-small"):
        return HasherArchitecture(method, backbone, bits, scenes.SIDE, units=128, semantic=128)
    return HasherArchitecture(method, backbone, bits, units=8192 if method == "dcmh" else 4096)


def fit_of(method: str, decorrelation: float = 0.0) -> Callable[..., Iterator[tuple[Report, Any]]]:
    """Return the training function of a method.

    Raises:
      VictimError: a decorrelation is given for dual encoders, which have no bits.
    """
    if method == "dual":
        if decorrelation:
            raise VictimError("--decorrelation: dual encoders have no bits")
        return fit_dual_encoder
    if method == "ssah":
        return partial(ssah.fit_ssah, weights=ssah.Weights(decorrelation=decorrelation))
    return partial(dcmh.fit_dcmh, weights=DCMH_WEIGHTS._replace(decorrelation=decorrelation))


def train_hasher(
    folder: Path,
    architecture: HasherArchitecture,
    names: Names,
    training: Pairs,
    held_out: tuple[Pairs, Pairs],
    *,
    steps: int,
    source: str,
    held_out_ids: Sequence[str] | None = None,
    adversarial: int = 0,
    iterations: int = 100,
    start: Victim | None = None,
    features: tuple[str, Params] | None = None,
    decorrelation: float = 0.0,
    batch: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    storage: Storage = PLAIN,
    **record: Any,
) -> Iterator[Progress]:
    """Train a hasher on pairs and save it with its MAP on held-out ones.

    A MobileNetV2 backbone is frozen, because its batch statistics are folded into its weights; the
    features of pictures and of their mirror images are computed once.

    Args:
      folder: the victim's folder.
      architecture: what is trained.
      names: the pairs' tags and classes.
      training: the training set.
      held_out: queries, and the database that they search.
      steps: number of optimiser steps of each network.
      source: how the victim was made, for its record.
      held_out_ids: ids of the queries, for the record, if they cannot be drawn again.
      adversarial: number of pairs that are attacked on `start`, as pictures and as texts, and added
        to the training set (CMLA's section 4.3).
      iterations: number of steps of these attacks.
      start: a victim whose weights training starts from (`begin_from`); random ones by default.
      features: source and weights of the image features that training starts from, the latter as
        `porting.port.read_features` returns them.
      decorrelation: weight of `pairwise.decorrelation`.
      batch: number of pairs in a step.
      learning_rate: initial learning rate, which decays to zero along a cosine.
      seed: random seed for the initial weights, the order and the mirroring.
      storage: how the weights are stored.
      **record: further entries of the victim's record; must be JSON.

    Raises:
      PairsError: the pairs do not fit each other or the names.
      VictimError: `start` does not fit, or a MobileNetV2 has none; or adversarial pairs are asked
        for, but `start` is not a hasher of the same architecture, or takes no pictures.
    """
    for some in (training, *held_out):
        check_pairs(some, (len(names["tags"]),), names["classes"])
    parts = [training]
    if adversarial:
        start = _to_attack(architecture, start)
        attacked = architecture.network(len(start.hasher.classes))
        known = Known(start.params, *hash_pairs(attacked, start.params, training))
        for some in adversarial_pairs(
            start.hasher, known, training, adversarial, iterations=iterations, seed=seed
        ):
            parts.append(some)
            done = sum(len(part.ids) for part in parts[1:])
            yield Progress(0, steps, f"{done} of {2 * adversarial} adversarial pairs")
    pairs = join(*parts) if adversarial else training
    net, key = architecture.network(len(names["classes"])), jax.random.key(seed)
    variables = initial_variables(net, architecture.image_shape, len(names["tags"]), key)
    if start is not None:
        variables = begin_from(variables, start)
    if features is not None:
        variables = begin_from_features(variables, features[1])
    variables = zoo.rounded(variables, storage.stored)
    schedule = {"steps": steps, "batch": batch, "learning_rate": learning_rate}
    fit = fit_of(architecture.method, decorrelation)
    if architecture.backbone == FROZEN:
        if start is None:
            raise VictimError(f"--backbone {FROZEN}: give --from, a victim with that backbone")
        yield Progress(0, steps, "features of the pictures")
        job = _fit_frozen(fit, net, variables, pairs, key=key, **schedule)
    else:
        job = fit(net, variables, pairs, key=key, **schedule)

    def measure(now: Params) -> dict[str, Any]:
        queries, database = held_out
        by = comparison(architecture.functions(names))
        width = effective_dimensions(np.asarray(hash_pairs(net, now, queries)[0]))
        return {
            "held_out_pairs": {
                **retrieval_precision(net, now, queries, database, by)._asdict(),
                "queries": len(queries.ids),
                "database": len(database.ids),
                "effective_dimensions": width,
            }
        }

    def summary(record: Any) -> str:
        reached = record["measures"]["held_out_pairs"]
        return (
            f"MAP {reached['image_to_text']:.3f} for queries that are pictures, "
            f"{reached['text_to_image']:.3f} for texts; "
            f"{reached['effective_dimensions']:.1f} effective dimensions of the pictures' codes"
        )

    recipe = Recipe(
        architecture,
        names,
        with_messages(job, "loss {:.4f} a pair"),
        steps,
        source=source,
        training={
            **schedule,
            "from": start.name if start is not None else features and features[0],
            "pairs": len(training.ids),
            "extra": len(pairs.ids) - len(training.ids),
            **({"decorrelation": decorrelation} if decorrelation else {}),
        },
        measure=measure,
        summary=summary,
        record={
            **record,
            **({} if held_out_ids is None else {"held_out": list(held_out_ids)}),
        },
        storage=storage,
    )
    yield from train(folder, recipe)


class _Given(nn.Module):
    """The features of pictures, where they are computed already."""

    def __call__(self, features: Array, **options: Any) -> Array:
        return features


def _fit_frozen(
    fit: Callable[..., Iterator[tuple[Report, Any]]],
    net: HashNet,
    variables: Params,
    pairs: Pairs,
    **options: Any,
) -> Iterator[tuple[Report, Params]]:
    """Train all but the backbone, on the features of pictures and of their mirror images."""
    params = variables["params"]
    see = jax.jit(net.features.apply)
    own = {"params": params["features"]}

    def features(pictures: np.ndarray) -> np.ndarray:
        seen = [see(own, as_examples(pictures[i : i + 20])) for i in range(0, len(pictures), 20)]
        return np.concatenate(seen)

    shown = np.concatenate([features(pairs.pictures), features(pairs.pictures[:, :, ::-1])])
    both = join(pairs, pairs)._replace(pictures=shown)
    rest = {"params": {name: part for name, part in params.items() if name != "features"}}
    for report, now in fit(net.clone(features=_Given()), rest, both, **options):
        yield report, {"params": {**now["params"], "features": params["features"]}}


def _to_attack(architecture: HasherArchitecture, start: Victim | None) -> Victim:
    """Return the hasher that adversarial training attacks.

    Raises:
      VictimError: it has another architecture, or takes no pictures.
    """
    if len(architecture.image_shape) != 3:
        raise VictimError("adversarial training: pictures are attacked, not features")
    if start is None or start.architecture != architecture:
        raise VictimError(
            "adversarial training retrains a hasher: give the one to attack and to start from"
        )
    return start


def train_hasher_on_scenes(
    folder: Path,
    architecture: HasherArchitecture,
    *,
    steps: int,
    seed: int = 0,
    count: int = 10_000,
    queries: int = 1000,
    database: int = 5000,
    **options: Any,
) -> Iterator[Progress]:
    """Train a hasher on scenes, and measure it on held-out scenes.

    Args:
      folder: the victim's folder.
      architecture: what is trained.
      steps: number of optimiser steps of each network.
      seed: random seed for the initial weights, the order and the mirroring.
      count: number of scenes in the training set.
      queries: number of held-out scenes that are queries.
      database: number of held-out scenes that the queries search.
      **options: further arguments of `train_hasher`.

    Raises:
      VictimError: as in `train_hasher`, or the hasher takes no pictures.
    """
    if len(architecture.image_shape) != 3:
        raise VictimError("backbone 'features': scenes are pictures; give data with features")
    if options.get("adversarial"):
        _to_attack(architecture, options.get("start"))
    yield Progress(0, steps, "drawing scenes")
    draw = partial(scene_pairs, side=architecture.side)
    yield from train_hasher(
        folder,
        architecture,
        SCENE_NAMES,
        draw(scenes.TRAINING_SEED, count),
        (draw(scenes.HELD_OUT_SEED, queries), draw(scenes.HELD_OUT_SEED, database, queries)),
        steps=steps,
        seed=seed,
        source=f"jaxadv train hasher, scenes, seed {seed}",
        **options,
    )


def train_hasher_on_data(
    folder: Path,
    architecture: HasherArchitecture,
    data: DataSet,
    *,
    steps: int,
    held_out: int = 100,
    seed: int = 0,
    label_words: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> Iterator[Progress]:
    """Train a hasher on a data set's pictures with their tags, or the words of their captions.

    The database is all pairs that are not queries, and the hasher is trained on all of it (CMLA's
    section 4.2 trains on 10,000 pairs of MIRFlickr-25K and 10,500 of NUS-WIDE). The ids of the
    queries are in the victim's record.

    Args:
      folder: the victim's folder.
      architecture: what is trained.
      data: a data set with classes, and with tags or captions.
      label_words: labels by the words that captions say (`label_by_captions`), for data without
        labels.
      steps: number of optimiser steps of each network.
      held_out: number of pairs that are queries and not trained on. If `start` was trained on the
        same data, its queries are used instead.
      seed: random seed for the queries, the initial weights, the order and the mirroring.
      **options: further arguments of `train_hasher`.

    Raises:
      PairsError: too few pictures have a label and a tag.
      VictimError: as in `train_hasher`.
    """
    if options.get("adversarial"):
        _to_attack(architecture, options.get("start"))
    yield Progress(0, steps, "reading pictures")
    if label_words is not None:
        data = label_by_captions(data, label_words)
        options["label_words"] = {label: list(words) for label, words in label_words.items()}
    tagged = data if data.tags else caption_tags(data)
    width = feature_width(data)
    if width is not None and architecture.backbone == "features":
        architecture = dataclasses.replace(architecture, side=width)
    pairs = set_pairs(tagged, architecture.image_shape)
    total = len(pairs.ids)
    if not held_out < total:
        raise PairsError(f"--held-out {held_out}: only {total} pictures have a label and a tag")
    start: Victim | None = options.get("start")
    before = set() if start is None else set(start.record.get("held_out") or ())
    order = np.random.default_rng(seed).permutation(total)
    aside = np.array([pairs.ids[row] in before for row in order])
    if not aside.any():
        aside[:held_out] = True
    queries, others = take(pairs, order[aside]), take(pairs, order[~aside])
    yield from train_hasher(
        folder,
        architecture,
        {"tags": tagged.tags or (), "classes": tagged.classes or ()},
        others,
        (queries, others),
        steps=steps,
        seed=seed,
        source=f"jaxadv train hasher, {data.name}, seed {seed}",
        held_out_ids=queries.ids,
        **options,
    )
