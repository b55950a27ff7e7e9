"""How the project's own hashers are made.

A recipe is a generator of progress that ends by saving the victim with what it can do.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.data import scenes
from jaxadv.data.pairs import (
    SCENE_CLASSES,
    SCENE_TAGS,
    Pairs,
    PairsError,
    check_pairs,
    join,
    scene_pairs,
    take,
)
from jaxadv.data.records import DataSet
from jaxadv.data.set_pairs import caption_tags, feature_width, set_pairs
from jaxadv.hashing.cmla import Known
from jaxadv.hashing.metrics import HAMMING, Comparison, effective_dimensions, retrieval
from jaxadv.hashing.similarity import comparison
from jaxadv.training import dcmh, ssah
from jaxadv.training.adversarial_pairs import adversarial_pairs
from jaxadv.training.captioner import Report
from jaxadv.training.dual_encoder import fit_dual_encoder
from jaxadv.training.hash_parts import hash_pairs
from jaxadv.training.recipes import Progress
from jaxadv.victims import zoo
from jaxadv.victims.architectures import HasherArchitecture, Names, Params, VictimError
from jaxadv.victims.nets.hash_net import HashNet, initial_variables
from jaxadv.victims.zoo import Victim

BITS = (16, 32, 48, 64)
SCENE_NAMES: Names = {"tags": SCENE_TAGS, "classes": SCENE_CLASSES}
# Adam's steps do not shrink with the gradient, so that a bit whose balance is judged by what is
# remembered swings from one side to the other at a weight of 1.
DCMH_WEIGHTS = dcmh.Weights(balance=0.01)


class MeanAveragePrecision(NamedTuple):
    """MAP over the full ranking, pictures asking for texts and the other way round."""

    image_to_text: float
    text_to_image: float


def retrieval_precision(
    net: HashNet, variables: Any, queries: Pairs, database: Pairs, by: Comparison = HAMMING
) -> MeanAveragePrecision:
    """Measure how well queries of either modality find the pairs of the other that are similar."""
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
    """Return the published sizes, or small ones over a small backbone, for scenes of 64 pixels.

    Args:
      method: a key of `METHODS`; "dcmh" by default.
      backbone: "vgg-f-small" by default.
      bits: 32 by default.
      like: a hasher whose architecture is wanted; what else is given must be as there.

    Raises:
      VictimError: an unknown method or backbone, a length of codes that no paper has, or what is
        given is not as in `like`.
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
    if backbone.endswith("-small"):
        return HasherArchitecture(method, backbone, bits, scenes.SIDE, units=128, semantic=128)
    return HasherArchitecture(method, backbone, bits, units=8192 if method == "dcmh" else 4096)


def begin_from(variables: Params, other: Victim) -> Params:
    """Take over another victim's weights: all, if it is of the same make, or what it sees with.

    That is a hasher's features, or a captioner's or a tagger's backbone. (The papers' hashers begin
    with a network that knows ImageNet.)

    Raises:
      VictimError: neither fits.
    """
    if _shapes(variables) == _shapes(other.params):
        return other.params
    taken = {}
    for name, part in variables.items():
        theirs = other.params.get(name, {})
        seen = theirs.get("features", {"backbone": theirs.get("backbone")})
        if "features" in part and _shapes(seen) != _shapes(part["features"]):
            raise VictimError(
                f"victim {other.name!r} ({other.architecture.parts}) has no features that fit: "
                "begin from a victim over the same backbone"
            )
        taken[name] = {**part, "features": seen} if "features" in part else part
    return taken


def begin_from_features(variables: Params, features: Params) -> Params:
    """Take over what pictures are seen with: the variables of `features`, by collection."""
    taken = {name: {**part, "features": features[name]} for name, part in variables.items()
             if name in features}  # fmt: skip
    return {**variables, **taken}


def fit_of(method: str, decorrelation: float = 0.0) -> Callable[..., Iterator[tuple[Report, Any]]]:
    """Return how the victims of a method are fitted.

    Raises:
      VictimError: a decorrelation of codes that have no bits.
    """
    if method == "dual":
        if decorrelation:
            raise VictimError("--decorrelation: dual encoders have no bits")
        return fit_dual_encoder
    if method == "ssah":
        return partial(ssah.fit_ssah, weights=ssah.Weights(decorrelation=decorrelation))
    return partial(dcmh.fit_dcmh, weights=DCMH_WEIGHTS._replace(decorrelation=decorrelation))


