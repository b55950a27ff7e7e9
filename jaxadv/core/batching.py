"""What the examples of a `vmap`ped batch may share, so that a branch stays a branch.

Under `vmap` a `cond` or `switch` on an example's own index runs every branch. Where any branch from
an example's own upwards gives the same result and only costs more, the batch may agree on the
largest index: one branch runs, and a function written for one example stays one.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap
from jaxtyping import Bool, Int

KEPT = "kept by the decoder"  # what `captions.captioner.kept` marks


@custom_vmap
def largest_in_batch(index: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
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


def any_in_batch(condition: Bool[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Return whether the condition holds for any example of the batch."""
    return largest_in_batch(jax.lax.stop_gradient(condition).astype(jnp.int32)) > 0


@jax.custom_jvp
def held(value: Any) -> Any:
    """Return `value`, held fixed in the derivative that is being taken, but not in later ones.

    What an E step finds is a constant of the M step's gradient; code that differentiates through
    the step afterwards finds that it, too, depends on the picture. (`stop_gradient` stops both; so
    does this of a value that is held already.)

    >>> import jax
    >>> slope = jax.grad(lambda x: held(x) * x)
    >>> float(slope(3.0)), float(jax.grad(slope)(3.0))
    (3.0, 1.0)
    """
    return value


