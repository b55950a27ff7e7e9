from types import ModuleType

import pytest


@pytest.fixture
def reference(torch: ModuleType) -> ModuleType:
    """The PyTorch definitions."""
    from . import torch_definitions

    return torch_definitions


@pytest.fixture(scope="session")
def hub(torch: ModuleType) -> ModuleType:
    """Networks of `transformers`."""
    pytest.importorskip("transformers", reason="beside transformers")
    from . import torch_hub

    return torch_hub
