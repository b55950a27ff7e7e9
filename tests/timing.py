"""Timing two sides against each other in one run, so that a busy machine slows both."""

import time

import jax
import jax.numpy as jnp
import numpy as np

PASSES = 3


def interleaved(sides, passes=PASSES):
    """Seconds of each side's passes, taken in turns; the first, which compiles, is left out."""
    seconds = {side: [] for side in sides}
    for side in [*sides] * (passes + 1):
        began = time.perf_counter()
        jax.block_until_ready(sides[side]())
        seconds[side].append(time.perf_counter() - began)
    return {side: np.array(taken[1:]) for side, taken in seconds.items()}


def bare_steps(loss, steps):
    """`(params, images)` through so many steps of the bare `value_and_grad` of a victim's loss."""

    @jax.jit
    def bare(params, images):
        both = jax.vmap(jax.value_and_grad(loss, argnums=1), in_axes=(None, 0))

        def descend(_, carry):
            images, total = carry
            value, gradient = both(params, images)
            return images - 1e-6 * gradient, total + value

        return jax.lax.fori_loop(0, steps, descend, (images, jnp.zeros(len(images))))

    return bare


def attack_steps(attack, images, targets, steps):
    """`(params, states)` through so many steps of an attack, in the same kind of loop."""

    @jax.jit
    def attacked(params, states):
        step = jax.vmap(attack.step, in_axes=(None, 0, 0, 0))
        return jax.lax.fori_loop(0, steps, lambda _, s: step(params, images, targets, s)[0], states)

    return attacked
