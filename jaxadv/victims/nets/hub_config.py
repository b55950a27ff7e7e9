"""Reading a network's sizes from the `config.json` that it was published with."""

from collections.abc import Collection, Mapping
from typing import Any

from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted

Config = Mapping[str, Any]


def section(config: Config, name: str, defaults: Config) -> dict[str, Any]:
    """Return a part of a configuration, such as `vision_config`.

    Files leave out what their writer's defaults say already, or write null for it.

    Raises:
      InputError: there is no such part.
    """
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise InputError(f"config.json: no section {name}")
    return {**defaults, **{key: value for key, value in part.items() if value is not None}}


def whole(config: Config, name: str) -> int:
    """Return a positive whole number.

    Raises:
      InputError: it is missing, or something else.

    >>> whole({"hidden_size": 16}, "hidden_size")
    16
    """
    value = _value(config, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"config.json: {name} {quoted(value)}: must be a positive whole number")
    return value


def real(config: Config, name: str) -> float:
    """Return a positive number.

    Raises:
      InputError: it is missing, or something else.
    """
    value = _value(config, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise InputError(f"config.json: {name} {quoted(value)}: must be a positive number")
    return float(value)


def one_of(config: Config, name: str, supported: Collection[Any]) -> Any:
    """Return a value that must be one of those that a network here knows.

    Raises:
      InputError: it is missing, or another one.
    """
    value = _value(config, name)
    if value not in supported:
        known = " or ".join(quoted(each) for each in supported)
        raise InputError(f"config.json: {name} {quoted(value)}: supported is {known}")
    return value


def _value(config: Config, name: str) -> Any:
    if config.get(name) is None:
        raise InputError(f"config.json: no {name}")
    return config[name]
