"""A victim's networks in a named arithmetic; perturbation, loss and optimiser stay in float32.

What an accelerator makes of float32 is its own choice unless it is told: products in TF32, or in
bfloat16 on TPUs. bfloat16 halves what activations take and is what accelerators multiply fastest.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Literal, TypeVar, cast, get_args

import jax
import jax.numpy as jnp

from jaxadv.core.attack import Attack, Fixed
from jaxadv.errors import InputError

Arithmetic = Literal["float32", "tf32", "bfloat16", "bfloat16-decoder"]
Victim = TypeVar("Victim", bound=tuple[Any, ...])  # a NamedTuple of functions, of any family

_PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32"}  # as JAX calls them


def in_arithmetic(victim: Victim, arithmetic: Arithmetic) -> Victim:
    """Return the victim in that arithmetic; what goes in and what comes back is float32.

    In "bfloat16" what encodes a picture, of a captioner, computes in bfloat16 and what decodes in
    float32. Other victims compute in bfloat16 throughout, and so does a captioner in
    "bfloat16-decoder". Devices without TF32 compute in float32 instead.

    Raises:
      InputError: none of the four.

    >>> from jaxadv.victims import zoo
    >>> fast = in_arithmetic(zoo.load("scenes-tagger").classifier, "bfloat16")
    """
    checked(arithmetic)
    low = arithmetic not in _PRODUCTS
    change = _lowered if low else _with_products(_PRODUCTS[arithmetic])
    names = functions_of(victim)
    if arithmetic == "bfloat16" and "encode" in names:
        names = ("encode",)
    return changed_in(victim, names, change)


def with_weights_in_bfloat16(victim: Victim, params: Any) -> tuple[Victim, Any]:
    """Store a victim's weights in bfloat16, half as large.

    It computes with them in float32, of which XLA may keep copies while it runs; and in bfloat16,
    without copies, where it is told to (`in_arithmetic`).

    Args:
      victim: its functions.
      params: its parameters.

    Returns:
      functions that take the smaller parameters, and these.
    """

    def change(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def raised(params: Any, *arguments: Any) -> Any:
            low = any(jnp.result_type(x) == jnp.bfloat16 for x in jax.tree.leaves(arguments))
            weights = params if low else _cast(params, jnp.bfloat16, jnp.float32)
            return function(weights, *arguments)

        return raised

    return changed_in(victim, functions_of(victim), change), _cast(
        params, jnp.float32, jnp.bfloat16
    )


def functions_of(victim: Victim) -> tuple[str, ...]:
    """Name a victim's functions, which compute; its other fields say what they compute."""
    fields: tuple[str, ...] = getattr(victim, "_fields")  # noqa: B009  # of every NamedTuple
    return tuple(name for name in fields if callable(getattr(victim, name)))


def changed_in(
    victim: Victim, names: Iterable[str], change: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Victim:
    """Return the victim with some of its functions changed."""
    replace: Any = getattr(victim, "_replace")  # noqa: B009  # of every NamedTuple
    made: Victim = replace(**{name: change(getattr(victim, name)) for name in names})
    return made


def checked(arithmetic: str) -> Arithmetic:
    """Return the name of an arithmetic.

    Raises:
      InputError: it is none of the four.
    """
    if arithmetic not in get_args(Arithmetic):
        known = ", ".join(get_args(Arithmetic))
        raise InputError(f"arithmetic {arithmetic!r}: must be one of {known}")
    return cast(Arithmetic, arithmetic)


def _with_products(precision: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def change(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def named(*arguments: Any) -> Any:
            with jax.default_matmul_precision(precision):
                return function(*arguments)

        return named

    return change


def _lowered(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def lowered(*arguments: Any) -> Any:
        low = _cast(arguments, jnp.float32, jnp.bfloat16)
        return _cast(function(*low), jnp.bfloat16, jnp.float32)

    return lowered


def _cast(tree: Any, of: Any, to: Any) -> Any:
    """Cast a tree's arrays of one type to another."""
    return jax.tree.map(lambda x: jnp.asarray(x, to) if jnp.result_type(x) == of else x, tree)


def attack_in(
    arithmetic: Arithmetic,
    judged: Arithmetic,
    make: Callable[[Victim], Attack],
    victim: Victim,
) -> Attack:
    """Build an attack on the victim in one arithmetic, judged in another.

    Args:
      arithmetic: of the victim while it is attacked.
      judged: of the victim that says whether the picture fools it.
      make: builds the attack on a victim.
      victim: whose.

    >>> from jaxadv.labels.tkmia import tkmia
    >>> from jaxadv.victims import zoo
    >>> victim = zoo.load("scenes-tagger").classifier
    >>> attack = attack_in("bfloat16", "float32", tkmia, victim)
    """
    attack = make(in_arithmetic(victim, arithmetic))._replace(victim=Fixed(victim))
    if judged == arithmetic:
        return attack
    return attack._replace(judge=make(in_arithmetic(victim, judged)).judge)
