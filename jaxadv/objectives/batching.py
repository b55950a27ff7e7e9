"""What the examples of a `vmap`ped batch may share, so that a branch stays a branch.

Under `vmap` a `cond` or `switch` on an example's own index runs every branch. Where any branch from
an example's own upwards gives the same result and only costs more, the batch may agree on the
largest index: one branch runs, and a function written for one example stays one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

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


@jax.custom_jvp
def held(value: Any) -> Any:
    """Return `value`, held fixed in the derivative that is being taken, but not in later ones.

    What an E step finds is a constant of the M step's gradient; whoever differentiates through the
    step afterwards finds that it, too, depends on the picture. (`stop_gradient` stops both; so does
    this of a value that is held already.)

    >>> import jax
    >>> slope = jax.grad(lambda x: held(x) * x)
    >>> float(slope(3.0)), float(jax.grad(slope)(3.0))
    (3.0, 1.0)
    """
    return value


@held.defjvp
def _held(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    return primals[0], jax.tree.map(jnp.zeros_like, tangents[0])


Branch = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`(fixed, carry, x) -> (carry, y)`."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan_switch(
    branches: tuple[Branch, ...], fixed: Any, carry: Any, levels: Array, xs: Any
) -> tuple[Any, Any]:
    """Scan over `xs`, running `branches[level](fixed, carry, x)` at each; a lean reverse pass.

    JAX's own derivative of a `switch` in a `scan` stores all that the branches read, a victim's
    parameters among it, once an iteration. This one stores the carries, and runs each branch again.

    Args:
      branches: alternatives of the same result; they may close over nothing that is traced.
      fixed: what all of them read.
      carry: what they pass on.
      levels: i32[n], which branch to run.
      xs: what each iteration reads, leading axis n; no derivative is taken with respect to it.

    Returns:
      the last carry and the stacked `y`, as `lax.scan`.
    """

    def body(carry: Any, at: tuple[Array, Any]) -> tuple[Any, Any]:
        level, x = at
        return jax.lax.switch(level, branches, fixed, carry, x)

    return jax.lax.scan(body, carry, (levels, xs))


def _scan_forward(
    branches: tuple[Branch, ...], *arguments: Any
) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    fixed, carry, levels, xs = jax.tree.map(lambda p: p.value, arguments)
    wanted = _split(fixed, jax.tree.map(lambda p: p.perturbed, arguments[0]))

    def differentiated(branch: Branch, carry: Any, x: Any) -> tuple[Any, Any]:
        # evaluated as JAX does under a derivative, so that a rule such as `held` is used up by it
        moving, still = _split(carry)
        out, _, rest = jax.vjp(
            lambda moving: _split(branch(fixed, _join(moving, still), x)), moving, has_aux=True
        )
        return _join(out, rest)

    def body(carry: Any, at: tuple[Array, Any]) -> tuple[Any, Any]:
        level, x = at
        taken = [partial(differentiated, branch) for branch in branches]
        new, y = jax.lax.switch(level, taken, carry, x)
        return new, (y, carry)

    end, (ys, carries) = jax.lax.scan(body, carry, (levels, xs))
    return (end, ys), (wanted, carries, levels, xs)


def _scan_backward(
    branches: tuple[Branch, ...], kept: tuple[Any, ...], cotangent: tuple[Any, Any]
) -> tuple[Any, ...]:
    (wanted, unwanted), carries, levels, xs = kept
    d_end, d_ys = jax.tree.map(_instantiate, cotangent)

    def pull(branch: Branch, summed: Any, d_new: Any, d_y: Any, carry: Any, x: Any) -> Any:
        moving, still = _split(carry)

        def run(wanted: Any, moving: Any) -> tuple[Any, Any]:
            return _split(branch(_join(wanted, unwanted), _join(moving, still), x))[0]

        d_wanted, d_carry = jax.vjp(run, wanted, moving)[1]((d_new, d_y))
        return jax.tree.map(jnp.add, summed, d_wanted), d_carry

    def body(sums: tuple[Any, Any], at: Any) -> tuple[tuple[Any, Any], None]:
        level, *rest = at
        return jax.lax.switch(level, [partial(pull, b) for b in branches], *sums, *rest), None

    start = (jax.tree.map(jnp.zeros_like, wanted), d_end)
    at = (levels, d_ys, carries, xs)
    (d_fixed, d_carry), _ = jax.lax.scan(body, start, at, reverse=True)
    return d_fixed, d_carry, None, None


scan_switch.defvjp(_scan_forward, _scan_backward, symbolic_zeros=True)


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def _split(tree: Any, chosen: Any = None) -> tuple[Any, Any]:
    """Part a tree in two of its shape, with None for what is in the other; floats by default."""
    chosen = jax.tree.map(_is_float, tree) if chosen is None else chosen
    return (
        jax.tree.map(lambda x, c: x if c else None, tree, chosen),
        jax.tree.map(lambda x, c: None if c else x, tree, chosen),
    )


def _join(some: Any, others: Any) -> Any:
    """Undo `_split`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, some, others, is_leaf=lambda x: x is None
    )


def _instantiate(cotangent: Any) -> Any:
    """Write out a symbolic zero; what has no derivative is left out."""
    if cotangent.dtype == jax.dtypes.float0:
        return None
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent
