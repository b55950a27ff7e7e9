"""The attacks on a hasher that a cell of a sweep stands for."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import loading
from jaxadv.core.method import Chosen
from jaxadv.core.run import Result
from jaxadv.core.stream import Request
from jaxadv.data.pairs import Pairs, check_pairs
from jaxadv.errors import InputError
from jaxadv.experiments.cells import Cell, Design
from jaxadv.experiments.family import Family
from jaxadv.experiments.hash_attacks import CONTEXT, Codes, encode, examples_of, known
from jaxadv.experiments.job import Job, Planned, Shared
from jaxadv.experiments.labels import named
from jaxadv.experiments.panels import Records
from jaxadv.experiments.retrieval import Asked, Subject, check_alike, measure, without_relevant
from jaxadv.experiments.retrieval_curves import frontier, retrieved
from jaxadv.experiments.retrieval_pools import adversarial_samples, begun_from, retrieval_pools
from jaxadv.experiments.retrieval_records import as_evaluated, tabulate_retrieval
from jaxadv.experiments.retrieval_tables import AT, retrieval_tables
from jaxadv.experiments.shown import Item, Row, Shown
from jaxadv.hashing.cmla import HashTarget, Modality, hash_target
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.metrics import Retrieval, distortion, search
from jaxadv.hashing.similarity import comparison
from jaxadv.victims.zoo import Victim

FIRST = 5  # retrieved items that a record names


@dataclasses.dataclass(frozen=True)
class RetrievalDesign(Design):
    """What a hasher's cell attacks, as in the CMLA paper's section 4.

    Attributes:
      data: "scenes", or what the victim was trained on.
      queries: held-out pairs that ask, at most.
      database: held-out scenes that are asked; of other data all that did not ask.
      context: items of the database whose codes an attack sees, at most.
      transfer: other victims that are shown what was attacked on this one, by their names.
    """

    data: tuple[str, ...] = ("scenes",)
    queries: int = 300
    database: int = 5000
    context: int = CONTEXT
    transfer: tuple[str, ...] = ()

    @property
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""
        return self.queries


class Asking(NamedTuple):
    """Queries and a database, and what a hasher makes of them.

    Attributes:
      queries: pairs that ask.
      database: pairs that are asked.
      codes: of the database.
      benign: codes of the queries as they are.
    """

    queries: Pairs
    database: Pairs
    codes: Codes
    benign: Codes


def ask(subject: Subject, queries: Pairs, database: Pairs) -> Asking:
    """Hash queries and a database.

    Raises:
      InputError: they do not fit the victim, or nothing is relevant to any query.
    """
    hasher = subject.hasher
    for pairs in (queries, database):
        check_pairs(pairs, hasher.text_shape, hasher.classes)
        if pairs.pictures.shape[1:] != hasher.image_shape:
            raise InputError(
                f"pictures of shape {pairs.pictures.shape[1:]}: victim {subject.name!r} takes "
                f"{hasher.image_shape}"
            )
    without_relevant(queries.labels, database.labels)
    codes, benign = (encode(hasher, subject.params, pairs) for pairs in (database, queries))
    return Asking(queries, database, codes, benign)


def retrieval_job(cell: Cell, victim: Victim, shared: Shared) -> Job:
    """Attack held-out pictures, or their texts, that ask a database of others.

    Args:
      cell: what is attacked, and how.
      victim: the hasher.
      shared: what its cells have in common.

    Raises:
      InputError: a setting out of range, or a victim that does not know these data.
    """
    design, subject = cell.design, Subject(victim.name, victim.hasher, victim.params)
    assert isinstance(design, RetrievalDesign)
    asked_of = (design.data, design.queries, design.database)
    asking = shared.once(asked_of, lambda: ask(subject, *retrieval_pools(victim, *asked_of)))
    viewers = [
        shared.once(("other", name, *asked_of), partial(_viewer, name, asking.database))
        for name in design.transfer
    ]
    about = {"data": ", ".join(design.data), **_trained_on(victim)}
    return retrieval_attacks(subject, cell.method, asking, design.context, viewers, about)


def retrieval_attacks(
    subject: Subject,
    method: Chosen,
    asking: Asking,
    context: int = CONTEXT,
    viewers: "Sequence[Viewer]" = (),
    about: Mapping[str, Any] = MappingProxyType({}),
) -> Job:
    """Make a job of attacks on all queries.

    Args:
      subject: the victim.
      method: the attack.
      asking: the queries and the database.
      context: items of the database whose codes an attack sees, at most.
      viewers: other victims that are shown what was attacked on this one.
      about: columns of every record.

    Raises:
      InputError: a viewer that takes other pictures, tags or labels.
    """
    hasher, modality = subject.hasher, method.value("modality")
    queries, database = asking.queries, asking.database
    before = asking.benign.image if modality == "image" else asking.benign.text
    other: Modality = "text" if modality == "image" else "image"
    for one in viewers:
        check_alike(hasher, one.subject.hasher, f"{subject.name!r} and {one.subject.name!r}")

    def precisions(code: np.ndarray, row: int, name: str, curve: bool = True) -> dict[str, Any]:
        labels = database.labels, queries.labels[row : row + 1]
        asked = Asked(asking.codes, *labels, comparison(hasher))
        cross, own = (measure(code[None], asked, to) for to in (other, modality))
        told = {
            f"ap_cross{name}": cross.mean_average_precision,
            f"ap_own{name}": own.mean_average_precision,
        }
        return {**told, **_curve(cross, name)} if curve else told

    def describe(what: Planned, request: Request, result: Result) -> dict[str, Any]:
        final, row = method.report(result), what.id
        image, labels = np.asarray(final.image), queries.labels[row : row + 1]
        shown = [one.entry(modality, image, labels, other) for one in viewers]
        return {
            "bits": hasher.bits,
            **about,
            **({"transfer": shown} if viewers else {}),
            **precisions(before[row], row, "_benign"),
            **precisions(final.output, row, ""),
            **precisions(final.output_8bit, row, "_8bit", curve=False),
            "found_benign": _first(subject, asking, before[row], other, labels[0]),
            "found_8bit": _first(subject, asking, np.asarray(final.output_8bit), other, labels[0]),
            "distortion": float(distortion(*map(jnp.asarray, (request.image, final.image)))),
            "success": bool(final.success),
            "success_8bit": bool(final.success_8bit),
            "already": bool(result.already),
            "norm": float(final.norm),
            "linf": float(final.linf),
            "steps": int(result.iterations),
        }

    seen = database.labels[:context]
    lonely = without_relevant(queries.labels, database.labels)
    return Job(
        attack=method.attack(hasher),
        params=known(subject.params, asking.codes, context),
        iterations=method.iterations,
        planned=[
            Planned(row, {"image": name}, partial(_load, queries, modality, row, seen))
            for row, name in enumerate(queries.ids)
        ],
        together=False,
        picture=lambda result: np.asarray(method.report(result).image),
        describe=describe,
        notes=(
            f"{subject.name}: {len(queries.ids)} queries of a database of {len(database.ids)}; "
            f"nothing is relevant to {lonely} of them, which count as 0 in MAP",
        ),
    )


def _first(
    subject: Subject, asking: Asking, code: np.ndarray, to: Modality, labels: np.ndarray
) -> list[dict[str, Any]]:
    """Name what a code f32[K] retrieves first in a modality, of a query with labels bool[c]."""
    by, database = comparison(subject.hasher), asking.database
    codes = asking.codes.image if to == "image" else asking.codes.text
    rows, _ = search(by.keep(code[None])[0], by.keep(codes), FIRST, by)
    return [
        {
            "item": database.ids[row],
            **({"text": subject.hasher.say(database.texts[row])} if to == "text" else {}),
            "labels": named(database.labels[row], database.classes),
            "relevant": bool((database.labels[row] & labels).any()),
        }
        for row in rows.tolist()
    ]


def _curve(found: Retrieval, name: str) -> dict[str, list[Any]]:
    """Return what the curves of the paper's Figure 3 are made of, of one query."""
    return {
        f"within{name}": found.within.tolist(),
        f"relevant_within{name}": found.relevant_within.tolist(),
        f"precision_at{name}": [
            float(found.precisions[n - 1]) for n in AT if n <= len(found.precisions)
        ],
    }


