"""What the reliable attack on taggers changes of what is watched, beside the paper's attacks.

    python -m benchmarks.reliable_labels --budget 1000
    python -m benchmarks.reliable_labels --budget 200 --k 3 --method reliable --pictures 16

The protocol is that of `jaxadv evaluate labels --among said --form released --specified 2`: crowded
held-out scenes, two relevant labels among the first k of each. Every method may take as many passes
over the victim: a step of kFool takes k. Of the learning rates of a method the one is taken that
`jaxadv evaluate labels` would take, on other scenes. A line of JSON for each k and method.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from jaxadv.core.method import Chosen
from jaxadv.core.method import choose as choose_method
from jaxadv.experiments.label_pools import Pool, benign_scores, scene_pool
from jaxadv.experiments.label_search import best, candidates, try_settings
from jaxadv.experiments.labels import Selection, attack_labels, choose, join, tabulate
from jaxadv.labels.methods import METHODS
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Victim

SEARCHED = 20_000  # the first scene that learning rates are searched on
RATES = {"tkmia": [0.05, 0.1, 0.3], "ml-cw-u": [0.3, 1.0, 3.0], "tkml-ap-u": [0.05, 0.1, 0.3]}


def selected(victim: Victim, k: int, count: int, first: int) -> tuple[Pool, Selection]:
    """Choose valid pictures, from a scene on."""
    pool = scene_pool(8 * count, first=first)
    scores = benign_scores(victim.classifier, victim.params, pool)
    return pool, choose(pool.labels, k, number=2, scores=scores, most=count)


def within(name: str, budget: int, k: int) -> Chosen:
    """Return a method that takes so many passes."""
    if name == "reliable":
        return choose_method(METHODS, name, budget=budget)
    return choose_method(METHODS, name, iterations=budget // (k if name == "kfool" else 1))


def searched(victim: Victim, method: Chosen, k: int, given: argparse.Namespace) -> Chosen:
    """Choose a method's learning rate on other scenes."""
    some = candidates(method, RATES.get(method.name, []), [])
    if len(some) == 1:
        return method
    pool, chosen = selected(victim, k, given.search, SEARCHED)
    images = [pool.read(i) for i in chosen.numbers]
    tagger = victim.classifier
    trials = try_settings(tagger, victim.params, images, chosen.targets, some, batch=given.batch)
    return best(list(trials))


def measured(victim: Victim, method: Chosen, k: int, given: argparse.Namespace) -> dict[str, Any]:
    """Attack, and return a row of the table."""
    pool, chosen = selected(victim, k, given.pictures, given.first)
    began = time.perf_counter()
    parts = attack_labels(
        victim.params,
        [pool.read(i) for i in chosen.numbers],
        chosen.targets,
        method.attack(victim.classifier),
        iterations=method.iterations,
        batch=given.batch,
        same_slots=True,
    )
    outcomes = join([part.outcomes for part in parts])
    row = tabulate(outcomes, chosen.targets, time.perf_counter() - began, None, "released")
    saved = outcomes._replace(after=outcomes.after_8bit, success=outcomes.success_8bit)
    of_saved = tabulate(saved, chosen.targets, 0.0, None, "released").measures
    return {
        "attacked": row.attacked,
        **{name: float(value) for name, value in row.measures._asdict().items()},
        "success_8bit": row.success_8bit,
        **{f"{name}_8bit": float(value) for name, value in zip(of_saved._fields[:5], of_saved)},
        "median_norm": float(np.median(outcomes.norm[outcomes.success])),
        "steps": float(outcomes.iterations.mean()),
        "seconds": row.seconds,
    }


def main() -> None:
    """Attack with every method, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--victim", default="scenes-tagger")
    parser.add_argument("--budget", type=int, default=1000, help="passes over the victim")
    parser.add_argument("--k", default="2,3,5")
    parser.add_argument("--method", action="append", help="repeatable; all if not given")
    parser.add_argument("--pictures", type=int, default=60, help="valid ones a k")
    parser.add_argument("--first", type=int, default=0, help="the first scene")
    parser.add_argument("--search", type=int, default=12, help="pictures to search rates on")
    parser.add_argument("--batch", type=int, default=12)
    given = parser.parse_args()

    victim = zoo.load(given.victim)
    for k in map(int, given.k.split(",")):
        for name in given.method or [method.name for method in METHODS]:
            method = searched(victim, within(name, given.budget, k), k, given)
            line = {**method.used, "k": k, "budget": given.budget, "first": given.first}
            print(json.dumps(line | measured(victim, method, k, given)), flush=True)


if __name__ == "__main__":
    main()
