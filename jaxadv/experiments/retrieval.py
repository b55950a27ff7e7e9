"""How hashers retrieve, attacked and not: what the CMLA paper's tables and figures are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core.memory import Fit, largest_batch
from jaxadv.core.method import Chosen, choose
from jaxadv.data.pairs import Pairs, check_pairs
from jaxadv.errors import InputError
from jaxadv.experiments.hash_attacks import (
    CONTEXT,
    Codes,
    Snapshot,
    attack_queries,
    encode,
    examples_of,
    join,
    known,
)
from jaxadv.hashing.cmla import Modality, hash_target
from jaxadv.hashing.hasher import CrossModalHasher, Params
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.metrics import HAMMING, Comparison, Retrieval, retrieval
from jaxadv.hashing.similarity import comparison

NONE, FULL, ABLATED = "none", "CMLA", "no intra-modal"


class Subject(NamedTuple):
    """A hasher to be evaluated, with its weights."""

    name: str
    hasher: CrossModalHasher
    params: Params


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
      attacks: CMLA on each modality that is attacked.
      iterations: numbers of steps after which the attacks are looked at (paper: 100, 200, 500).
      ablation: whether they are run without the intra-modal term as well.
      context: the most items of the database whose codes an attack sees.
      batch: attacks at once.
    """

    attacks: Sequence[Chosen] = (
        choose(METHODS, "cmla", modality="image"),
        choose(METHODS, "cmla", modality="text"),
    )
    iterations: Sequence[int] = (100, 200, 500)
    ablation: bool = True
    context: int = CONTEXT
    batch: int = 50


class Cell(NamedTuple):
    """How one victim retrieves for the queries of one modality.

    Attributes:
      victim: its name.
      modality: of the queries.
      attack: `NONE`, `FULL` or `ABLATED`.
      iterations: steps of the attack.
      cross: for these queries in the other modality.
      own: in their own modality.
      cross_8bit: MAP in the other modality for the queries as a user would save them.
      distortion: mean D.
      success: the share whose first item in the other modality is not relevant.
      seconds: an attack; 0 where there is none.
    """

    victim: str
    modality: Modality
    attack: str
    iterations: int
    cross: Retrieval
    own: Retrieval
    cross_8bit: float
    distortion: float
    success: float
    seconds: float


class Transfer(NamedTuple):
    """MAP in the other modality of a victim for queries that were attacked on another."""

    source: str
    victim: str
    modality: Modality
    precision: float


class Progress(NamedTuple):
    """How many attacks are done, and what has been measured since."""

    done: int
    total: int
    message: str
    cells: tuple[Cell, ...] = ()
    transfers: tuple[Transfer, ...] = ()


class Run(NamedTuple):
    """An attack on all queries of a victim: what it is called, and when it is looked at."""

    method: Chosen
    attack: str
    iterations: tuple[int, ...]


class Asked(NamedTuple):
    """A database that queries ask.

    Attributes:
      codes: of the database.
      labels: bool[n, c], of the database.
      query_labels: bool[m, c].
      by: how its codes are compared.
    """

    codes: Codes
    labels: np.ndarray
    query_labels: np.ndarray
    by: Comparison = HAMMING


def without_relevant(query_labels: np.ndarray, labels: np.ndarray) -> int:
    """Return to how many queries nothing in a database is relevant; they count as 0 in MAP.

    >>> without_relevant(np.eye(2, dtype=bool), np.array([[True, False]]))
    1

    Raises:
      InputError: there is no other query.
    """
    count = int((~(query_labels @ labels.T).any(axis=1)).sum())
    if count == len(query_labels):
        raise InputError(
            f"none of the {len(labels)} items of the database is relevant to any of the {count} "
            "queries: give a database that shares labels with them"
        )
    return count


