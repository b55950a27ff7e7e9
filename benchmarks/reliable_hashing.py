"""Measure the reliable attack on hashers beside CMLA: MAP in both modalities, with equal passes.

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

import numpy as np

from jaxadv.core.method import Chosen, choose
from jaxadv.data.pairs import Pairs, take
from jaxadv.experiments.hash_attacks import Codes, attack_queries, encode, examples_of, known
from jaxadv.experiments.retrieval import Asked, measure
from jaxadv.experiments.retrieval_pools import retrieval_pools
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


def attacked(
    chosen: Chosen,
    victim: zoo.Victim,
    queries: Pairs,
    database: Pairs,
    codes: Codes,
    batch: int,
) -> np.ndarray:
    """Attack the queries; return the codes of what a user would save, f32[n, K]."""
    modality = chosen.value("modality")
    progress = attack_queries(
        chosen.attack(victim.hasher),
        known(victim.params, codes),
        database.labels,
        lambda rows: examples_of(queries, modality, rows),
        queries.labels,
        iterations=[chosen.iterations],
        batch=batch,
    )
    return np.concatenate([some.snapshots[0].codes_8bit for some in progress])


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
    codes = encode(victim.hasher, victim.params, database)
    asked = Asked(codes, database.labels, queries.labels, comparison(victim.hasher))
    other = "text" if given.modality == "image" else "image"

    def told(found: np.ndarray) -> dict[str, float]:
        return {
            "cross": measure(found, asked, other).mean_average_precision,
            "own": measure(found, asked, given.modality).mean_average_precision,
        }

    benign = encode(victim.hasher, victim.params, queries)
    setting = {name: getattr(given, name) for name in ("victim", "queries", "first", "database")}
    start = benign.image if given.modality == "image" else benign.text
    print(json.dumps(setting | {"method": "none"} | told(start)), flush=True)
    for chosen in points(given):
        began = time.perf_counter()
        found = attacked(chosen, victim, queries, database, codes, given.batch)
        line = setting | chosen.used | told(found) | {"seconds": time.perf_counter() - began}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
