"""The attacks on a tagger that a cell of a sweep stands for."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.core.method import Chosen
from jaxadv.core.run import Result
from jaxadv.core.stream import Request
from jaxadv.data import scenes
from jaxadv.data.opening import open_data
from jaxadv.data.records import labelled
from jaxadv.experiments.cells import Cell, Design, PlanError
from jaxadv.experiments.family import Family, Measure, column, norm_of_success
from jaxadv.experiments.job import Job, Planned, Shared
from jaxadv.experiments.label_pools import Pool, benign_scores, photo_pools, scene_pool
from jaxadv.experiments.labels import choose, first, labels_of_type, named
from jaxadv.experiments.shown import Item, Row, Shown
from jaxadv.labels.methods import METHODS
from jaxadv.labels.metrics import Form, RankingScores, excluded, ranking_scores
from jaxadv.labels.target import LabelTarget
from jaxadv.victims.zoo import Victim

FORMED = ("delta_top_k_accuracy", "delta_average_precision")  # the paper and its code differ


@dataclasses.dataclass(frozen=True)
class LabelDesign(Design):
    """What a tagger's cell attacks, as in the TkMIA paper's section 5.1.

    Attributes:
      data: "scenes", or folders of labelled photographs.
      images: scenes to choose from, or the most photographs.
      most: valid pictures that are attacked, for every k and selection (paper: 1000).
      k: how many labels count as said.
      selection: "random" (S2) or "global" (S1).
      among: which labels S is drawn from, or must have one of: the "relevant" ones (paper), or
        those of them that are "said" among the first k before the attack (released code).
      specified: labels a picture, for random selection.
      types: types of labels, or words in them, for global selection.
      search: attack this number of other valid pictures instead, to search settings on:
        further scenes, or photographs of the victim's training.
    """

    data: tuple[str, ...] = ("scenes",)
    images: int = 100
    most: int | None = None
    k: tuple[int, ...] = (3, 5, 10)
    selection: Literal["random", "global"] = "random"
    among: Literal["relevant", "said"] = "relevant"
    specified: tuple[int, ...] = (2,)
    types: tuple[str, ...] = ()
    search: int | None = None

    @property
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""
        return self.images * len(self.k) * max(len(self.specified), len(self.types))

    @property
    def selections(self) -> "list[tuple[str, LabelDesign]]":
        """What its records call each selection of labels, and the same design of that one alone."""
        if self.selection == "global":
            return [(name, dataclasses.replace(self, types=(name,))) for name in self.types]
        return [
            (f"{number} labels", dataclasses.replace(self, specified=(number,)))
            for number in self.specified
        ]

    @property
    def unread(self) -> dict[str, tuple[str, ...]]:
        """The keys that are not read as the others are set, by why."""
        other = {"random": "types", "global": "specified"}[self.selection]
        return {f'selection = "{self.selection}"': (other,)}


def label_job(cell: Cell, victim: Victim, shared: Shared) -> Job:
    """Specify labels of pictures that the victim was not trained on, as the TkMIA paper does.

    Raises:
      InputError: a setting out of range, or a victim that knows other labels.
    """
    design, method = cell.design, cell.method
    assert isinstance(design, LabelDesign)
    tagger = victim.classifier
    for k in design.k:
        if not 0 < k < len(tagger.classes):
            raise PlanError(f"k = {k}: must be from 1 to {len(tagger.classes) - 1}")
    planned, notes = _planned(cell, design, victim, shared)
    return label_attacks(victim, method, planned, notes)


def label_attacks(
    victim: Victim, method: Chosen, planned: Sequence[Planned], notes: tuple[str, ...] = ()
) -> Job:
    """Make a job of attacks on a tagger."""
    tagger = victim.classifier
    precision = _recorded_precision(victim)

    def describe(what: Planned, request: Request, result: Result) -> dict[str, Any]:
        final, target = method.report(result), request.target
        before = result.benign.output
        k = int(target.k)
        change = _changes(before, final.output, target.relevant, target.k)
        seen = (final.output, target.relevant, target.specified, target.k)
        gone = excluded(*map(jnp.asarray, seen))
        return {
            **{name: float(value) for name, value in change["paper"].items()},
            **{f"{name}_released": float(change["released"][name]) for name in FORMED},
            "excluded": int(gone),
            "before": first(before, tagger.classes, k),
            "after": first(final.output, tagger.classes, k),
            "after_8bit": first(final.output_8bit, tagger.classes, k),
            "success": bool(final.success),
            "success_8bit": bool(final.success_8bit),
            "already": bool(result.already),
            "norm": float(final.norm),
            "linf": float(final.linf),
            "steps": int(result.iterations),
            "victim_precision": precision,
        }

    return Job(
        attack=method.attack(tagger),
        params=victim.params,
        iterations=method.iterations,
        planned=planned,
        together=False,
        picture=lambda result: np.asarray(method.report(result).image),
        describe=describe,
        notes=notes,
    )


def _recorded_precision(victim: Victim) -> float | None:
    """Return the tagger's mean average precision as its record has it."""
    measures = victim.record.get("measures", {})
    for found in measures.values() if isinstance(measures, dict) else ():
        if isinstance(found, dict) and "mean_average_precision" in found:
            return float(found["mean_average_precision"])
    return None