def measure(codes: np.ndarray, asked: Asked, modality: Modality) -> Retrieval:
    """Rank a database's items of one modality for queries f32[m, K].

    Raises:
      InputError: their codes are not of one length.
    """
    others = asked.codes.image if modality == "image" else asked.codes.text
    bits = others.shape[1]
    if codes.shape[1] != bits:
        raise InputError(
            f"queries of {codes.shape[1]} bits cannot ask a database of {bits} bits: hash both "
            "with one victim"
        )
    by, labels = asked.by, (asked.query_labels, asked.labels)
    return retrieval(by.keep(codes), by.keep(others), *labels, bits=bits, by=by)


def evaluate(
    subjects: Sequence[Subject], queries: Pairs, database: Pairs, plan: Plan
) -> Iterator[Progress]:
    """Attack the queries on each victim, and measure them on it and on every other.

    Raises:
      InputError: victims or pairs do not fit each other, a setting is outside its range, or
        nothing is relevant to any query.
    """
    check_plan(plan, subjects)
    _check(subjects, queries, database)
    without_relevant(queries.labels, database.labels)
    runs = [Run(method, FULL, tuple(plan.iterations)) for method in plan.attacks]
    if plan.ablation:
        last = tuple(plan.iterations[-1:])
        runs += [Run(s.but(intra=0.0), ABLATED, last) for s in plan.attacks]
    labels = database.labels, queries.labels
    asked = {
        s.name: Asked(encode(s.hasher, s.params, database), *labels, comparison(s.hasher))
        for s in subjects
    }
    total, done = len(queries.ids) * len(runs) * len(subjects), 0
    for subject in subjects:
        benign = _benign(subject, queries, asked[subject.name], plan)
        yield Progress(done, total, f"{subject.name} unattacked", benign)
        for run in runs:
            others = [s for s in subjects if s is not subject and run.attack == FULL]
            for news in _attack(subject, run, others, queries, asked, plan):
                yield news._replace(done=done + news.done, total=total)
            done += len(queries.ids)


def largest_plan(
    plan: Plan, subjects: Sequence[Subject], queries: Pairs, database: Pairs
) -> tuple[Plan, Fit]:
    """Let a plan make as many attacks at once as fit the device, whichever victim is attacked.

    Raises:
      InputError: of some attack not even one fits.
    """
    labels = database.labels[: plan.context]
    target = hash_target(jnp.asarray(queries.labels[0]), jnp.asarray(labels))
    fits = []
    for _, hasher, params in subjects:
        codes = np.zeros((len(labels), hasher.bits), np.float32)
        for method in plan.attacks:
            fits.append(
                largest_batch(
                    method.attack(hasher),
                    known(params, Codes(codes, codes)),
                    examples_of(queries, method.value("modality"), np.arange(1))[0],
                    target,
                    iterations=plan.iterations[-1],
                    most=len(queries.ids),
                )
            )
    fit = min(fits, key=lambda fit: fit.batch)
    return replace(plan, batch=fit.batch), fit


def _attack(
    subject: Subject,
    run: Run,
    others: Sequence[Subject],
    queries: Pairs,
    asked: Mapping[str, Asked],
    plan: Plan,
) -> Iterator[Progress]:
    """Attack the queries on one victim; measure them on it, and on the others at the end."""
    modality, here = run.method.value("modality"), asked[subject.name]
    job = attack_queries(
        run.method.attack(subject.hasher),
        known(subject.params, here.codes, plan.context),
        here.labels[: plan.context],
        partial(examples_of, queries, modality),
        queries.labels,
        iterations=run.iterations,
        batch=plan.batch,
    )
    collected: list[tuple[Snapshot, ...]] = []
    elsewhere: dict[str, list[np.ndarray]] = {other.name: [] for other in others}
    seconds = 0.0
    for news in job:
        for other in others:
            elsewhere[other.name].append(_hash(other, modality, news.snapshots[-1].examples))
        # of the pictures, which are many, only the codes are kept
        collected.append(tuple(s._replace(examples=s.codes) for s in news.snapshots))
        seconds += news.seconds / len(queries.ids)
        title = f"{subject.name} {modality}s, {run.attack}: {news.message}"
        yield Progress(news.done, news.total, title)
    cells = tuple(
        _cell(subject.name, run, count, join(some), here, seconds * count / run.iterations[-1])
        for count, some in zip(run.iterations, zip(*collected, strict=True), strict=True)
    )
    transfers = []
    for name, codes in elsewhere.items():
        found = measure(np.concatenate(codes), asked[name], _other(modality))
        precision = found.mean_average_precision
        transfers.append(Transfer(subject.name, name, modality, precision))
    yield Progress(news.total, news.total, f"{subject.name} measured", cells, tuple(transfers))


