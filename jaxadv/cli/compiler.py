"""How the command line has JAX compile: kept between commands, with the faster convolutions."""

import logging
import os
import sys
from importlib.metadata import version

from jaxadv.formats.files import user_cache

# which kernels XLA takes from YNNPACK on CPUs, where those are there; convolutions are left to
# Eigen, which is some 1.1 times as fast in a victim's passes (docs/speed.md)
_KERNELS = "xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_TRIED = "0.10."  # XLA ends a process that names a flag which it does not know


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's own cache folder, readable by no one else.

    JAX trusts what it finds there, so it must not be a shared folder. Nothing is imported here: a
    wrong command line is refused at once.
    """
    folder = user_cache("compiled")
    if folder is None:  # compile again each time
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it has no folder to keep, either
        return
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
