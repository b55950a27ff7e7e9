"""How the command line has JAX compile: kept between commands, with the faster convolutions."""

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

# which kernels XLA takes from YNNPACK on CPUs, where those are there; convolutions are left to
# Eigen, which is some 1.1 times as fast in a victim's passes (docs/speed.md)
_KERNELS = "xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_TRIED = "0.10."  # XLA ends a process that names a flag which it does not know


def cache_folder() -> Path | None:
    """Where compiled attacks are kept between commands: the user's own cache folder.

    None where the user has none: in a container, whoever runs it may have no home.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "jaxadv" / "compiled"


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's own cache folder, readable by no one else.

    JAX trusts what it finds there, so it must not be a shared folder. Nothing is imported here: a
    wrong command line is refused at once.
    """
    folder = cache_folder()
    if folder is None:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it has no folder to keep, either
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError:
        return  # a read-only home: compile anew each time
    os.environ.setdefault(_CACHE, str(folder))
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(_CACHE.lower(), os.environ[_CACHE])


def choose_kernels() -> None:
    """Have XLA run convolutions on CPUs by its faster kernels, unless the user has chosen.

    Must come before JAX compiles anything.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _KERNELS not in flags and version("jaxlib").startswith(_TRIED):
        os.environ["XLA_FLAGS"] = f"{flags} --{_KERNELS}={_PRODUCTS}".strip()
