"""What tests may need: two devices, the real data, double precision, PyTorch."""

import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def real_data():
    """The folder of real photographs; a test that needs it skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is absent")
    return DATA


@pytest.fixture(scope="session")
def torch():
    """PyTorch; a test that needs it is marked `parity`, and skips where it is absent."""
    return pytest.importorskip("torch", reason="beside PyTorch (extra `parity`)")


def pytest_itemcollected(item):
    """Mark what uses the fixture above, itself or through another one."""
    if "torch" in getattr(item, "fixturenames", ()):
        item.add_marker("parity")


@pytest.fixture
def float64():
    """Double precision inside the test only."""
    with jax.enable_x64(True):
        yield
