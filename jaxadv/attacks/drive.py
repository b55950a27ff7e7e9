"""Drivers: any attack on a batch (`run`), or as a differentiable function (`unroll`)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.attacks.attack import (
    Attack,
    AttackInfo,
    AttackState,
    Params,
    Status,
    Target,
    keep_where,
    l2_norm,
)
from jaxadv.data.images import ImageError, check_image, round_8bit


class Iterate(NamedTuple):
    """One adversarial picture and how it does, on its own and as a user would save it.

    Attributes:
      image: f32[H, W, 3] in [0, 1].
      norm: ‖ε‖₂ of the float picture.
      linf: ‖ε‖∞ of the float picture.
      success: whether the float picture fools the victim.
      success_8bit: whether it still does after rounding to 8 bits (a saved PNG).
      output, output_8bit: what the victim makes of the two.
    """

    image: Array
    norm: Array
    linf: Array
    success: Array
    success_8bit: Array
    output: Any
    output_8bit: Any


class Result(NamedTuple):
    """What an attack on one example (or, with a leading axis, a batch) came to; always complete.

    Attributes:
      final: the last picture.
      best: the picture of least norm among all that fooled the victim; `final` where none did.
      iterations: i32[], steps taken.
      status: a `Status`, why it stopped; `Status.MESSAGES` says it in words.
      losses: f32[iterations], the objective before each step; NaN where none was taken.
    """

    final: Iterate
    best: Iterate
    iterations: Array
    status: Array
    losses: Array


def run(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    *,
    iterations: int,
    key: Array | None = None,
    ids: Array | None = None,
) -> Result:
    """Attack a batch of pictures in one compiled loop; a finished example is frozen.

    Args:
      attack: any attack.
      params: the victim's parameters.
      images: f32[B, H, W, 3] in [0, 1].
      targets: the targets, stacked along a leading axis.
      iterations: most steps an example.
      key: randomness, folded with the example's id.
      ids: i32[B], the examples' own numbers, so that what is drawn for one does not depend on
        its place in the batch; 0..B-1 by default.

    Raises:
      ImageError: a picture holds NaN, or values outside [0, 1].
    """
    _check(images)
    key = jax.random.key(0) if key is None else key
    ids = jnp.arange(len(images)) if ids is None else ids
    return _run(attack, params, images, targets, key, ids, iterations)


def _check(images: Array) -> None:
    """Refuse what is no picture, where the values are at hand."""
    if isinstance(images, jax.core.Tracer) or not images.is_fully_addressable:
        return
    fine = np.asarray(jnp.all((images >= 0) & (images <= 1), axis=(1, 2, 3)))
    for number in np.flatnonzero(~fine):
        try:
            check_image(images[number])
        except ImageError as problem:
            raise ImageError(f"picture {number} of the batch: {problem}") from None


def compiled(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    key: Array,
    ids: Array,
    *,
    iterations: int,
) -> Callable[..., Result]:
    """Compile `run` for arguments like these, to be called with `(params, images, ..., ids)`."""
    executable: Callable[..., Result] = _run.lower(
        attack, params, images, targets, key, ids, iterations
    ).compile()
    return executable


@partial(jax.jit, static_argnames=("attack", "iterations"))
def _run(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    key: Array,
    ids: Array,
    iterations: int,
) -> Result:
    over_batch = partial(jax.vmap, in_axes=(None, 0, 0, 0))
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)
    states: AttackState = over_batch(attack.init)(params, images, targets, keys)
    losses = jnp.full((len(images), iterations), jnp.nan, images.dtype)
    taken = jnp.zeros(len(images), jnp.int32)

    def unfinished(carry: tuple[Array, AttackState, Array, Array]) -> Array:
        i, states, _, _ = carry
        return (i < iterations) & jnp.any(states.status == Status.RUNNING)

    def step(
        carry: tuple[Array, AttackState, Array, Array],
    ) -> tuple[Array, AttackState, Array, Array]:
        i, states, losses, taken = carry
        running = states.status == Status.RUNNING
        new, info = over_batch(attack.step)(params, images, targets, states)
        states = jax.vmap(keep_where)(running, new, states)
        losses = losses.at[:, i].set(jnp.where(running, info.loss, jnp.nan))
        return i + 1, states, losses, taken + (states.status == Status.RUNNING)

    start = (jnp.zeros((), jnp.int32), states, losses, taken)
    _, states, losses, taken = jax.lax.while_loop(unfinished, step, start)
    final, best = jax.vmap(partial(_judge_both, attack), in_axes=(None, 0, 0, 0))(
        params, images, targets, states
    )
    return Result(final, best, taken, states.status, losses)


def unroll(
    attack: Attack,
    params: Params,
    image: Array,
    target: Target,
    *,
    iterations: int,
    key: Array | None = None,
) -> tuple[AttackState, AttackInfo]:
    """Attack one picture as a differentiable function of everything that goes in.

    A `lax.scan` over the steps; each is rematerialised in the backward pass, so memory grows with
    the state, not with the victim's activations. `vmap` and `jit` it yourself.

    Returns:
      the last state, and each step's `AttackInfo` with a leading axis.
    """
    key = jax.random.key(0) if key is None else key

    @jax.checkpoint
    def step(state: AttackState, _: None) -> tuple[AttackState, AttackInfo]:
        return attack.step(params, image, target, state)

    return jax.lax.scan(step, attack.init(params, image, target, key), None, length=iterations)


def _judge_both(
    attack: Attack, params: Params, image: Array, target: Target, state: AttackState
) -> tuple[Iterate, Iterate]:
    final = _judge(attack, params, image, target, state.perturbation)
    known = jnp.isfinite(state.best_norm)
    final_is_best = ~known | (final.success & (final.norm < state.best_norm))
    best = _judge(attack, params, image, target, jnp.where(known, state.best, state.perturbation))
    return final, keep_where(final_is_best, final, best)


def _judge(
    attack: Attack, params: Params, image: Array, target: Target, perturbation: Array
) -> Iterate:
    adversarial = jnp.clip(image + perturbation, 0.0, 1.0)  # within rounding already
    exact = attack.judge(params, adversarial, target)
    saved = attack.judge(params, round_8bit(adversarial), target)
    return Iterate(
        image=adversarial,
        norm=l2_norm(perturbation),
        linf=jnp.max(jnp.abs(perturbation)),
        success=exact.success,
        success_8bit=saved.success,
        output=exact.output,
        output_8bit=saved.output,
    )
