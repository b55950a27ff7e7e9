"""The training loop: what a round does in which order, and that it minimises."""

from itertools import count, repeat

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv.training.fit import Phase, begin, fit, gradient_step


def test_phases_take_turns():
    """Two phases of which one is reported; rounds of three steps, the last one cut short."""

    def noted(name):
        def step(state, batch, key):
            return {**state, "seen": [*state["seen"], (name, batch, key)]}, jnp.float32(batch)

        return step

    def mark(state):
        return {**state, "seen": [*state["seen"], "begin"]}

    key = jax.random.key(3)
    phases = [Phase(noted("a"), count(), mark), Phase(noted("b"), count(100), reported=False)]
    job = fit({"seen": []}, phases, lambda s: s["seen"], steps=4, key=key, report_every=3)
    (first, _), (second, seen) = job
    assert (first, second) == ((3, 1.0), (4, 3.0))
    batches = [one if one == "begin" else one[:2] for one in seen]
    of_a, of_b = ([(name, start + i) for i in range(4)] for name, start in (("a", 0), ("b", 100)))
    assert batches == ["begin", *of_a[:3], *of_b[:3], "begin", of_a[3], of_b[3]]
    for number, place in enumerate((1, 2, 3, 8)):
        assert seen[place][2] == jax.random.fold_in(key, number)


def test_parts_are_fitted_in_turn():
    """`(x - y)² + (y - 1)²`, x and y in turn; what is no part changes with the losses."""

    def x_loss(x, state, batch, key):
        return (x - state["y"].params) ** 2, {"steps": state["steps"] + 1}

    def y_loss(y, state, batch, key):
        return (state["x"].params - y) ** 2 + (y - 1) ** 2, {"steps": state["steps"] + 1}

    optimiser = optax.sgd(0.2)
    state = {part: begin(optimiser, jnp.float32(at)) for part, at in (("x", 4), ("y", -3))}
    phases = [
        Phase(gradient_step(part, optimiser, loss), repeat(None))
        for part, loss in (("x", x_loss), ("y", y_loss))
    ]
    *_, (report, fitted) = fit(
        {**state, "steps": 0},
        phases,
        lambda s: (s["x"].params, s["y"].params, s["steps"]),
        steps=60,
        key=jax.random.key(0),
        report_every=1,
    )
    np.testing.assert_allclose(fitted, [1, 1, 120], atol=1e-3)
    assert report.step == 60 and report.loss < 1e-5