class Viewer:
    """Another victim that is shown what was attacked on this one.

    Args:
      subject: the victim.
      database: what it is asked for.
      about: columns that tell what it was trained on.
    """

    def __init__(
        self, subject: Subject, database: Pairs, about: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Hash the database."""
        self.subject, self._about, self._labels = subject, about, database.labels
        self._codes = encode(subject.hasher, subject.params, database)
        self._code_of = {
            "image": jax.jit(subject.hasher.image_code),
            "text": jax.jit(subject.hasher.text_code),
        }

    def entry(
        self, modality: Modality, example: np.ndarray, labels: np.ndarray, other: Modality
    ) -> dict[str, Any]:
        """Return what it finds for an example, and what it was trained on."""
        name, hasher, params = self.subject
        code = np.asarray(self._code_of[modality](params, example))
        asked = Asked(self._codes, self._labels, labels, comparison(hasher))
        found = measure(code[None], asked, other)
        about = {"victim": name, "bits": hasher.bits, **self._about}
        return {**about, "ap_cross": found.mean_average_precision}


def _viewer(name: str, database: Pairs) -> Viewer:
    victim = loading.load(name)
    return Viewer(Subject(name, victim.hasher, victim.params), database, _trained_on(victim))


def _trained_on(victim: Victim) -> dict[str, Any]:
    return {"samples": adversarial_samples(victim), "from": begun_from(victim)}


def _load(
    queries: Pairs, modality: Modality, row: int, context: np.ndarray
) -> tuple[np.ndarray, HashTarget]:
    target = hash_target(jnp.asarray(queries.labels[row]), jnp.asarray(context))
    return examples_of(queries, modality, np.array([row]))[0], target


def shown_retrieved(row: Row) -> Shown:
    """Show what is retrieved first in the other modality, and whether it shares a label."""
    aim = row.get("toward")
    told = f"what shows {', '.join(map(str, aim))}" if aim else "what shares no label"
    return Shown(
        f"{told} is retrieved first",
        _items(row, row.get("found_benign", row.get("before"))),
        _items(row, row.get("found_8bit", row.get("after"))),
    )


def _items(row: Row, found: Any) -> tuple[Item, ...]:
    """Read what was retrieved; a record of `jaxadv attack retrieval` says it of both modalities."""
    if isinstance(found, Mapping):
        found = found.get("texts" if row.get("modality") == "image" else "pictures")
    return tuple(_item(one) for one in found or () if isinstance(one, Mapping))


def _item(found: Mapping[str, Any]) -> Item:
    labels = found.get("labels") or ()
    shows = labels if isinstance(labels, str) else ", ".join(labels)
    name = str(found.get("text") or found.get("item", ""))
    told = f"{name} ({shows})" if shows and not found.get("text") else name
    return Item(told, "relevant" if found.get("relevant") else "irrelevant")


def _found(records: Records) -> dict[str, Any]:
    return as_evaluated(records.paper, records.cells, records.rows, records.victims)


# its tables are of all queries of a cell together: `retrieval_records`
RETRIEVAL = Family(
    name="retrieval",
    methods=METHODS,
    design=RetrievalDesign,
    job=retrieval_job,
    measures={},
    table=lambda paper, cells, rows, victims: tabulate_retrieval(
        paper, as_evaluated(paper, cells, rows, victims)
    ),
    panels={
        "frontier": lambda records: [frontier(_found(records))],
        "precision-recall": lambda records: [retrieved(_found(records), "precision-recall")],
        "precision-at": lambda records: [retrieved(_found(records), "precision-at")],
    },
    evaluated=tabulate_retrieval,
    own=lambda paper, cells, rows, victims: retrieval_tables(
        as_evaluated(paper, cells, rows, victims)
    ),
    shown=shown_retrieved,
    commands=("attack retrieval",),
)