@jax.jit
def _changes(before: Array, after: Array, relevant: Array, k: Array) -> dict[str, Any]:
    forms: tuple[Form, ...] = get_args(Form)
    return {form: _change(before, after, relevant, k, form) for form in forms}


def _change(before: Array, after: Array, relevant: Array, k: Array, form: Form) -> dict[str, Array]:
    """What the four measures lose, by name (the paper's ΔTkAcc, ΔP@k, ΔmAP@k and ΔNDCG@k)."""
    was, now = (ranking_scores(scores, relevant, k, form) for scores in (before, after))
    return {f"delta_{n}": getattr(was, n) - getattr(now, n) for n in RankingScores._fields}


def _pool(design: LabelDesign, victim: Victim) -> Pool:
    """Find the pictures to choose from."""
    tagger = victim.classifier
    if design.data == ("scenes",):
        if tagger.classes != scenes.LABELS:
            raise PlanError(f"victim {victim.name!r}: does not know the labels of scenes")
        if design.search is not None:
            return scene_pool(2 * design.search, first=design.images)
        return scene_pool(design.images)
    found = labelled(open_data(design.data))
    held_out = victim.record.get("held_out")
    side = tagger.image_shape[0]
    held, others = photo_pools(found, tagger.classes, side, held_out, design.images)
    return held if design.search is None else others


def _planned(
    cell: Cell, design: LabelDesign, victim: Victim, shared: Shared
) -> tuple[list[Planned], tuple[str, ...]]:
    """Specify labels for every k, and say which pictures are left out, as in the paper."""
    classes = victim.classifier.classes
    source = (design.data, design.images, design.search)
    pool = shared.once(source, lambda: _pool(design, victim))
    scores = None
    if design.among == "said":
        scores = shared.once(
            ("scores", *source), lambda: benign_scores(victim.classifier, victim.params, pool)
        )
    selections: dict[str, dict[str, Any]] = {
        f"{number} labels": {"number": number} for number in design.specified
    }
    if design.selection == "global":
        if not design.types:
            raise PlanError("types: global selection needs some, such as ['red', 'circle']")
        selections = {name: {"wanted": labels_of_type(name, classes)} for name in design.types}
    delta = cell.method.value("delta")
    most = design.most if design.search is None else design.search
    planned: list[Planned] = []
    notes: list[str] = []
    for name, how in selections.items():
        for k in design.k:
            chosen = choose(
                pool.labels,
                k,
                scores=scores,
                delta=delta,
                most=most,
                seed=cell.seed,
                **how,
            )
            reasons = [f"{number} with {reason}" for reason, number in chosen.left_out.items()]
            notes.append(
                f"{name} specified, k={k} on {victim.name}: {len(chosen.numbers)} attacked, left "
                f"out {' and '.join(reasons) or 'none'}"
            )
            targets = jax.tree.map(np.asarray, chosen.targets)
            for row, image in enumerate(chosen.numbers.tolist()):
                target: LabelTarget = jax.tree.map(lambda x, row=row: x[row], targets)
                about = {
                    "image": pool.ids[image],
                    "setting": name,
                    "k": k,
                    "specified": named(target.specified, classes),
                    "relevant": named(target.relevant, classes),
                }
                planned.append(Planned(len(planned), about, partial(_load, pool, image, target)))
    return planned, tuple(notes)


def _load(pool: Pool, number: int, target: LabelTarget) -> tuple[np.ndarray, LabelTarget]:
    return pool.read(number), target


def measures_in(form: Form) -> dict[str, Measure]:
    """Return the measures of a record, TkAcc and AP@k in a form (`labels.metrics`)."""
    formed = "_released" if form == "released" else ""
    return {
        "ΔTkAcc": column(f"delta_top_k_accuracy{formed}"),
        "ΔP@k": column("delta_precision"),
        "ΔmAP@k": column(f"delta_average_precision{formed}"),
        "ΔNDCG@k": column("delta_ndcg"),
        "Δl": column("excluded"),
        "APer": norm_of_success,
        "|S|": lambda row: len(row["specified"]),
        "SR": column("success"),
        "SR 8-bit": column("success_8bit"),
        "mAP": column("victim_precision"),
        "already": column("already"),
        "seconds": column("seconds"),
    }


def shown_labels(row: Row) -> Shown:
    """Show the first labels before and after, and which of them are to leave."""
    specified, relevant = row.get("specified") or (), row.get("relevant") or ()

    def ranking(names: Sequence[str]) -> tuple[Item, ...]:
        kinds = {**dict.fromkeys(relevant, "relevant"), **dict.fromkeys(specified, "specified")}
        return tuple(Item(name, kinds.get(name, "irrelevant")) for name in names)

    after = row.get("after_8bit") or row.get("after") or ()
    aim = f"{', '.join(specified)} not among the first {row.get('k', 'labels')}"
    return Shown(aim if specified else "", ranking(row.get("before") or ()), ranking(after))


LABELS = Family(
    name="labels",
    methods=METHODS,
    design=LabelDesign,
    job=label_job,
    measures=measures_in("released"),  # as in the paper's tables
    rows=("method", "setting", "k"),
    curves=("SR", "APer"),
    filled={"delta": "all"},
    shown=shown_labels,
    commands=("attack labels",),
)
