"""`stream` over `run`: what it gains where attacks stop early, and costs elsewhere."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Figure, compare
from jaxadv.captions.gem import gem
from jaxadv.captions.target import parse_target, stack_targets
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.core.run import run
from jaxadv.core.stream import Request, stream
from jaxadv.data import scenes
from jaxadv.experiments.labels import choose
from jaxadv.labels.judging import label_optimiser
from jaxadv.labels.tkmia import tkmia
from jaxadv.victims import zoo

RATE = 0.05  # with the published 5e-4 saturated scenes do not move


class _Job(NamedTuple):
    """The same attacks for `stream` and for `run`, which needs whole batches."""

    attack: Attack
    params: Params
    images: np.ndarray
    targets: Target
    slots: int


def _job(attack: Attack, params: Params, images: np.ndarray, targets: Target, slots: int) -> _Job:
    if len(images) % slots:
        raise ValueError(f"{len(images)} pictures: must be a multiple of {slots}")
    return _Job(attack, params, images, jax.tree.map(np.asarray, targets), slots)


def _targets(job: _Job, some: Any) -> Target:
    return jax.tree.map(lambda x: x[some], job.targets)


def _stream(job: _Job, iterations: int, chunk: int) -> float:
    """Make the attacks by `stream`; return the share of its slot-steps that were of use."""
    requests = (Request(i, image, _targets(job, i)) for i, image in enumerate(job.images))
    served = stream(
        job.attack, job.params, requests, iterations=iterations, slots=job.slots, chunk=chunk
    )
    ended = list(served)
    return sum(int(one.result.iterations) for one in ended) / ended[-1].slot_steps


def _run(job: _Job, iterations: int) -> None:
    """Make them by `run`, batch by batch."""
    for start in range(0, len(job.images), job.slots):
        some = slice(start, start + job.slots)
        images, targets = jnp.asarray(job.images[some]), _targets(job, some)
        jax.block_until_ready(run(job.attack, job.params, images, targets, iterations=iterations))


def of_labels(pictures: int = 224, iterations: int = 150, slots: int = 8) -> Iterator[Figure]:
    """TkMIA on crowded scenes, which stops at success: few steps for most pictures, all for some.

    The second figure is the share of the slots' steps that were of use.

    Raises:
      ValueError: `pictures` is no multiple of `slots`.
    """
    victim = zoo.load("scenes-tagger")
    examples = [scenes.crowd(scenes.HELD_OUT_SEED, i) for i in range(2 * pictures)]
    score = jax.jit(jax.vmap(victim.classifier.logits, in_axes=(None, 0)))
    scores = np.asarray(score(victim.params, np.stack([e.picture for e in examples])))
    labels = np.stack([np.asarray(e.labels) for e in examples])
    chosen = choose(labels, 3, number=2, scores=scores, most=pictures)
    images = np.stack([examples[i].picture for i in chosen.numbers])
    attack = tkmia(victim.classifier, optimiser=label_optimiser(RATE))
    job = _job(attack, victim.params, images, chosen.targets, slots)
    useful: list[float] = []
    sides = {
        "stream": lambda: useful.append(_stream(job, iterations, chunk=2)),
        "run": lambda: _run(job, iterations),
    }
    what = f"TkMIA, {pictures} pictures, stops at success"
    yield from compare(what, sides, each=pictures, aim=1.8, faster=True, passes=1)
    yield Figure(what, "useful slot-steps", "all", useful[-1], True, None, 0.9)


def of_captions(pictures: int = 64, rounds: int = 50, slots: int = 16) -> Iterator[Figure]:
    """GEM, a fixed number of steps: nothing to gain."""
    victim = zoo.load("scenes-scst")
    captioner = victim.captioner
    said = "a red _ is above a blue square"
    target = parse_target(said, captioner.vocabulary, captioner.max_length)
    images = np.stack([e.picture for e in scenes.examples(7, pictures)])
    job = _job(gem(captioner), victim.params, images, stack_targets([target] * pictures), slots)
    sides = {
        "stream": lambda: _stream(job, rounds, chunk=10),
        "run": lambda: _run(job, rounds),
    }
    what = f"GEM, {pictures} pictures, {rounds} steps each"
    yield from compare(what, sides, each=pictures, aim=0.97, faster=True)
