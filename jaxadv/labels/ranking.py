"""Labels ranked by their scores, and sums over the largest of them, for any k without recompiling.

Of equal scores the label of the smaller number leads.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


def ranks(scores: Float[Array, " c"]) -> Int[Array, " c"]:
    """Return each label's place in the order of falling scores, from 0; i32[c].

    >>> ranks(jnp.array([0.5, 0.9, 0.5, 0.1])).tolist()
    [1, 0, 2, 3]
    """
    return jnp.argsort(jnp.argsort(-scores, stable=True)).astype(jnp.int32)


def in_top(scores: Float[Array, " c"], k: Int[Array, ""] | int) -> Bool[Array, " c"]:
    """Return which labels are among the first k; bool[c].

    >>> in_top(jnp.array([0.5, 0.9, 0.5, 0.1]), 2).tolist()
    [True, True, False, False]
    """
    return ranks(scores) < k


def mean_of_top(values: Float[Array, " c"], number: Int[Array, ""]) -> Float[Array, ""]:
    """Return the mean of the `number` largest values: the average top-k φ_k (eq. 1)."""
    falling = -jnp.sort(-values)
    chosen = jnp.arange(values.shape[-1]) < number
    return jnp.where(chosen, falling, 0.0).sum() / number


def highest(scores: Float[Array, " c"], labels: Bool[Array, " c"]) -> Float[Array, ""]:
    """`max_{i in labels} f_i`; -inf where there is none."""
    return jnp.max(jnp.where(labels, scores, -jnp.inf))


def lowest(scores: Float[Array, " c"], labels: Bool[Array, " c"]) -> Float[Array, ""]:
    """`min_{i in labels} f_i`; +inf where there is none."""
    return jnp.min(jnp.where(labels, scores, jnp.inf))


def hinge(gap: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`[a]_+`, with a derivative of zero at zero."""
    return jax.nn.relu(gap)
