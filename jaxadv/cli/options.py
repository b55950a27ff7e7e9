"""Options that several commands read in the same way; nothing here imports JAX."""

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted

UNKNOWN_WORDS = (
    "Let captions contain the mark of unknown words, as where the captioners' evaluation code runs "
    "without suppress_UNK."
)
CAPTION_METHODS = "gem, ssvm, show-and-fool, untargeted, anchored or reliable"
SEARCHED = (
    "What is searched: scenes, or folders or prepared sets whose labels the hasher knows; if not "
    "given, scenes or, of a hasher of photographs, those that are shipped."
)
AUTO = "Attacks at once; auto: as many as fit the device."
MOST_AT_ONCE = 100_000
LARGEST = 2**31 - 1  # JAX's whole numbers
LARGEST_SEED = 2**32 - 1  # of JAX's keys, which drop what is above
LONGEST_NAME = 255  # bytes, of a file
LONGEST_PATH = 4095


def batch_size(text: str) -> int | None:
    """Read how many attacks are made at once; None stands for as many as fit.

    Raises:
      InputError: neither a whole number from 1 to `MOST_AT_ONCE` nor "auto".

    >>> batch_size("16"), batch_size("auto")
    (16, None)
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) in _AT_ONCE):
        raise InputError(
            f"--batch {quoted(text)}: must be a whole number of at least 1 and at most "
            f"{MOST_AT_ONCE:,}, or auto"
        )
    return int(text)


_AT_ONCE = range(1, MOST_AT_ONCE + 1)


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse an empty word of a command line: as a path it would be the working folder.

    Raises:
      InputError: there is one.
    """
    for before, word in zip(("", *words), words, strict=False):
        option = before if before.startswith("--") else "an argument"
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise InputError(f"{word[:-1] or option}: is empty; leave it out, or give a value")


def check_values(command: Any) -> None:
    """Have every parameter of a command, and of those below it, refuse values that nothing takes.

    Numbers are finite and whole numbers fit JAX's; texts are text; paths can exist.
    """
    for below in getattr(command, "commands", {}).values():
        check_values(below)
    for parameter in command.params:
        if not parameter.is_eager:
            parameter.callback = check_parameter


def check_parameter(context: Any, parameter: Any, value: Any) -> Any:
    """Refuse a value of a parameter that nothing takes; a callback of parameters."""
    for one in value if isinstance(value, list | tuple) else (value,):
        fault = _fault(parameter.name, one)
        if fault is not None:
            raise typer.BadParameter(fault, ctx=context, param=parameter)
    return value


def _fault(name: str, value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}: must be finite"
    if isinstance(value, int) and name == "seed" and not 0 <= value <= LARGEST_SEED:
        return f"must be from 0 to {LARGEST_SEED}"
    if isinstance(value, int) and name != "seed" and abs(value) > LARGEST:
        return f"must be at most {LARGEST}"
    if isinstance(value, str | Path) and "\0" in str(value):
        return "holds a NUL character"
    if isinstance(value, Path):
        parts = [os.fsencode(part) for part in value.parts]
        if len(os.fsencode(value)) > LONGEST_PATH or any(len(p) > LONGEST_NAME for p in parts):
            return f"{quoted(value.name)}: too long for the name of a file"
    return None


def one_of(name: str, value: str, allowed: Collection[str]) -> Any:
    """Return an option that is one of some words, as their `Literal`.

    Raises:
      InputError: it is not.
    """
    if value not in allowed:
        raise InputError(f"{name} {quoted(value)}: must be one of {', '.join(allowed)}")
    return value


def positive(name: str, value: float | None) -> None:
    """Check that an option, if it is given, is more than 0; that it is finite is known.

    Raises:
      InputError: it is not.
    """
    if value is not None and not value > 0:
        raise InputError(f"{name} {value:g}: must be positive and finite")


def given(context: typer.Context) -> Iterator[Any]:
    """Return the parameters that the command line gives."""
    for parameter in context.command.get_params(context):
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            yield parameter


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether the command line gives a parameter."""
    return any(parameter.name == name for parameter in given(context))


def refuse_unread(context: typer.Context, mode: str, reads: Mapping[str, Collection[str]]) -> None:
    """Refuse the options given that only other modes of a command read.

    Args:
      context: the command's.
      mode: the one chosen, a key of `reads`; what is none is passed over.
      reads: of each mode, the parameters that not all modes read.

    Raises:
      InputError: there is one.
    """
    if mode not in reads:
        return
    for parameter in given(context):
        readers = [other for other, names in reads.items() if parameter.name in names]
        if readers and mode not in readers:
            name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name
            raise InputError(f"{name}: is not read with {mode}; it is for {' or '.join(readers)}")
