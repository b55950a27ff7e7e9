"""What the examples of a `vmap`ped batch may share, so that a branch stays a branch.

Under `vmap` a `cond` or `switch` on an example's own index runs every branch. Where any branch from
an example's own upwards gives the same result and only costs more, the batch may agree on the
largest index: one branch runs, and a function written for one example stays one.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap


@custom_vmap
def largest_in_batch(index: Array) -> Array:
    """Return `index` itself; under `vmap`, the batch's largest, elementwise.

    >>> import jax, jax.numpy as jnp
    >>> jax.vmap(largest_in_batch)(jnp.array([[1, 5], [2, 3]])).tolist()
    [[2, 5], [2, 5]]
    """
    return index


@largest_in_batch.def_vmap
def _share(axis_size: int, in_batched: list[bool], index: Array) -> tuple[Array, bool]:
    del axis_size
    return largest_in_batch(jnp.max(index, axis=0) if in_batched[0] else index), False


def any_in_batch(condition: Array) -> Array:
    """Return whether the condition holds for any example of the batch."""
    return largest_in_batch(jax.lax.stop_gradient(condition).astype(jnp.int32)) > 0
