"""What records were made with: the command line, the machine, the versions."""

import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jaxadv import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of jaxadv and of what its numbers depend on."""
    return {"jaxadv": __version__, **{name: version(name) for name in PACKAGES}}


def machine() -> str:
    """Name the devices of this process, such as "2 CPU cores" or "1 x NVIDIA H200"."""
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return f"{len(devices)} x {devices[0].device_kind}"


def command_line() -> str:
    """Return what was typed; "" where this process is no `jaxadv` command."""
    program, *arguments = sys.argv or [""]
    return shlex.join(["jaxadv", *arguments]) if Path(program).name == "jaxadv" else ""


def environment() -> dict[str, Any]:
    """Return all of it, as plans of records keep it."""
    return {"command_line": command_line(), "machine": machine(), "versions": versions()}
