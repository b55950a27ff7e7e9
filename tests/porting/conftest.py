import jax
import numpy as np
import pytest
from porting.make_references import SIDE, STAGES, WIDTH

from jaxadv.victims import architectures
from jaxadv.victims.nets.resnet import ResNet


@pytest.fixture
def hashers(torch):
    """The hashers' networks in PyTorch; the test skips where PyTorch is absent."""
    from victims.nets import torch_hashers

    return torch_hashers


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """The precision of a test, inside which JAX has it too."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture(scope="module")
def tiny():
    """A backbone of this name, as small as that of the stored references."""

    def make():
        return ResNet(STAGES, bottleneck=True, width=WIDTH, caffe=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(architectures.BACKBONES, "tiny", architectures.Backbone(make, SIDE))
        yield
