"""Two sides timed against each other in one run, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.core.attack import Attack, AttackState, Params, Target

PASSES = 5


class Figure(NamedTuple):
    """What was measured: one side over another.

    Attributes:
      what: in words.
      of, over: the two sides.
      ratio: of seconds, `of` by `over`, the median of the turns; where `faster`, of speeds.
      faster: whether more is better.
      seconds: the median of each side's passes, a step or an image; None where it is not of time.
      aim: what the ratio should be: at most, or where `faster` at least.
    """

    what: str
    of: str
    over: str
    ratio: float
    faster: bool
    seconds: tuple[float, float] | None
    aim: float | None


def interleaved(
    sides: Mapping[str, Callable[[], Any]], passes: int = PASSES
) -> dict[str, list[float]]:
    """Seconds of each side's passes, taken in turns, every other one in the opposite order.

    A machine that grows slower then slows neither side more. The first turn, which compiles, is
    left out.

    >>> sorted(interleaved({"a": lambda: jnp.ones(3), "b": lambda: jnp.zeros(3)}, passes=2))
    ['a', 'b']
    """
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(passes + 1):
        for side in [*sides][:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            jax.block_until_ready(sides[side]())
            seconds[side].append(time.perf_counter() - began)
    return {side: taken[1:] for side, taken in seconds.items()}


def compare(
    what: str,
    sides: Mapping[str, Callable[[], Any]],
    *,
    each: int | Mapping[str, int] = 1,
    aim: float | None = None,
    faster: bool = False,
    passes: int = PASSES,
) -> list[Figure]:
    """Time the first of some sides over every other.

    Args:
      what: in words.
      sides: name to what is timed.
      each: how many steps or images one call of a side is, of all or by side.
      aim: of the ratio.
      faster: give the ratio of speeds instead of the ratio of seconds.
      passes: of each side.
    """
    number = dict.fromkeys(sides, each) if isinstance(each, int) else each
    taken = {
        side: [seconds / number[side] for seconds in some]
        for side, some in interleaved(sides, passes).items()
    }
    median = {side: statistics.median(some) for side, some in taken.items()}
    first, *others = sides

    def figure(other: str) -> Figure:
        ratio = statistics.median(a / b for a, b in zip(taken[first], taken[other], strict=True))
        both = (median[first], median[other])
        return Figure(what, first, other, 1 / ratio if faster else ratio, faster, both, aim)

    return [figure(other) for other in others]


def bare_steps(
    loss: Callable[[Params, Array], Array], steps: int, *, shared: Any = None
) -> jax.stages.Wrapped:
    """`(params, images)` through `steps` steps of the bare `value_and_grad` of a victim's loss.

    `shared` says along which axes the images' parameters differ, as `in_axes` does; None: along
    none.
    """

    @jax.jit
    def bare(params: Params, images: Array) -> tuple[Array, Array]:
        both = jax.vmap(jax.value_and_grad(loss, argnums=1), in_axes=(shared, 0))

        def descend(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            images, total = carry
            value, gradient = both(params, images)
            return images - 1e-6 * gradient, total + value

        end: tuple[Array, Array] = jax.lax.fori_loop(
            0, steps, descend, (images, jnp.zeros(len(images)))
        )
        return end

    return bare


def attack_steps(attack: Attack, images: Array, targets: Target, steps: int) -> jax.stages.Wrapped:
    """`(params, states)` through `steps` steps of an attack, in the same kind of loop."""

    @jax.jit
    def attacked(params: Params, states: AttackState) -> AttackState:
        step = jax.vmap(attack.step, in_axes=(None, 0, 0, 0))
        end: AttackState = jax.lax.fori_loop(
            0, steps, lambda _, states: step(params, images, targets, states)[0], states
        )
        return end

    return attacked


def first_states(attack: Attack, params: Params, images: Array, targets: Target) -> AttackState:
    """Return the states that `attack_steps` begins with."""
    keys = jax.random.split(jax.random.key(0), len(images))
    start = jax.jit(jax.vmap(attack.init, in_axes=(None, 0, 0, 0)))
    states: AttackState = start(params, images, targets, keys)
    return states