@held.defjvp
def _held(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    return primals[0], jax.tree.map(jnp.zeros_like, tangents[0])


_ONLY_KEPT = jax.checkpoint_policies.save_only_these_names(KEPT)

Branch = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`(fixed, carry, x) -> (carry, y)`."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan_switch(
    branches: tuple[Branch, ...], fixed: Any, carry: Any, levels: Int[Array, " n"], xs: Any
) -> tuple[Any, Any]:
    """Scan over `xs`, running `branches[level](fixed, carry, x)` at each; a lean reverse pass.

    JAX's own derivative of a `switch` in a `scan` stores all that the branches read, a victim's
    parameters among it, once an iteration. This one stores the carries and what was marked
    `kept`, packed into one array a type, and computes the rest again.

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


class _Source(NamedTuple):
    """Where an array that a reverse pass reads is found.

    `at` is its number among the branch's arguments, or where it begins in what is packed.
    """

    at: int
    shape: tuple[int, ...]
    dtype: str
    is_argument: bool


class _Pull(NamedTuple):
    """The reverse pass of one branch, without the arrays that it reads."""

    form: Any  # a PyTreeDef
    sources: tuple[_Source, ...]


@jax.tree_util.register_static
class _Pulls(tuple[_Pull, ...]):
    """One of each branch; as no arrays are in it, it travels in a pytree as a constant."""


def _linearised(
    branch: Branch, chosen: Any, fixed: Any, carry: Any, x: Any
) -> tuple[tuple[Any, Any], dict[str, Array], _Pull]:
    """Run a branch, and return with its result what its reverse pass needs, packed by type.

    It is evaluated as JAX does under a derivative, so that a rule such as `held` is used up by it.
    """
    (wanted, unwanted), (moving, still) = split(fixed, chosen), split(carry)

    @partial(jax.checkpoint, policy=_ONLY_KEPT, prevent_cse=False)
    def run(wanted: Any, moving: Any, unwanted: Any, still: Any, x: Any) -> tuple[Any, Any]:
        return split(branch(join(wanted, unwanted), join(moving, still), x))

    out, pull, rest = jax.vjp(
        lambda wanted, moving: run(wanted, moving, unwanted, still, x),
        wanted,
        moving,
        has_aux=True,
    )
    arguments = [id(argument) for argument in jax.tree.leaves((fixed, carry, x))]
    read, form = jax.tree.flatten(pull)
    sources = []
    packed: dict[str, list[Array]] = {}
    for value in read:
        dtype = str(value.dtype)
        is_argument = id(value) in arguments
        if is_argument:
            at = arguments.index(id(value))
        else:
            at = sum(other.size for other in packed.setdefault(dtype, []))
            packed[dtype].append(value.reshape(-1))
        sources.append(_Source(at, value.shape, dtype, is_argument))
    flat = {dtype: jnp.concatenate(values) for dtype, values in packed.items()}
    return join(out, rest), flat, _Pull(form, tuple(sources))


def _scan_forward(
    branches: tuple[Branch, ...], *arguments: Any
) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    fixed, carry, levels, xs = jax.tree.map(lambda p: p.value, arguments)
    chosen = jax.tree.map(lambda p: p.perturbed, arguments[0])
    pulls: dict[int, _Pull] = {}  # noted while a branch is traced

    def run(number: int, fixed: Any, carry: Any, x: Any) -> tuple[tuple[Any, Any], Any]:
        result, flat, pulls[number] = _linearised(branches[number], chosen, fixed, carry, x)
        return result, flat

    one = jax.tree.map(lambda x: x[0], xs)
    sizes: dict[str, int] = {}  # what the branch that keeps most of a type needs
    for number in range(len(branches)):
        _, flat = jax.eval_shape(partial(run, number), fixed, carry, one)
        sizes.update({dtype: max(x.size, sizes.get(dtype, 0)) for dtype, x in flat.items()})

    def padded(number: int, fixed: Any, carry: Any, x: Any) -> tuple[tuple[Any, Any], Any]:
        result, flat = run(number, fixed, carry, x)
        some = {dtype: flat.get(dtype, jnp.zeros(0, dtype)) for dtype in sizes}
        return result, {d: jnp.pad(x, (0, sizes[d] - x.size)) for d, x in some.items()}

    def body(carry: Any, at: tuple[Array, Any]) -> tuple[Any, Any]:
        level, x = at
        every = [partial(padded, number) for number in range(len(branches))]
        (new, y), packed = jax.lax.switch(level, every, fixed, carry, x)
        return new, (y, (carry, packed))

    end, (ys, (carries, packed)) = jax.lax.scan(body, carry, (levels, xs))
    in_order = _Pulls(pulls[number] for number in range(len(branches)))
    return (end, ys), (in_order, split(fixed, chosen)[0], fixed, carries, xs, packed, levels)


def _scan_backward(
    branches: tuple[Branch, ...], kept: tuple[Any, ...], cotangent: tuple[Any, Any]
) -> tuple[Any, ...]:
    del branches
    pulls, wanted, fixed, carries, xs, packed, levels = kept
    d_end, d_ys = jax.tree.map(_instantiate, cotangent)

    def take(pull: _Pull, sums: Any, d_y: Any, fixed: Any, carry: Any, x: Any, packed: Any) -> Any:
        arguments = jax.tree.leaves((fixed, carry, x))

        def find(source: _Source) -> Array:
            if source.is_argument:
                return jnp.asarray(arguments[source.at])
            end = source.at + math.prod(source.shape)
            return jnp.asarray(packed[source.dtype][source.at : end].reshape(source.shape))

        summed, d_new = sums
        pulled = jax.tree.unflatten(pull.form, map(find, pull.sources))
        d_wanted, d_carry = pulled((d_new, d_y))
        return jax.tree.map(jnp.add, summed, d_wanted), d_carry

    def body(sums: tuple[Any, Any], at: Any) -> tuple[tuple[Any, Any], None]:
        level, d_y, *rest = at
        return jax.lax.switch(
            level, [partial(take, pull) for pull in pulls], sums, d_y, fixed, *rest
        ), None

    start = (jax.tree.map(jnp.zeros_like, wanted), d_end)
    at = (levels, d_ys, carries, xs, packed)
    (d_fixed, d_carry), _ = jax.lax.scan(body, start, at, reverse=True)
    return d_fixed, d_carry, None, None


scan_switch.defvjp(_scan_forward, _scan_backward, symbolic_zeros=True)


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def split(tree: Any, chosen: Any = None) -> tuple[Any, Any]:
    """Part a tree in two of its shape, with None for what is in the other; floats by default."""
    chosen = jax.tree.map(_is_float, tree) if chosen is None else chosen
    return (
        jax.tree.map(lambda x, c: x if c else None, tree, chosen),
        jax.tree.map(lambda x, c: None if c else x, tree, chosen),
    )


def join(some: Any, others: Any) -> Any:
    """Undo `split`."""
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
