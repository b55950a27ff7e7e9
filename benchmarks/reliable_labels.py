"""What the reliable attack on taggers changes of what is watched, beside the paper's attacks.

    python -m benchmarks.reliable_labels --budget 200 --method reliable
    python -m benchmarks.reliable_labels --budget 300 --method ml-cw-u --method tkml-ap-u

The protocol is that of `jaxadv evaluate labels --among said --form released --specified 2`: crowded
held-out scenes, two relevant labels among the first k of each. A step of kFool counts as k passes,
that of the others as one. Learning rates are those that `jaxadv evaluate labels` found on other
scenes (the README's table). The pictures of the reliable attack are of 8 bits, the others' are not;
what ends in `_8bit` is of pictures as they are saved. A line of JSON for each k and method.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from jaxadv.core.method import Chosen
from jaxadv.core.method import choose as choose_method
from jaxadv.data.images import round_8bit
from jaxadv.experiments.label_pools import benign_scores, scene_pool
from jaxadv.experiments.labels import attack_labels, choose, join, tabulate
from jaxadv.labels.methods import METHODS
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Victim

RATES = {
    ("tkmia", 2): 0.05, ("tkmia", 3): 0.05, ("tkmia", 5): 0.05,
    ("ml-cw-u", 2): 3.0, ("ml-cw-u", 3): 1.0, ("ml-cw-u", 5): 1.0,
    ("tkml-ap-u", 2): 0.3, ("tkml-ap-u", 3): 0.3, ("tkml-ap-u", 5): 0.1,
}  # fmt: skip


def within(name: str, budget: int, k: int) -> Chosen:
    """Return a method that takes so many passes."""
    if name == "reliable":
        return choose_method(METHODS, name, budget=budget)
    if name == "kfool":
        return choose_method(METHODS, name, iterations=budget // k)
    return choose_method(METHODS, name, iterations=budget, learning_rate=RATES[name, k])


def measured(victim: Victim, method: Chosen, k: int, given: argparse.Namespace) -> dict[str, Any]:
    """Attack, and return a row of the table."""
    pool = scene_pool(8 * given.pictures, first=given.first)
    scores = benign_scores(victim.classifier, victim.params, pool)
    chosen = choose(pool.labels, k, number=2, scores=scores, most=given.pictures)
    images = [pool.read(i) for i in chosen.numbers]
    began = time.perf_counter()
    parts = attack_labels(
        victim.params,
        images,
        chosen.targets,
        method.attack(victim.classifier),
        iterations=method.iterations,
        batch=given.batch,
        same_slots=True,
    )
    outcomes = join([part.outcomes for part in parts])
    row = tabulate(outcomes, chosen.targets, time.perf_counter() - began, None, "released")
    saved = outcomes._replace(
        after=outcomes.after_8bit,
        perturbations=round_8bit(outcomes.images) - np.stack(images),
    )
    as_saved = tabulate(saved, chosen.targets, 0.0, None, "released")
    return {
        "attacked": row.attacked,
        **{name: float(value) for name, value in row.measures._asdict().items()},
        **{f"{name}_8bit": float(value) for name, value in as_saved.measures._asdict().items()},
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
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()

    victim = zoo.load(given.victim)
    for k in map(int, given.k.split(",")):
        for name in given.method or [method.name for method in METHODS]:
            method = within(name, given.budget, k)
            line = {**method.used, "k": k, "passes": given.budget, "first": given.first}
            print(json.dumps(line | measured(victim, method, k, given)), flush=True)


if __name__ == "__main__":
    main()
