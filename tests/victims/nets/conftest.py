import importlib.util
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
    pytest.importorskip("transformers", reason="compares with transformers")
    from . import torch_hub

    return torch_hub


@pytest.fixture(scope="session")
def timm_tresnet(torch: ModuleType) -> ModuleType:
    """TResNets of `timm`."""
    if not importlib.util.find_spec("timm"):
        pytest.skip("beside timm")
    from . import torch_timm

    return torch_timm.tresnet()
