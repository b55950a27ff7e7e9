"""Many attacks on a tagger: labels specified as the TkMIA paper does, its tables' rows."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core.attack import Attack
from jaxadv.core.memory import Fit, largest_batch
from jaxadv.core.method import Chosen
from jaxadv.core.stream import Request, stream
from jaxadv.data.label_types import EVERY
from jaxadv.labels.classifier import MultiLabelClassifier, Params, first_labels
from jaxadv.labels.metrics import AttackRow, Form, attack_row
from jaxadv.labels.ranking import in_top
from jaxadv.labels.target import LabelError, LabelTarget, is_valid, specify_global, specify_random


class Selection(NamedTuple):
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
      numbers: i64[n], the pictures' places among all.
      images: f32[n, H, W, 3], the adversarial pictures.
      perturbations: f32[n, H, W, 3].
      before, after, after_8bit: f32[n, c], logits of the benign picture, of the adversarial one,
        and of that rounded to 8 bits.
      success, success_8bit: bool[n], whether enough specified labels are out of the first k.
      already: bool[n], whether they were out before the attack, so that success means nothing.
      norm: f32[n], ‖ε‖₂.
      iterations: i32[n], steps taken.
    """

    numbers: np.ndarray
    images: np.ndarray
    perturbations: np.ndarray
    before: np.ndarray
    after: np.ndarray
    after_8bit: np.ndarray
    success: np.ndarray
    success_8bit: np.ndarray
    already: np.ndarray
    norm: np.ndarray
    iterations: np.ndarray


class Progress(NamedTuple):
    """How many attacks are done, and the outcomes of the last ones."""

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
    labels: np.ndarray,
    k: int,
    *,
    wanted: np.ndarray | None = None,
    number: int = 1,
    delta: int | None = None,
    scores: np.ndarray | None = None,
    most: int | None = None,
    seed: int = 0,
) -> Selection:
    """Specify labels and keep the pictures that the paper attacks: `|Y| >= k + |S|`, S not empty.

    The paper draws S from "ground-truth labels" (section 4.2), so that some of S may be out of the
    first k before the attack, which then counts as a success. Its released code asks the victim
    first: with `scores`, S2 draws from the relevant labels among the first k of the benign
    picture, of which there must be so many, and S1 leaves out pictures where no label of S is
    among them. Section 5.1's "specified categories in the top-k set" reads like the code.

    Args:
      labels: bool[n, c], Y of each picture.
      k: how many labels count as said.
      wanted: bool[c], the labels to suppress everywhere (global selection, S1); None draws
        `number` of each picture's own (random selection, S2).
      number: the paper's m.
      delta: labels that must leave the first k; pictures with fewer in S are left out.
      scores: f32[n, c], logits of the benign pictures, to choose as the released code does.
      most: stop at so many valid pictures (paper: 1000); those after them are not counted at all.
      seed: of the random selection; a picture's draw does not depend on the other pictures.
    """
    relevant = jnp.asarray(labels)
    said = relevant
    if scores is not None:
        said = relevant & jax.vmap(in_top, in_axes=(0, None))(jnp.asarray(scores), k)
    if wanted is None:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            jax.random.key(seed), jnp.arange(len(labels))
        )
        specified = jax.vmap(specify_random, in_axes=(0, None, 0))(said, number, keys)
        drawn = specified.sum(axis=1) == jnp.minimum(number, relevant.sum(axis=1))
    else:
        specified = jax.vmap(specify_global, in_axes=(0, None))(relevant, jnp.asarray(wanted))
        drawn = (specified & said).any(axis=1)
    targets = LabelTarget(relevant, specified, jnp.full(len(labels), k, jnp.int32))
    empty = ~specified.any(axis=1)
    enough = specified.sum(axis=1) >= (delta or 0)
    valid = np.asarray(jax.vmap(is_valid)(targets) & drawn & enough)
    reasons = np.select(
        [empty & (scores is None), ~drawn, ~enough],
        [
            "no specified label",
            "too few specified labels among the first k",
            f"fewer than {delta} specified labels",
        ],
        "too few relevant labels",
    )
    numbers = np.flatnonzero(valid)[:most]
    looked_at = len(labels) if most is None or len(numbers) < most else int(numbers[-1]) + 1
    kept: LabelTarget = jax.tree.map(lambda x: x[numbers], targets)
    return Selection(numbers, kept, dict(Counter(reasons[:looked_at][~valid[:looked_at]].tolist())))


