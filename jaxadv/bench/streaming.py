"""`stream` over `run`: what it gains where attacks stop early, and costs elsewhere."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.attack import Attack, Params, Target
from jaxadv.attacks.drive import run
from jaxadv.attacks.gem import gem
from jaxadv.attacks.labels import label_optimiser
from jaxadv.attacks.stream import Request, stream
from jaxadv.attacks.tkmia import tkmia
from jaxadv.bench.timing import Figure, compare
from jaxadv.data import scenes
from jaxadv.objectives.target import parse_target, stack_targets
from jaxadv.sweeps.labels import choose
from jaxadv.victims import zoo

RATE = 0.05  # with the published 5e-4 saturated scenes do not move


class _Job:
    """The same attacks by `stream` and by `run`, which must have whole batches."""

    def __init__(
        self, attack: Attack, params: Params, images: np.ndarray, targets: Target, slots: int
    ) -> None:
        if len(images) % slots:
            raise ValueError(f"{len(images)} pictures: must be a multiple of {slots}")
        self.attack, self.params, self.images, self.slots = attack, params, images, slots
        self.targets = jax.tree.map(np.asarray, targets)
        self.useful = 0.0

    def of(self, some: Any) -> Target:
        return jax.tree.map(lambda x: x[some], self.targets)

    def streamed(self, iterations: int, chunk: int) -> None:
        requests = [Request(i, image, self.of(i)) for i, image in enumerate(self.images)]
        ended = list(
            stream(
                self.attack,
                self.params,
                requests,
                iterations=iterations,
                slots=self.slots,
                chunk=chunk,
            )
        )
        steps = sum(int(one.result.iterations) for one in ended)
        self.useful = steps / ended[-1].slot_steps

    def batched(self, iterations: int) -> None:
        for start in range(0, len(self.images), self.slots):
            some = slice(start, start + self.slots)
            images, targets = jnp.asarray(self.images[some]), self.of(some)
            ended = run(self.attack, self.params, images, targets, iterations=iterations)
            jax.block_until_ready(ended)


def of_labels(pictures: int = 224, iterations: int = 150, slots: int = 8) -> Iterator[Figure]:
    """TkMIA on crowded scenes, which stops at success: few steps for most pictures, all for some.

    Raises:
      ValueError: `pictures` is no multiple of `slots`.
    """
    victim = zoo.load("scenes-tagger")
    examples = [scenes.crowd(scenes.HELD_OUT_SEED, i) for i in range(2 * pictures)]
    score = jax.jit(jax.vmap(victim.classifier.scores, in_axes=(None, 0)))
    scores = np.asarray(score(victim.params, np.stack([e.picture for e in examples])))
    labels = np.stack([np.asarray(e.labels) for e in examples])
    chosen = choose(labels, 3, number=2, scores=scores, most=pictures)
    images = np.stack([examples[i].picture for i in chosen.numbers])
    attack = tkmia(victim.classifier, optimiser=label_optimiser(RATE))
    job = _Job(attack, victim.params, images, chosen.targets, slots)
    sides = {
        "stream": lambda: job.streamed(iterations, chunk=2),
        "run": lambda: job.batched(iterations),
    }
    what = f"TkMIA, {pictures} pictures, stops at success"
    for figure in compare(what, sides, each=pictures, aim=1.8, faster=True, passes=1):
        yield figure._replace(what=f"{what}, {job.useful:.0%} of slot-steps useful")


def of_captions(pictures: int = 64, rounds: int = 50, slots: int = 16) -> Iterator[Figure]:
    """GEM, a fixed number of steps: nothing to gain."""
    victim = zoo.load("scenes-scst")
    captioner = victim.captioner
    said = "a red _ is above a blue square"
    target = parse_target(said, captioner.vocabulary, captioner.max_length)
    images = np.stack([e.picture for e in scenes.examples(7, pictures)])
    job = _Job(gem(captioner), victim.params, images, stack_targets([target] * pictures), slots)
    sides = {
        "stream": lambda: job.streamed(rounds, chunk=10),
        "run": lambda: job.batched(rounds),
    }
    what = f"GEM, {pictures} pictures, {rounds} steps each"
    yield from compare(what, sides, each=pictures, aim=0.97, faster=True)
