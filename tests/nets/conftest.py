from types import ModuleType

import pytest


@pytest.fixture
def reference() -> ModuleType:
    """The PyTorch definitions; the test skips where PyTorch is absent."""
    pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
    from . import torch_definitions

    return torch_definitions
