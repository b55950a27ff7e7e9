"""The search for a method's learning rate and α, which the TkMIA paper does for each method."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.experiments.labels import Row, attack_labels, join, tabulate
from jaxadv.experiments.methods import label_method
from jaxadv.labels.classifier import MultiLabelClassifier, Params
from jaxadv.labels.methods import Settings
from jaxadv.labels.target import LabelTarget


class Trial(NamedTuple):
    """How settings did; the count of those tried, and of all."""

    done: int
    total: int
    message: str
    settings: Settings
    row: Row


def candidates(
    settings: Settings, learning_rates: Sequence[float], tradeoffs: Sequence[float]
) -> list[Settings]:
    """Return the settings with every learning rate and α, in that order; kfool has neither.

    >>> len(candidates(Settings("tkmia"), [1e-3, 5e-4], [1e-4, 5e-5]))
    4
    >>> len(candidates(Settings("kfool"), [1e-3, 5e-4], [1e-4, 5e-5]))
    1
    """
    if settings.method == "kfool":
        learning_rates, tradeoffs = learning_rates[:1], tradeoffs[:1]
    return [
        dataclasses.replace(settings, learning_rate=rate, tradeoff=tradeoff)
        for rate in learning_rates
        for tradeoff in tradeoffs
    ]


def try_settings(
    victim: MultiLabelClassifier,
    params: Params,
    images: Sequence[np.ndarray],
    targets: LabelTarget,
    settings: Sequence[Settings],
    *,
    batch: int,
    seed: int = 0,
) -> Iterator[Trial]:
    """Attack the same pictures with one setting after the other."""
    for number, each in enumerate(settings):
        made = label_method(victim, each)
        job = attack_labels(
            params,
            images,
            targets,
            made.attack,
            iterations=made.iterations,
            batch=batch,
            seed=seed,
            same_slots=True,
        )
        parts = list(job)
        outcomes = join([part.outcomes for part in parts])
        row = tabulate(outcomes, targets, sum(p.seconds for p in parts), each.delta, "paper")
        gone, size = float(row.measures.excluded), float(row.measures.perturbation)
        message = f"η {each.learning_rate:g}, α {each.tradeoff:g}: Δl {gone:.2f}, APer {size:.3g}"
        yield Trial(number + 1, len(settings), message, each, row)


def best(trials: Sequence[Trial]) -> Settings:
    """Choose by the largest Δl, then by the least APer; the measures to be deceived have no say."""

    def merit(trial: Trial) -> tuple[float, float]:
        size = float(trial.row.measures.perturbation)
        return -float(trial.row.measures.excluded), math.inf if math.isnan(size) else size

    return min(trials, key=merit).settings
