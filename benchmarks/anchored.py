"""How often the anchored attack fools a captioner, and at which norm.

    python -m benchmarks.anchored scenes-show-tell --pictures 32 --budget 1000
    python -m benchmarks.anchored FOLDER --data ../shared/data/flickr8k_1000 --pictures 16

Targets are captions that the victim says of other pictures. The bank is generated scenes of a seed
that no victim has seen, or photographs that are not held out; bank pictures whose own caption has
the target already are left out. Success is that of the picture of 8 bits.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.anchored import Known, anchored, bank_of
from jaxadv.core.run import run
from jaxadv.data import scenes
from jaxadv.data.images import resize
from jaxadv.data.opening import open_data
from jaxadv.data.records import captioned, load
from jaxadv.experiments.captions import choose_targets, say, settings_named
from jaxadv.experiments.pictures import held_out
from jaxadv.victims import zoo

BANK_SEED = 7


def bank_pictures(victim: zoo.Victim, data: str, count: int) -> np.ndarray:
    """Return pictures for a bank, none of them held out; f32[N, H, W, 3]."""
    shape = victim.captioner.image_shape[:2]
    if data == "scenes":
        made = (example.picture for example in scenes.examples(BANK_SEED, count))
    else:
        aside = set(victim.record["held_out"])
        photos = (p for p in captioned(open_data([data])).records if p.id not in aside)
        made = (load(photo) for photo, _ in zip(photos, range(count), strict=False))
    return np.stack([resize(picture, shape) for picture in made])


def main() -> None:
    """Attack, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("victim")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--budget", type=int, default=1000, help="steps, each a pass")
    parser.add_argument("--setting", default="0 latent", help="a column of Table 1")
    parser.add_argument("--bank", type=int, default=1024)
    parser.add_argument("--anchors", type=int, default=None)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()

    victim = zoo.load(given.victim)
    captioner = victim.captioner
    pictures = [p.load() for p in held_out(victim, [given.data], given.pictures)]
    said = say(captioner, victim.params, pictures)
    settings, attacked = settings_named((given.setting,)), range(given.pictures)
    requests = choose_targets(said, settings, 1, attacked, captioner.max_length)
    shown = jnp.asarray(bank_pictures(victim, given.data, given.bank))
    bank = bank_of(captioner, victim.params, shown)
    known = Known(victim.params, bank)
    attack = anchored(captioner, iterations=given.budget, anchors=given.anchors)

    began, successes, norms = time.perf_counter(), [], []
    for start in range(0, len(requests), given.batch):
        some = requests[start : start + given.batch]
        images = jnp.stack([pictures[r.image] for r in some])
        targets = jax.tree.map(lambda *x: jnp.stack(x), *(r.target for r in some))
        ids = jnp.arange(start, start + len(some))
        best = run(attack, known, images, targets, iterations=given.budget, ids=ids).best
        successes += best.success_8bit.tolist()
        norms += best.norm[best.success_8bit].tolist()
    line = vars(given) | {
        "attacks": len(successes),
        "success_8bit": float(np.mean(successes)),
        "norm_of_successes": float(np.mean(norms)) if norms else None,
        "median_norm": float(np.median(norms)) if norms else None,
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
