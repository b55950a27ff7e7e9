"""The attacks on a hasher that a cell of a sweep stands for."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core.run import Result
from jaxadv.core.stream import Request
from jaxadv.data.pairs import Pairs
from jaxadv.experiments.cells import Cell, Design
from jaxadv.experiments.family import Family
from jaxadv.experiments.hash_attacks import CONTEXT, encode, examples_of, known
from jaxadv.experiments.job import Job, Planned, Shared
from jaxadv.experiments.retrieval import Asked, check_alike, measure
from jaxadv.experiments.retrieval_pools import adversarial_samples, begun_from, retrieval_pools
from jaxadv.experiments.retrieval_records import as_evaluated, tabulate_retrieval
from jaxadv.experiments.retrieval_tables import AT
from jaxadv.hashing.cmla import HashTarget, Modality, hash_target
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.metrics import Retrieval, distortion
from jaxadv.hashing.similarity import comparison
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Victim


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


def retrieval_job(cell: Cell, victim: Victim, shared: Shared) -> Job:
    """Attack held-out pictures, or their texts, that ask a database of others.

    Args:
      cell: what is attacked, and how.
      victim: the hasher.
      shared: what its cells have in common.

    Raises:
      InputError: a setting out of range, or a victim that does not know these data.
    """
    design, hasher = cell.design, victim.hasher
    assert isinstance(design, RetrievalDesign)
    attack, modality = cell.method.attack(hasher), cell.method.value("modality")
    asked_of = (design.data, design.queries, design.database)
    queries, database = shared.once(asked_of, lambda: retrieval_pools(victim, *asked_of))
    codes, benign = shared.once(
        ("codes", *asked_of),
        lambda: tuple(encode(hasher, victim.params, pairs) for pairs in (database, queries)),
    )
    before = benign.image if modality == "image" else benign.text
    other: Modality = "text" if modality == "image" else "image"
    others = [
        shared.once(("other", name, *asked_of), partial(_Other, name, database))
        for name in design.transfer
    ]
    for one in others:
        check_alike(hasher, one.victim.hasher, f"{cell.victim!r} and {one.victim.name!r}")

    def precisions(code: np.ndarray, row: int, name: str, curve: bool = True) -> dict[str, Any]:
        labels = database.labels, queries.labels[row : row + 1]
        asked = Asked(codes, *labels, comparison(hasher))
        cross, own = (measure(code[None], asked, to) for to in (other, modality))
        told = {
            f"ap_cross{name}": cross.mean_average_precision,
            f"ap_own{name}": own.mean_average_precision,
        }
        return {**told, **_curve(cross, name)} if curve else told

    def transferred(example: np.ndarray, row: int) -> list[dict[str, Any]]:
        labels = queries.labels[row : row + 1]
        return [one.entry(modality, example, labels, other) for one in others]

    def describe(what: Planned, request: Request, result: Result) -> dict[str, Any]:
        final, row = result.final, what.id
        return {
            "data": ", ".join(design.data),
            "bits": hasher.bits,
            "samples": adversarial_samples(victim),
            "from": begun_from(victim),
            **({"transfer": transferred(np.asarray(final.image), row)} if others else {}),
            **precisions(before[row], row, "_benign"),
            **precisions(final.output, row, ""),
            **precisions(final.output_8bit, row, "_8bit", curve=False),
            "distortion": float(distortion(*map(jnp.asarray, (request.image, final.image)))),
            "success": bool(final.success),
            "success_8bit": bool(final.success_8bit),
            "already": bool(result.already),
            "norm": float(final.norm),
            "linf": float(final.linf),
            "steps": int(result.iterations),
        }

    context = database.labels[: design.context]
    return Job(
        attack=attack,
        params=known(victim.params, codes, design.context),
        iterations=cell.method.iterations,
        planned=[
            Planned(row, {"image": name}, partial(_load, queries, modality, row, context))
            for row, name in enumerate(queries.ids)
        ],
        together=False,
        picture=lambda result: np.asarray(result.final.image),
        describe=describe,
    )


def _curve(found: Retrieval, name: str) -> dict[str, list[Any]]:
    """Return what the curves of the paper's Figure 3 are made of, of one query."""
    return {
        f"within{name}": found.within.tolist(),
        f"relevant_within{name}": found.relevant_within.tolist(),
        f"precision_at{name}": [
            float(found.precisions[n - 1]) for n in AT if n <= len(found.precisions)
        ],
    }


class _Other:
    """Another victim that is shown what was attacked on this one."""

    def __init__(self, name: str, database: Pairs) -> None:
        self.victim = victim = zoo.load(name)
        self._labels = database.labels
        self._codes = encode(victim.hasher, victim.params, database)
        self._code_of = {
            "image": jax.jit(victim.hasher.image_code),
            "text": jax.jit(victim.hasher.text_code),
        }

    def entry(
        self, modality: Modality, example: np.ndarray, labels: np.ndarray, other: Modality
    ) -> dict[str, Any]:
        """Return what it finds for an example, and what it was trained on."""
        code = np.asarray(self._code_of[modality](self.victim.params, example))
        asked = Asked(self._codes, self._labels, labels, comparison(self.victim.hasher))
        return {
            "victim": self.victim.name,
            "bits": self.victim.hasher.bits,
            "samples": adversarial_samples(self.victim),
            "from": begun_from(self.victim),
            "ap_cross": measure(code[None], asked, other).mean_average_precision,
        }


def _load(
    queries: Pairs, modality: Modality, row: int, context: np.ndarray
) -> tuple[np.ndarray, HashTarget]:
    target = hash_target(jnp.asarray(queries.labels[row]), jnp.asarray(context))
    return examples_of(queries, modality, np.array([row]))[0], target


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
    evaluated=tabulate_retrieval,
)
