"""What every test may need: two devices, where the real data lie, and double precision."""

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


@pytest.fixture
def float64():
    """Double precision inside the test only."""
    with jax.enable_x64(True):
        yield