def largest_label_batch(
    victim: MultiLabelClassifier, params: Params, methods: Sequence[Chosen], most: int
) -> Fit:
    """Find how many attacks of every method fit the device at once, at most `most`.

    Raises:
      InputError: of some method not even one fits.
    """
    nothing = jnp.zeros(len(victim.classes), bool)
    target = LabelTarget(nothing, nothing, jnp.ones((), jnp.int32))
    image: Any = jax.ShapeDtypeStruct(victim.image_shape, np.float32)  # all that is asked of it
    fits = [
        largest_batch(
            method.attack(victim), params, image, target, iterations=method.iterations, most=most
        )
        for method in methods
    ]
    return min(fits, key=lambda fit: fit.batch)


def attack_labels(
    params: Params,
    images: Sequence[np.ndarray],
    targets: LabelTarget,
    attack: Attack,
    *,
    iterations: int,
    batch: int,
    seed: int = 0,
    same_slots: bool = False,
) -> Iterator[Progress]:
    """Attack pictures, so many at once; one that is through makes room for the next.

    All share one compilation, and what comes of one does not depend on the others.

    Args:
      params: the tagger's parameters.
      images: f32[H, W, 3] each; read when their turn comes.
      targets: what to aim at, stacked.
      attack: any of the attacks on taggers.
      iterations: most steps a picture.
      batch: pictures at once.
      seed: of what the attack draws, folded with the picture's place among all.
      same_slots: whether fewer pictures take as long as `batch` of them, so that another number of
        them does not compile anew.

    Yields:
      the outcomes of some pictures, in the order in which they come to an end.
    """
    total = len(images)
    slots = batch if same_slots else min(batch, total)
    on_host: LabelTarget = jax.tree.map(np.asarray, targets)
    finished = stream(
        attack,
        params,
        (
            Request(i, np.asarray(images[i]), jax.tree.map(lambda x, i=i: x[i], on_host))
            for i in range(total)
        ),
        iterations=iterations,
        slots=slots,
        key=jax.random.key(seed),
    )
    done = 0
    while done < total:
        began = time.perf_counter()
        some = list(islice(finished, slots))
        seconds = time.perf_counter() - began
        numbers = np.array([f.id for f in some])
        results: Any = jax.tree.map(lambda *x: np.stack(x), *(f.result for f in some))
        final = results.final
        pictures = np.stack([images[i] for i in numbers])
        outcomes = Outcomes(
            numbers,
            final.image,
            final.image - pictures,
            results.benign.output,
            final.output,
            final.output_8bit,
            final.success,
            final.success_8bit,
            results.already,
            final.norm,
            results.iterations,
        )
        done += len(some)
        message = f"{outcomes.success_8bit.mean():.0%} of the last {len(some)} fooled"
        yield Progress(done, total, message, outcomes, seconds)


def join(some: Sequence[Outcomes]) -> Outcomes:
    """Put outcomes together, in the order of the pictures."""
    joined: Outcomes = jax.tree.map(lambda *x: np.concatenate(x), *some)
    order = np.argsort(joined.numbers)
    sorted_: Outcomes = jax.tree.map(lambda x: x[order], joined)
    return sorted_


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


def named(mask: Any, classes: Sequence[str]) -> list[str]:
    """Name the labels of a mask bool[c]."""
    return [name for name, here in zip(classes, np.asarray(mask), strict=True) if here]


def first(logits: Any, classes: Sequence[str], k: int) -> list[str]:
    """Name the k labels of the highest logits f32[c], the highest first."""
    return [classes[i] for i in first_labels(logits, k)]


def record(
    outcomes: Outcomes, targets: LabelTarget, number: int, classes: Sequence[str]
) -> dict[str, Any]:
    """Say the outcome of that number in JSON."""
    k = int(targets.k[number])

    return {
        "k": k,
        "specified": named(targets.specified[number], classes),
        "relevant": named(targets.relevant[number], classes),
        "before": first(outcomes.before[number], classes, k),
        "after": first(outcomes.after[number], classes, k),
        "after_8bit": first(outcomes.after_8bit[number], classes, k),
        "success": bool(outcomes.success[number]),
        "success_8bit": bool(outcomes.success_8bit[number]),
        "already": bool(outcomes.already[number]),
        "norm": float(outcomes.norm[number]),
        "iterations": int(outcomes.iterations[number]),
    }
