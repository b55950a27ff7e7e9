"""Filtering a poisoned folder with what is in `backdoors.defences`."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import jax
import numpy as np

from jaxadv.backdoors.defences import (
    Detection,
    activation_clustering,
    detection,
    encoder_features,
    spectral_scores,
    spectral_signatures,
)
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import Record
from jaxadv.victims.zoo import Victim


class Progress(NamedTuple):
    """How many pictures are seen; what was found, once all are."""

    done: int
    total: int
    message: str
    found: dict[str, Detection]


def measure_defences(
    victim: Victim,
    photos: Sequence[Record],
    poisoned: Collection[str],
    *,
    expected: float | None = None,
    batch: int = 50,
    seed: int = 0,
) -> Iterator[Progress]:
    """Filter photographs by the features of a captioner that was trained on them.

    Args:
      victim: the captioner.
      photos: the training data.
      poisoned: ids of those that are poisoned, some but not all.
      expected: the rate that the defender reckons with; None for the true one.
      batch: pictures at once.
      seed: of the clusters' starts.
    """
    captioner = victim.captioner
    see = jax.jit(jax.vmap(partial(encoder_features, captioner.encode), in_axes=(None, 0)))
    seen: list[np.ndarray] = []
    read = read_pictures(photos, captioner.image_shape[:2])
    for start in range(0, len(photos), batch):
        some = photos[start : start + batch]
        pictures = list(islice(read, len(some)))
        padded = np.stack(pictures + pictures[-1:] * (batch - len(pictures)))
        seen.append(np.asarray(see(victim.params, padded))[: len(some)])
        yield Progress(start + len(some), len(photos), "features", {})
    features = np.concatenate(seen)
    truth = np.array([photo.id in poisoned for photo in photos])
    rate = float(truth.mean()) if expected is None else expected
    found = {
        "spectral signatures": detection(
            spectral_signatures(features, rate), truth, spectral_scores(features)
        ),
        "activation clustering": detection(activation_clustering(features, seed), truth),
    }
    yield Progress(len(photos), len(photos), "filtered", found)
