"""Measure the reliable attack on hashers, and CMLA: MAP in both modalities, with equal passes.

    python -m benchmarks.reliable_hashing scenes-dcmh
    python -m benchmarks.reliable_hashing scenes-ssah --queries 60 --keep 0.5 0.6 --intra 1 2

Each line is a point of a frontier: CMLA at one weight of its intra-modal term, or the reliable
attack at one `keep`. The queries are held-out scenes from number `--first` on; those of the
table's design were numbers 200 to 239. MAP is that of the pictures of 8 bits.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxadv.core.method import Chosen, choose
from jaxadv.data.pairs import take
from jaxadv.experiments.job import Job, carry_out
from jaxadv.experiments.retrieval import Asked, Subject, measure
from jaxadv.experiments.retrieval_jobs import ask, retrieval_attacks
from jaxadv.experiments.retrieval_pools import retrieval_pools
from jaxadv.hashing.cmla import Modality
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.similarity import comparison
from jaxadv.victims import zoo


def points(given: argparse.Namespace) -> Iterator[Chosen]:
    """Return the attacks: CMLA at each weight, and the reliable one at each `keep`."""
    shared: dict[str, Any] = {"modality": given.modality, "bound": given.bound}
    for intra in given.intra:
        yield choose(METHODS, "cmla", intra=intra, iterations=given.budget, **shared)
    for keep in given.keep:
        yield choose(METHODS, "reliable", keep=keep, budget=given.budget, **shared)


def attacked(job: Job, batch: int) -> dict[str, float]:
    """Attack the queries; return MAP of what a user would save."""
    rows = []
    for done in carry_out(job, lambda _: True, slots=batch, key=jax.random.key(0)):
        assert not isinstance(done, str)  # only experiments tell news
        rows.append(done.columns)
    return {to: float(np.mean([row[f"ap_{to}_8bit"] for row in rows])) for to in ("cross", "own")}


def main() -> None:
    """Attack, and print a line of JSON for each point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("victim")
    parser.add_argument("--modality", default="image")
    parser.add_argument("--bound", type=float, default=None)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="number of the first query")
    parser.add_argument("--database", type=int, default=2000)
    parser.add_argument("--budget", type=int, default=100, help="steps, each a pass")
    parser.add_argument("--intra", type=float, nargs="*", default=[1.0, 1.5, 2.0, 4.0])
    parser.add_argument("--keep", type=float, nargs="*", default=[0.5, 0.6, 0.7])
    parser.add_argument("--batch", type=int, default=30)
    given = parser.parse_args()

    victim = zoo.load(given.victim)
    last = given.first + given.queries
    drawn, database = retrieval_pools(victim, ["scenes"], last, given.database)
    queries = take(drawn, np.arange(given.first, last))
    subject = Subject(victim.name, victim.hasher, victim.params)
    asking = ask(subject, queries, database)
    asked = Asked(asking.codes, database.labels, queries.labels, comparison(victim.hasher))
    modality: Modality = given.modality
    other: Modality = "text" if modality == "image" else "image"
    start = asking.benign.image if modality == "image" else asking.benign.text
    benign = {
        name: measure(start, asked, to).mean_average_precision
        for name, to in (("cross", other), ("own", modality))
    }
    setting = {name: getattr(given, name) for name in ("victim", "queries", "first", "database")}
    print(json.dumps(setting | {"method": "none"} | benign), flush=True)
    for chosen in points(given):
        began = time.perf_counter()
        found = attacked(retrieval_attacks(subject, chosen, asking), given.batch)
        line = setting | chosen.used | found | {"seconds": time.perf_counter() - began}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
