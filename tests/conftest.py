"""What tests may need: two devices, the real data, double precision, PyTorch."""

import gc
import os
from pathlib import Path

import hypothesis
import jax
import pytest

from jaxadv.cli.compiler import choose_kernels

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
choose_kernels()  # as commands do: before JAX compiles anything, whichever test comes first

hypothesis.settings.register_profile("shared", deadline=None)  # tests share their machine
hypothesis.settings.load_profile("shared")

DATA = Path(__file__).parents[2] / "shared" / "data"


MOST_MAPPINGS = 30_000  # of 65,530 that Linux gives a process: XLA dies of the one after


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """Forget compiled programs, which take mappings of memory, before there are too many."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def real_data():
    """The folder of real photographs; a test that needs it skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is absent")
    return DATA


@pytest.fixture(scope="session")
def torch():
    """PyTorch; a test that needs it is marked `parity`, and skips where it is absent."""
    return pytest.importorskip("torch", reason="compares with PyTorch (extra `parity`)")


def pytest_itemcollected(item):
    """Mark what uses the fixture above, itself or through another one."""
    if "torch" in getattr(item, "fixturenames", ()):
        item.add_marker("parity")


@pytest.fixture
def float64():
    """Double precision inside the test only."""
    with jax.enable_x64(True):
        yield