def _benign(subject: Subject, queries: Pairs, asked: Asked, plan: Plan) -> tuple[Cell, ...]:
    codes = encode(subject.hasher, subject.params, queries)
    cells = []
    for method in plan.attacks:
        modality = method.value("modality")
        of = codes.image if modality == "image" else codes.text
        cross = measure(of, asked, _other(modality))
        own = measure(of, asked, modality)
        first = 1 - float(cross.precisions[0])
        precision = cross.mean_average_precision
        cells.append(
            Cell(
                subject.name,
                modality,
                NONE,
                0,
                cross,
                own,
                precision,
                0.0,
                first,
                0.0,
            )
        )
    return tuple(cells)


def _cell(
    victim: str, run: Run, iterations: int, snapshot: Snapshot, asked: Asked, seconds: float
) -> Cell:
    modality = run.method.value("modality")
    cross = measure(snapshot.codes, asked, _other(modality))
    return Cell(
        victim,
        modality,
        run.attack,
        iterations,
        cross,
        measure(snapshot.codes, asked, modality),
        measure(snapshot.codes_8bit, asked, _other(modality)).mean_average_precision,
        float(snapshot.distortion.mean()),
        1 - float(cross.precisions[0]),
        seconds,
    )


def _other(modality: Modality) -> Modality:
    return "text" if modality == "image" else "image"


def _hash(subject: Subject, modality: Modality, examples: np.ndarray) -> np.ndarray:
    """Hash adversarial pictures or texts by another victim."""
    code_of = subject.hasher.image_code if modality == "image" else subject.hasher.text_code
    return np.asarray(_hash_many(code_of, subject.params, jnp.asarray(examples)))


def check_plan(plan: Plan, subjects: Sequence[Subject]) -> None:
    """Check what is evaluated.

    Raises:
      InputError: a setting outside its range, or that a victim cannot be attacked with; numbers
        of steps that do not rise.
    """
    rising = all(a < b for a, b in pairwise(plan.iterations))
    if not plan.iterations or min(plan.iterations) < 1 or not rising:
        given = ",".join(map(str, plan.iterations))
        raise InputError(f"iterations {given!r}: give rising numbers, such as 100,200,500")
    for name, hasher, _ in subjects:
        try:
            for method in plan.attacks:
                method.attack(hasher)
        except InputError as problem:
            raise InputError(f"victim {name!r}: {problem}") from None


def check_alike(one: CrossModalHasher, other: CrossModalHasher, names: str) -> None:
    """Check that two victims can be shown the same pictures and texts.

    Raises:
      InputError: they cannot; `names` says whose they are.
    """
    for what in ("image_shape", "tags", "classes"):
        if getattr(one, what) != getattr(other, what):
            raise InputError(
                f"victims {names} differ in their {what.replace('_', ' ')}: evaluate them one by "
                "one"
            )


def _check(subjects: Sequence[Subject], queries: Pairs, database: Pairs) -> None:
    first, names = subjects[0].hasher, [s.name for s in subjects]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"victim {name!r} is given twice: give each once")
    for name, hasher, _ in subjects:
        check_alike(first, hasher, f"{subjects[0].name!r} and {name!r}")
    for pairs in (queries, database):
        check_pairs(pairs, first.tags, first.classes)
        if pairs.pictures.shape[1:] != first.image_shape:
            raise InputError(
                f"pictures of shape {pairs.pictures.shape[1:]}: the victims take "
                f"{first.image_shape}"
            )


_hash_many = jax.jit(
    lambda code_of, params, examples: jax.vmap(code_of, in_axes=(None, 0))(params, examples),
    static_argnums=0,
)
