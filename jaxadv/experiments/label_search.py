"""The search for a method's learning rate and α, which the TkMIA paper does for each method."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.core.method import Chosen, as_text
from jaxadv.experiments.labels import Row, attack_labels, join, tabulate
from jaxadv.labels.classifier import MultiLabelClassifier, Params
from jaxadv.labels.target import LabelTarget


class Trial(NamedTuple):
    """How a method did; the count of those tried, and of all."""

    done: int
    total: int
    message: str
    method: Chosen
    row: Row


def candidates(
    method: Chosen, learning_rates: Sequence[float], tradeoffs: Sequence[float]
) -> list[Chosen]:
    """Return the method with every learning rate and α, in that order; its own where none is given.

    >>> from jaxadv.core.method import choose
    >>> from jaxadv.labels.methods import METHODS
    >>> len(candidates(choose(METHODS, "tkmia"), [1e-3, 5e-4], [1e-4, 5e-5]))
    4
    >>> len(candidates(choose(METHODS, "kfool"), [1e-3, 5e-4], [1e-4, 5e-5]))
    1
    """
    if not method.reads("learning_rate"):
        return [method]
    return [
        method.but(learning_rate=rate, tradeoff=tradeoff)
        for rate in learning_rates or [method.value("learning_rate")]
        for tradeoff in tradeoffs or [method.value("tradeoff")]
    ]


def try_settings(
    victim: MultiLabelClassifier,
    params: Params,
    images: Sequence[np.ndarray],
    targets: LabelTarget,
    methods: Sequence[Chosen],
    *,
    batch: int,
    seed: int = 0,
) -> Iterator[Trial]:
    """Attack the same pictures with one method after the other."""
    for number, each in enumerate(methods):
        job = attack_labels(
            params,
            images,
            targets,
            each.attack(victim),
            iterations=each.iterations,
            batch=batch,
            seed=seed,
            same_slots=True,
        )
        parts = list(job)
        outcomes = join([part.outcomes for part in parts])
        row = tabulate(
            outcomes, targets, sum(p.seconds for p in parts), each.value("delta"), "paper"
        )
        gone, size = float(row.measures.excluded), float(row.measures.perturbation)
        message = f"{as_text(each)}: Δl {gone:.2f}, APer {size:.3g}"
        yield Trial(number + 1, len(methods), message, each, row)


def best(trials: Sequence[Trial]) -> Chosen:
    """Choose by the largest Δl, then by the least APer; the measures to be deceived have no say."""

    def merit(trial: Trial) -> tuple[float, float]:
        size = float(trial.row.measures.perturbation)
        return -float(trial.row.measures.excluded), math.inf if math.isnan(size) else size

    return min(trials, key=merit).method
