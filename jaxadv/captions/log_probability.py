"""`ln P` of a word whose gradient is taken on the way forward.

The gradient of a word's log-probability with respect to the decoder's state needs the scores of
the whole vocabulary, some ten thousand numbers; the gradient itself is as small as the state. Taken
where the scores are at hand it is all that the reverse pass has to be kept for it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float, Int

from jaxadv.captions.captioner import Params, State, kept
from jaxadv.core.batching import join, split

Scores = Callable[[Params, State], Float[Array, " V"]]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def log_probability(
    scores: Scores, params: Params, state: State, token: Int[Array, ""], log_p: Float[Array, " V"]
) -> Float[Array, ""]:
    """Return `log_p[token]`, where `log_p` is the log-softmax of `scores(params, state)`.

    `log_p` saves scoring the state again. A derivative of the result is taken with respect to the
    state and the parameters, and not once more through `log_p`; a derivative of that derivative
    sees all three.

    >>> import jax, jax.numpy as jnp
    >>> def of(state):
    ...     log_p = jax.nn.log_softmax(2 * state)
    ...     return log_probability(lambda two, s: two * s, 2.0, state, jnp.array(1), log_p)
    >>> jax.grad(of)(jnp.zeros(4)).tolist()
    [-0.5, 1.5, -0.5, -0.5]
    """
    del scores, params, state
    # a masked sum: the transpose of an index is a scatter, which CPUs do slowly
    return jnp.where(jnp.arange(log_p.shape[-1]) == token, log_p, 0.0).sum()


def _forward(scores: Scores, *arguments: Any) -> tuple[Array, tuple[Any, ...]]:
    params, state, token, log_p = jax.tree.map(lambda p: p.value, arguments)
    value = log_probability(scores, params, state, token, log_p)
    of_scores = (jnp.arange(log_p.shape[-1]) == token) - jnp.exp(log_p)
    if any(jax.tree.leaves(jax.tree.map(lambda p: p.perturbed, arguments[0]))):
        return value, (None, (params, state, of_scores))
    of_read, others = _read(scores, params, state)

    def of(some: State) -> Array:
        return scores(params, join(some, others))

    (gradient,) = jax.vjp(of, of_read)[1](of_scores)
    return value, (jax.tree.map(kept, gradient), None)


def _backward(
    scores: Scores, residuals: tuple[Any, ...], cotangent: Any
) -> tuple[Any, Any, None, None]:
    gradient, whole = residuals
    if isinstance(cotangent, SymbolicZero):
        return None, None, None, None
    if whole is None:
        return None, jax.tree.map(lambda x: cotangent * x, gradient), None, None
    params, state, of_scores = whole
    return *jax.vjp(scores, params, state)[1](cotangent * of_scores), None, None


log_probability.defvjp(_forward, _backward, symbolic_zeros=True)


def _read(scores: Scores, params: Params, state: State) -> tuple[State, State]:
    """Part a state in the floats that the scores depend on and the rest; None for the other's."""
    traced = jax.make_jaxpr(partial(scores, params))(state).jaxpr
    used = {id(var) for eqn in traced.eqns for var in eqn.invars} | set(map(id, traced.outvars))
    leaves, form = jax.tree.flatten(state)
    wanted = [
        id(var) in used and bool(jnp.issubdtype(leaf.dtype, jnp.floating))
        for var, leaf in zip(traced.invars, leaves, strict=True)
    ]
    return split(state, jax.tree.unflatten(form, wanted))
