"""Write your own attack: in under 30 lines, and every driver takes it."""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from helpers import label_table, own_attack
from helpers.own_attack import flee
from helpers.tiny_tagger import TAGGER

from jaxadv.core.attack import Status
from jaxadv.core.method import Method, Options, choose, option
from jaxadv.core.run import run, unroll
from jaxadv.core.stream import Request, stream
from jaxadv.experiments import store
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.job import Job, Planned
from jaxadv.experiments.sweep import Prepared, sweep
from jaxadv.labels.target import leaves_top

COUNT, STEPS, RADIUS = 5, 15, 0.2
PARAMETERS = label_table.PARAMETERS
ATTACK = flee(TAGGER, radius=RADIUS, rate=0.02)


@cache
def problem():
    return label_table.pictures(COUNT), label_table.targets(COUNT)


@cache
def ran():
    return run(ATTACK, PARAMETERS, *problem(), iterations=STEPS)


def example(number):
    """A picture and its target, on the host."""
    return jax.tree.map(lambda x: np.asarray(x[number]), problem())


def test_it_is_short():
    assert len(Path(own_attack.__file__).read_text().splitlines()) < 30


def test_run():
    """It finds pictures in the ball that lose their labels."""
    images, targets = problem()
    before = jax.vmap(ATTACK.judge, in_axes=(None, 0, 0))(PARAMETERS, images, targets)
    result = ran()
    assert result.best.success.sum() > before.success.sum()
    assert result.final.linf.max() <= RADIUS + 1e-6
    scores = jax.vmap(partial(TAGGER.scores, PARAMETERS))(result.final.image)
    assert jax.vmap(leaves_top)(targets, scores).tolist() == result.final.success.tolist()
    assert result.status.tolist() == [Status.RUNNING] * COUNT


def test_unroll():
    """It gives what `run` gives, and a gradient to the victim's parameters."""
    image, target = jax.tree.map(jnp.asarray, example(2))

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def last_loss(parameters):
        _, info = unroll(ATTACK, parameters, image, target, iterations=STEPS)
        return info.loss[-1], info.loss

    (_, losses), slope = last_loss(PARAMETERS)
    np.testing.assert_allclose(losses, ran().losses[2], rtol=1e-4)
    assert all(np.isfinite(x).all() and np.any(x) for x in jax.tree.leaves(slope))


def test_stream():
    requests = [Request(i, *example(i)) for i in range(COUNT)]
    finished = list(stream(ATTACK, PARAMETERS, requests, iterations=STEPS, slots=2))
    assert sorted(one.id for one in finished) == list(range(COUNT))
    for one in finished:
        np.testing.assert_allclose(one.result.losses, ran().losses[one.id], rtol=1e-4)
        assert bool(one.result.final.success) == bool(ran().final.success[one.id])


@dataclasses.dataclass(frozen=True, kw_only=True)
class FleeOptions(Options):
    """What tells one cell of the sweep from another."""

    radius: float = option(0.03, "of the ball")


METHOD = Method(
    name="flee",
    options=FleeOptions,
    make=lambda victim, options: flee(victim, radius=options.radius, rate=0.02),
    iterations=lambda options: STEPS,
)


@dataclasses.dataclass(frozen=True)
class Design:
    """What each cell attacks."""

    pictures: int = COUNT


def prepared(radius):
    """A cell of a sweep: what it is called in the records, and its attacks."""
    method = choose([METHOD], "flee", radius=radius)
    job = Job(
        attack=METHOD.make(TAGGER, method.options),
        params=PARAMETERS,
        iterations=method.iterations,
        planned=[Planned(i, {"image": f"picture {i}"}, partial(example, i)) for i in range(COUNT)],
        together=False,
        picture=lambda result: np.asarray(result.final.image),
        describe=lambda planned, request, result: {
            "success": bool(result.final.success),
            "linf": float(result.final.linf),
        },
    )
    return Prepared(Cell("labels", "my tagger", 0, method, Design()), job, "weights 1")


def test_sweep(tmp_path):
    """From Python: recorded, resumed, told apart by its settings."""
    sweep_of = [prepared(radius) for radius in (RADIUS, 0.01)]
    some = sweep(sweep_of, tmp_path, slots=2)
    while next(some).done < 3:
        pass
    some.close()  # interrupted
    left = list(sweep(sweep_of, tmp_path, slots=2))
    assert (left[0].done, left[-1].done, left[-1].total) == (3, 2 * COUNT, 2 * COUNT)
    rows = {(row["radius"], row["id"]): row for row in store.read(tmp_path)}
    assert len(rows) == 2 * COUNT
    for (radius, number), row in rows.items():
        assert row["method"] == "flee" and row["failed"] is None
        assert row["linf"] <= radius + 1e-6
        if radius == RADIUS:
            assert row["success"] == bool(ran().final.success[number])
            np.testing.assert_allclose(row["linf"], ran().final.linf[number], rtol=1e-5)
