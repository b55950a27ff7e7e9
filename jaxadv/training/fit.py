"""The training loop of every victim.

Training goes in rounds and a round in phases, each of which updates one part of the network. A
captioner or a tagger has a single phase. DCMH has two, since it updates its picture and its text
network in turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

State = Mapping[str, Any]
Step = Callable[[State, Any, Array], tuple[State, Any]]


class Report(NamedTuple):
    """Progress of the training.

    Attributes:
      step: number of steps taken.
      loss: mean loss since the last report; a tuple of means where the steps return a tuple.
    """

    step: int
    loss: Any


class Part(NamedTuple):
    """Parameters that are updated together, and the state of their optimiser.

    Each part has its own optimiser, because Adam keeps moving parameters whose gradient is zero.
    """

    params: Any
    optimiser_state: Any


class Phase(NamedTuple):
    """One phase of a round.

    Attributes:
      step: `(state, batch, key) -> (state, loss)`.
      batches: an endless iterator.
      begin: applied to the state before the first step of the phase.
      reported: whether the losses count in the report.
    """

    step: Step
    batches: Iterator[Any]
    begin: Callable[[State], State] = lambda state: state
    reported: bool = True


def begin(optimiser: optax.GradientTransformation, params: Any) -> Part:
    """Return a part before its first step."""
    return Part(params, jax.jit(optimiser.init)(params))


def gradient_step(
    part: str,
    optimiser: optax.GradientTransformation,
    loss: Callable[[Any, State, Any, Array], tuple[Array, State]],
) -> Step:
    """Compile a gradient step of one part.

    Args:
      part: the key of the part in the state.
      optimiser: the optimiser of the part.
      loss: `(params, state, batch, key) -> (loss f32[], changed entries of the state)`,
        differentiated with respect to the part's parameters.

    Returns:
      The step of a phase.
    """

    @jax.jit
    def update(state: State, batch: Any, key: Array) -> tuple[State, Array]:
        params, memory = state[part]
        (value, changed), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, state, batch, key
        )
        updates, memory = optimiser.update(gradient, memory, params)
        return {**changed, part: Part(optax.apply_updates(params, updates), memory)}, value

    def step(state: State, batch: Any, key: Array) -> tuple[State, Array]:
        changed, value = update(state, batch, key)  # what stays would be copied by `jit`
        return {**state, **changed}, value

    return step


def fit(
    state: State,
    phases: Sequence[Phase],
    variables: Callable[[State], Any],
    *,
    steps: int,
    key: Array,
    report_every: int,
) -> Iterator[tuple[Report, Any]]:
    """Train a network.

    Args:
      state: the parts of the network, and whatever else the phases read and change.
      phases: the phases of a round, in order.
      variables: `state -> variables` of the network.
      steps: number of steps in each phase, over all rounds.
      key: random key; each step gets its own, the same in every phase.
      report_every: number of steps in each phase of a round; the last round may have fewer.

    Yields:
      After each round, a report and the current variables.
    """
    done = 0
    while done < steps:
        number = min(report_every, steps - done)
        losses = []
        for phase in phases:
            state = phase.begin(state)
            for step, batch in enumerate(islice(phase.batches, number), start=done):
                state, value = phase.step(state, batch, jax.random.fold_in(key, step))
                if phase.reported:
                    losses.append(value)
        done += number
        loss = jax.tree.map(lambda *values: float(jnp.stack(values).mean()), *losses)
        yield Report(done, loss), variables(state)
