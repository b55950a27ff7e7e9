"""A victim's networks in a named arithmetic; perturbation, loss and optimiser stay in float32.

What an accelerator makes of float32 is its own choice unless it is told: products in TF32, or in
bfloat16 on TPUs. bfloat16 halves what activations take and is what accelerators multiply fastest.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar, cast, get_args

import jax
import jax.numpy as jnp

from jaxadv.errors import InputError
from jaxadv.victims.captioner import Captioner
from jaxadv.victims.classifier import MultiLabelClassifier
from jaxadv.victims.hasher import CrossModalHasher

Arithmetic = Literal["float32", "tf32", "bfloat16", "bfloat16-decoder"]
Victim = TypeVar("Victim", Captioner, MultiLabelClassifier, CrossModalHasher)

#: of each kind, the functions that compute
FUNCTIONS: dict[type, tuple[str, ...]] = {
    Captioner: ("encode", "begin", "advance", "logits"),
    MultiLabelClassifier: ("logits",),
    CrossModalHasher: ("image_code", "text_code"),
}
_PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32"}  # as JAX calls them


def in_arithmetic(victim: Victim, arithmetic: Arithmetic) -> Victim:
    """Return the victim in that arithmetic; what goes in and what comes back is float32.

    In "bfloat16" a captioner's encoder computes in bfloat16 and its decoder in float32; the other
    victims compute in bfloat16 throughout, and so does a captioner in "bfloat16-decoder". Devices
    without TF32 compute in float32 instead.

    Raises:
      InputError: none of the four.

    >>> from jaxadv.victims import zoo
    >>> fast = in_arithmetic(zoo.load("scenes-tagger").classifier, "bfloat16")
    """
    checked(arithmetic)
    low = arithmetic not in _PRODUCTS
    change = _lowered if low else _with_products(_PRODUCTS[arithmetic])
    names = FUNCTIONS[type(victim)]
    if arithmetic == "bfloat16" and isinstance(victim, Captioner):
        names = ("encode",)
    changed: dict[str, Any] = {name: change(getattr(victim, name)) for name in names}
    return victim._replace(**changed)


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
