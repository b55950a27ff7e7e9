"""Checks of arguments: one line that names the argument, its value and what is accepted.

Nothing here looks into a traced value, so that functions that check their arguments can be called
under `jit`, `vmap` and `grad` at no cost.
"""

import math
import numbers
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted

MOST = 2**31 - 1  # of what becomes an int32
MOST_STEPS = 10**6  # the losses of all steps are kept


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Check that a value is one of some words.

    >>> one_of("norm", "l7", ("l1", "l2"))
    Traceback (most recent call last):
    ...
    jaxadv.errors.InputError: norm 'l7': must be one of l1, l2

    Raises:
      InputError: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise wrong(name, value, f"one of {', '.join(allowed)}")


def true_or_false(name: str, value: Any) -> None:
    """Check that a value is a bool, of Python or of NumPy.

    Raises:
      InputError: it is not.
    """
    if not _traced(value) and not isinstance(value, bool | np.bool_):
        raise wrong(name, value, "true or false")


def whole(name: str, value: Any, least: int, most: int = MOST) -> None:
    """Check that a value is a whole number, of Python, NumPy or JAX, in a range.

    Raises:
      InputError: it is not.
    """
    if _traced(value):
        return
    number = _scalar(value)
    if not isinstance(number, int) or not least <= number <= most:
        span = f"of at least {least}" if most == MOST else f"from {least} to {most}"
        raise wrong(name, value, f"a whole number {span}")


def finite(name: str, value: Any) -> None:
    """Check that a value is a finite number.

    Raises:
      InputError: it is not.
    """
    _number(name, value, lambda number: True, "a finite number")


def positive(name: str, value: Any) -> None:
    """Check that a value is a finite number above 0.

    Raises:
      InputError: it is not.
    """
    _number(name, value, lambda number: number > 0, "positive and finite")


def not_negative(name: str, value: Any) -> None:
    """Check that a value is a finite number, 0 or more.

    Raises:
      InputError: it is not.
    """
    _number(name, value, lambda number: number >= 0, "finite and not negative")


def share(name: str, value: Any, most: float = 1) -> None:
    """Check that a value is a number above 0 and at most 1, or at most `most`.

    Raises:
      InputError: it is not.
    """
    _number(name, value, lambda number: 0 < number <= most, f"above 0 and at most {most:g}")


#: of the numbers that attacks and the settings of methods have in common
RANGES: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(
        ("tradeoff", "structured_loss", "margin", "inter", "intra", "distortion"), not_negative
    ),
    **dict.fromkeys(("learning_rate", "multiplier_rate", "constant", "bound"), positive),
    **dict.fromkeys(("iterations", "tries"), partial(whole, least=1, most=MOST_STEPS)),
    "delta": partial(whole, least=1),
}


def in_range(**values: Any) -> None:
    """Check numbers that are named in `RANGES`.

    Raises:
      InputError: one is outside its range.
    """
    for name, value in values.items():
        RANGES[name](name, value)


def all_finite(name: str, values: Any) -> None:
    """Check that every number of an array is finite.

    Raises:
      InputError: some are not.
    """
    if _traced(values):
        return
    found = np.asarray(values)
    if jnp.issubdtype(found.dtype, jnp.inexact) and (odd := int((~np.isfinite(found)).sum())):
        raise InputError(f"{name}: {odd} of {found.size} are not finite")


def instance(name: str, value: Any, kind: type[Any]) -> None:
    """Check that a value is of a class.

    Raises:
      InputError: it is not.
    """
    if not isinstance(value, kind):
        raise wrong(name, value, f"of type {kind.__module__}.{kind.__name__}")


def callable_(name: str, value: Any, example: str) -> None:
    """Check that a value can be called.

    Raises:
      InputError: it cannot.
    """
    if not callable(value):
        raise wrong(name, value, f"a function, such as {example}")


def made_of(name: str, value: Any, kind: type[Any], example: str) -> None:
    """Check that a value has the fields of a named tuple, whatever its own class.

    Args:
      name: of the argument.
      value: its value.
      kind: the named tuple.
      example: of how to get one.

    Raises:
      InputError: it lacks one.
    """
    fields: tuple[str, ...] = kind._fields
    if isinstance(value, type) or not all(hasattr(value, field) for field in fields):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise wrong(name, value, f"{article} {kind.__name__}, such as {example}")


def victim(value: Any, kind: type[Any], word: str) -> None:
    """Check that a victim's functions are of the kind that an attack is on.

    Args:
      value: what is given.
      kind: the named tuple of functions that is wanted.
      word: how a victim of the zoo calls it: "captioner", "classifier" or "hasher".

    Raises:
      InputError: they are of another kind, or it is a victim of the zoo with all that it has.
    """
    fields: tuple[str, ...] = kind._fields
    if all(hasattr(value, field) for field in fields if field != "logit_scale"):
        return
    if hasattr(value, "functions") and hasattr(value, "architecture"):
        own = value.architecture.kind
        advice = f"give its .{word}" if own == word else f"this one is a {own}"
        raise InputError(
            f"victim: Victim {quoted(value.name)}; must be a {kind.__name__}: {advice}"
        )
    raise wrong("victim", value, f"a {kind.__name__}, such as zoo.load(name).{word}")


def params(value: Any) -> None:
    """Check that a victim's parameters are given.

    Raises:
      InputError: nothing is, or a victim of the zoo with all that it has.
    """
    if value is None or (hasattr(value, "functions") and hasattr(value, "params")):
        raise wrong("params", value, "the victim's parameters, such as zoo.load(name).params")


def key(value: Any) -> jax.Array:
    """Return a key of `jax.random`; the one of seed 0 where None is given.

    Raises:
      InputError: it is no key.
    """
    if value is None:
        return jax.random.key(0)
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) and not value.ndim:
            return value
        if value.dtype == np.uint32 and value.ndim == 1:  # of jax.random.PRNGKey
            return value
    raise wrong("key", value, "one key, such as jax.random.key(0)")


def wrong(name: str, value: Any, accepted: str) -> InputError:
    """Make the error of an argument."""
    return InputError(f"{name} {shown(value)}: must be {accepted}")


def shown(value: Any) -> str:
    """Write an argument's value for a message, whatever it is."""
    if value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, numbers.Number) and not isinstance(value, numbers.Integral):
        return str(value)
    if isinstance(value, numbers.Integral):
        return str(value) if abs(int(value)) < 10**20 else "of more than 20 digits"
    if isinstance(value, np.ndarray | jax.Array):
        return f"of type {value.dtype} and shape {value.shape}"
    return f"of type {type(value).__name__}"


def _number(name: str, value: Any, fits: Callable[[float], bool], accepted: str) -> None:
    if _traced(value):
        return
    number = _scalar(value)
    if isinstance(number, numbers.Real) and not isinstance(number, bool):
        try:
            if math.isfinite(number) and fits(float(number)):
                return
        except OverflowError:  # a whole number beyond all floats
            pass
    raise wrong(name, value, accepted)


def _scalar(value: Any) -> Any:
    """Return the number that a value is; None for all else, true and false included."""
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        if value.ndim or not jnp.issubdtype(value.dtype, np.number):
            return None
        return value.item()
    return None if isinstance(value, bool) else value


def _traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)
