"""Many attacks on a tagger: labels specified as the TkMIA paper does, its tables' rows."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.attack import Attack
from jaxadv.attacks.drive import run
from jaxadv.data.label_types import EVERY
from jaxadv.metrics.ranking import AttackRow, Form, attack_row
from jaxadv.objectives.labels import (
    LabelError,
    LabelTarget,
    is_valid,
    specify_global,
    specify_random,
)
from jaxadv.victims.classifier import MultiLabelClassifier, Params


class Chosen(NamedTuple):
    """Which pictures are attacked, and why others are not.

    Attributes:
      numbers: i64[n], of the pictures.
      targets: what to aim at, stacked.
      left_out: how many pictures were left out, by reason.
    """

    numbers: np.ndarray
    targets: LabelTarget
    left_out: dict[str, int]


class Outcomes(NamedTuple):
    """What came of some attacks; a leading axis of them.

    Attributes:
      images: f32[n, H, W, 3], the adversarial pictures.
      perturbations: f32[n, H, W, 3].
      before, after, after_8bit: f32[n, c], scores of the benign picture, of the adversarial one,
        and of that rounded to 8 bits.
      success, success_8bit: bool[n], whether enough specified labels are out of the first k.
      norm: f32[n], ‖ε‖₂.
      iterations: i32[n], steps taken.
    """

    images: np.ndarray
    perturbations: np.ndarray
    before: np.ndarray
    after: np.ndarray
    after_8bit: np.ndarray
    success: np.ndarray
    success_8bit: np.ndarray
    norm: np.ndarray
    iterations: np.ndarray


class Progress(NamedTuple):
    """How many attacks are done, and the outcomes of the last batch."""

    done: int
    total: int
    message: str
    outcomes: Outcomes
    seconds: float


class Row(NamedTuple):
    """A row of the paper's Tables 1-4, with the count and the success after 8-bit rounding."""

    attacked: int
    measures: AttackRow
    success_8bit: float
    seconds: float


def labels_of_type(name: str, classes: Sequence[str]) -> np.ndarray:
    """Return which labels are of a type, bool[c], to suppress everywhere.

    A type is one of the paper's Tables 6-8 (`data.label_types`), for victims that know all of its
    labels, or else a word: all labels that have it.

    >>> labels_of_type("red", ("red circle", "blue circle", "red star")).tolist()
    [True, False, True]

    Raises:
      LabelError: no label is of that type.
    """
    name = " ".join(name.lower().split())
    known = {label.lower() for label in classes}
    for types in EVERY:
        if name in types and known.issuperset(types[name]):
            return np.array([label.lower() in types[name] for label in classes])
    found = np.array([name in label.lower().split() for label in classes])
    if not found.any():
        raise LabelError(f"no label is of type {name!r}, and none has that word")
    return found


def choose(
    labels: np.ndarray, k: int, *, wanted: np.ndarray | None = None, number: int = 1, seed: int = 0
) -> Chosen:
    """Specify labels and keep the pictures that the paper attacks: `|Y| >= k + |S|`, S not empty.

    Args:
      labels: bool[n, c], Y of each picture.
      k: how many labels count as said.
      wanted: bool[c], the labels to suppress everywhere (global selection, S1); None draws
        `number` of each picture's own (random selection, S2).
      number: the paper's m.
      seed: of the random selection; a picture's draw does not depend on the other pictures.
    """
    relevant = jnp.asarray(labels)
    if wanted is None:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            jax.random.key(seed), jnp.arange(len(labels))
        )
        specified = jax.vmap(specify_random, in_axes=(0, None, 0))(relevant, number, keys)
    else:
        specified = jax.vmap(specify_global, in_axes=(0, None))(relevant, jnp.asarray(wanted))
    targets = LabelTarget(relevant, specified, jnp.full(len(labels), k, jnp.int32))
    valid = np.asarray(jax.vmap(is_valid)(targets))
    without = np.asarray(~specified.any(axis=1))
    reasons = np.where(without, "no specified label", "too few relevant labels")
    numbers = np.flatnonzero(valid)
    kept: LabelTarget = jax.tree.map(lambda x: x[numbers], targets)
    return Chosen(numbers, kept, dict(Counter(reasons[~valid].tolist())))


