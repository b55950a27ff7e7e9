from types import ModuleType

import pytest


@pytest.fixture
def reference(torch: ModuleType) -> ModuleType:
    """The PyTorch definitions."""
    from . import torch_definitions

    return torch_definitions