def _shapes(variables: Params) -> Any:
    return jax.tree.map(np.shape, variables)


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
) -> Iterator[Progress]:
    """Train a hasher on pairs and save it with its MAP on held-out ones.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      names: the pairs' tags and classes.
      training: what it learns from.
      held_out: queries, and the database in which they search.
      steps: of each network.
      source: where this comes from, for the record.
      held_out_ids: of the queries, for the record; where others cannot draw them anew.
      adversarial: how many of the pairs are attacked on `start`, as pictures and as texts, and
        added (CMLA's section 4.3).
      iterations: steps of each of these attacks.
      start: a victim whose weights to begin with (`begin_from`); random ones by default.
      features: the weights of the pictures' network to begin with, and their source, such as
        `porting.port.read_features` gives.
      decorrelation: the weight of `pairwise.decorrelation`.
      batch: pairs a step.
      learning_rate: at the start of the cosine.
      seed: of the initial weights, the order and the mirroring.

    Raises:
      PairsError: the pairs do not fit each other or the names.
      VictimError: what to begin from does not fit; there are to be adversarial pairs, and no hasher
        of that make to attack, or one that takes no pictures.
    """
    for some in (training, *held_out):
        check_pairs(some, names["tags"], names["classes"])
    pairs = training
    if adversarial:
        extra = _adversarial(architecture, start, training, adversarial, iterations, seed, steps)
        pairs = join(training, (yield from extra))
    net, key = architecture.network(len(names["classes"])), jax.random.key(seed)
    variables = initial_variables(net, architecture.image_shape, len(names["tags"]), key)
    if start is not None:
        variables = begin_from(variables, start)
    if features is not None:
        variables = begin_from_features(variables, features[1])
    fit = fit_of(architecture.method, decorrelation)(
        net, variables, pairs, steps=steps, batch=batch, learning_rate=learning_rate, key=key
    )
    for report, now in fit:
        variables = now
        yield Progress(report.step, steps, f"loss {report.loss:.4f} a pair")
    by = comparison(architecture.functions(names))
    reached = retrieval_precision(net, variables, *held_out, by)
    width = effective_dimensions(np.asarray(hash_pairs(net, variables, held_out[0])[0]))
    sizes = {"pairs": len(training.ids), "extra": len(pairs.ids) - len(training.ids)}
    begun = {"from": start.name if start is not None else features and features[0]}
    asked = {"decorrelation": decorrelation} if decorrelation else {}
    counts = {"queries": len(held_out[0].ids), "database": len(held_out[1].ids)}
    zoo.save(
        folder,
        architecture,
        names,
        variables,
        source=source,
        training={
            "steps": steps,
            "batch": batch,
            "learning_rate": learning_rate,
            **begun,
            **sizes,
            **asked,
        },
        measures={"held_out_pairs": {**reached._asdict(), **counts, "effective_dimensions": width}},
        **({} if held_out_ids is None else {"held_out": list(held_out_ids)}),
    )
    yield Progress(
        steps,
        steps,
        f"MAP {reached.image_to_text:.3f} of pictures asking, {reached.text_to_image:.3f} of "
        f"texts; {width:.1f} effective dimensions of pictures",
    )


def _to_attack(architecture: HasherArchitecture, start: Victim | None) -> Victim:
    """Return the hasher that is attacked for adversarial training.

    Raises:
      VictimError: there is none of that make, or it takes no pictures.
    """
    if len(architecture.image_shape) != 3:
        raise VictimError("adversarial training: pictures are attacked, not features")
    if start is None or start.architecture != architecture:
        raise VictimError(
            "adversarial training retrains a hasher: give the one to attack and to begin from"
        )
    return start


def _adversarial(
    architecture: HasherArchitecture,
    start: Victim | None,
    training: Pairs,
    count: int,
    iterations: int,
    seed: int,
    steps: int,
) -> Generator[Progress, None, Pairs]:
    """Attack some of the pairs on a hasher; the arguments are `train_hasher`'s."""
    start = _to_attack(architecture, start)
    net = architecture.network(len(start.hasher.classes))
    known = Known(start.params, *hash_pairs(net, start.params, training))
    made: list[Pairs] = []
    for some in adversarial_pairs(
        start.hasher, known, training, count, iterations=iterations, seed=seed
    ):
        made.append(some)
        done = sum(len(part.ids) for part in made)
        yield Progress(0, steps, f"{done} of {2 * count} adversarial pairs")
    return join(*made)


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
    """Train a hasher on scenes, and measure it on held-out ones.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      steps: of each network.
      seed: of the initial weights, the order and the mirroring.
      count: scenes to learn from.
      queries: held-out scenes that ask.
      database: other held-out scenes, in which they search.
      **options: of `train_hasher`.

    Raises:
      VictimError: as `train_hasher`; or the hasher takes no pictures.
    """
    if len(architecture.image_shape) != 3:
        raise VictimError("backbone 'features': scenes are pictures; give data with features")
    if options.get("adversarial"):
        _to_attack(architecture, options.get("start"))
    yield Progress(0, steps, "drawing scenes")
    draw = partial(scene_pairs, side=architecture.side)
    training = draw(scenes.TRAINING_SEED, count)
    held_out = draw(scenes.HELD_OUT_SEED, queries), draw(scenes.HELD_OUT_SEED, database, queries)
    yield from train_hasher(
        folder,
        architecture,
        SCENE_NAMES,
        training,
        held_out,
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
    **options: Any,
) -> Iterator[Progress]:
    """Train a hasher on a data set's pictures with their tags, or the words of their captions.

    The database is what does not ask, and all of it is learned from (CMLA's section 4.2 learns from
    10,000 pairs of MIRFlickr-25K, 10,500 of NUS-WIDE). What asks is in the victim's record.

    Args:
      folder: where the victim goes.
      architecture: what to train.
      data: with classes, and with tags or captions.
      steps: of each network.
      held_out: pairs that are not learned from and ask; where `start` was trained on others of
        these data, those that were held out then.
      seed: of the held-out pairs, the initial weights, the order and the mirroring.
      **options: of `train_hasher`.

    Raises:
      PairsError: not so many pictures have a label and a tag.
    """
    if options.get("adversarial"):
        _to_attack(architecture, options.get("start"))
    yield Progress(0, steps, "reading pictures")
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
    asking, others = take(pairs, order[aside]), take(pairs, order[~aside])
    yield from train_hasher(
        folder,
        architecture,
        {"tags": tagged.tags or (), "classes": tagged.classes or ()},
        others,
        (asking, others),
        steps=steps,
        seed=seed,
        source=f"jaxadv train hasher, {data.name}, seed {seed}",
        held_out_ids=asking.ids,
        **options,
    )