def attack_labels(
    victim: MultiLabelClassifier,
    params: Params,
    images: Sequence[np.ndarray],
    targets: LabelTarget,
    attack: Attack,
    *,
    iterations: int,
    batch: int,
    seed: int = 0,
) -> Iterator[Progress]:
    """Attack pictures in batches of one size, so that all of them share one compilation.

    Args:
      victim: the tagger.
      params: its parameters.
      images: f32[H, W, 3] each.
      targets: what to aim at, stacked.
      attack: any of the attacks on taggers.
      iterations: most steps a picture.
      batch: pictures at once.
      seed: of what the attack draws, folded with the picture's place among all.
    """
    total = len(images)
    batch = min(batch, total)
    score = jax.jit(jax.vmap(victim.scores, in_axes=(None, 0)))
    for start in range(0, total, batch):
        rows = np.minimum(np.arange(start, start + batch), total - 1)
        pictures = jnp.stack([images[row] for row in rows])
        some: LabelTarget = jax.tree.map(lambda x, rows=rows: x[rows], targets)
        began = time.perf_counter()
        result = run(
            attack,
            params,
            pictures,
            some,
            iterations=iterations,
            key=jax.random.key(seed),
            ids=jnp.asarray(rows),
        )
        final = jax.block_until_ready(result.final)
        seconds = time.perf_counter() - began
        real = min(batch, total - start)
        seen = (
            final.image,
            final.image - pictures,
            score(params, pictures),
            final.output,
            final.output_8bit,
            final.success,
            final.success_8bit,
            final.norm,
            result.iterations,
        )
        outcomes = Outcomes(*(np.asarray(x)[:real] for x in seen))
        message = f"{outcomes.success.mean():.0%} fooled"
        yield Progress(start + real, total, message, outcomes, seconds * real / batch)


def join(some: Sequence[Outcomes]) -> Outcomes:
    """Put outcomes of several batches together."""
    joined: Outcomes = jax.tree.map(lambda *x: np.concatenate(x), *some)
    return joined


def tabulate(
    outcomes: Outcomes, targets: LabelTarget, seconds: float, delta: int | None, form: Form
) -> Row:
    """Average outcomes of one k, as the paper's tables do."""
    k = targets.k[0]
    threshold = None if delta is None else jnp.asarray(delta)
    measures = attack_row(
        jnp.asarray(outcomes.before),
        jnp.asarray(outcomes.after),
        targets.relevant,
        targets.specified,
        k,
        jnp.asarray(outcomes.perturbations),
        threshold,
        form,
    )
    count = len(outcomes.success)
    return Row(count, measures, float(outcomes.success_8bit.mean()), seconds / count)


def record(
    outcomes: Outcomes, targets: LabelTarget, number: int, classes: Sequence[str]
) -> dict[str, Any]:
    """Say the outcome of that number in JSON."""
    k = int(targets.k[number])

    def named(mask: Any) -> list[str]:
        return [name for name, here in zip(classes, np.asarray(mask[number]), strict=True) if here]

    def said(scores: np.ndarray) -> list[str]:
        return [classes[i] for i in np.argsort(-scores[number], stable=True)[:k]]

    return {
        "k": k,
        "specified": named(targets.specified),
        "relevant": named(targets.relevant),
        "before": said(outcomes.before),
        "after": said(outcomes.after),
        "after_8bit": said(outcomes.after_8bit),
        "success": bool(outcomes.success[number]),
        "success_8bit": bool(outcomes.success_8bit[number]),
        "norm": float(outcomes.norm[number]),
        "iterations": int(outcomes.iterations[number]),
    }
