"""What checks the signatures of the package in the suite (`addopts` in `pyproject.toml`)."""

import typing

import jaxtyping
from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as mypy has it


def checked(function):
    """Check a function whose signature has shapes; others check their arguments themselves."""
    return _check(function) if has_shapes(function) else function


def has_shapes(function):
    """Whether a parameter or the result is an array of a shape, or holds one."""
    return any(map(_is_shaped, getattr(function, "__annotations__", {}).values()))


def _is_shaped(annotation):
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_is_shaped, typing.get_args(annotation)))
