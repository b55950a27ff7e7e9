"""torchvision's MobileNetV2 and ViT: their names and sizes, and what they say beside PyTorch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.porting.port import port
from jaxadv.porting.tables import classifier_table
from jaxadv.victims import architectures
from jaxadv.victims.architectures import PUBLISHED, ClassifierArchitecture
from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD
from jaxadv.victims.nets.vit import ViT

CLASSES = 7
VIT = {"patch": 4, "width": 12, "layers": 2, "heads": 3}


@pytest.mark.parametrize(
    ("name", "entries", "parameters"),
    [("mobilenet-v2-torchvision", 262, 3_504_872), ("vit-b16", 152, 86_567_656)],
)
def test_sizes_of_the_published_files(name, entries, parameters):
    """As torchvision documents them; `num_batches_tracked` is left out."""
    made = PUBLISHED[name]
    tree = made.shapes({"classes": ("",) * 1000})
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == parameters
    names = {entry.name for entry in classifier_table(made, tree, ()).values()}
    assert len(names) == entries
    some = {
        "mobilenet-v2-torchvision": "features.0.0.weight features.1.conv.0.0.weight "
        "features.1.conv.1.weight features.1.conv.2.running_var features.2.conv.3.bias "
        "features.17.conv.1.1.running_mean features.18.1.weight classifier.1.weight",
        "vit-b16": "class_token conv_proj.bias encoder.pos_embedding encoder.ln.weight "
        "encoder.layers.encoder_layer_11.self_attention.in_proj_weight "
        "encoder.layers.encoder_layer_0.self_attention.out_proj.bias "
        "encoder.layers.encoder_layer_3.mlp.3.weight heads.head.bias",
    }
    assert names >= set(some[name].split())


@pytest.fixture
def pair(request, torch, tmp_path, monkeypatch):
    """A network in PyTorch with random weights, and the file of its state dict."""
    from victims.nets import torch_definitions

    if request.param == "mobilenet":
        net = torch_definitions.MobileNetV2(CLASSES)
        made = ClassifierArchitecture("mobilenet-v2-torchvision", 40)
    else:
        small = architectures.Backbone(lambda: ViT(**VIT, token=True), 16)
        monkeypatch.setitem(architectures.BACKBONES, "vit-b16-token", small)
        net = torch_definitions.VisionTransformer(16, **VIT, classes=CLASSES)
        made = ClassifierArchitecture("vit-b16-token", 16)
    with torch.no_grad():
        torch_definitions.randomise(net, seed=1)
        for value in (*net.parameters(), *net.buffers()):
            if not value.dtype.is_floating_point or value.ndim != 3:
                continue
            value.normal_(0, 0.5)  # the class token and the positions, which begin at 0
    state = net.state_dict()
    if request.param == "vit as of 0.12":
        names = (("mlp.0.", "mlp.linear_1."), ("mlp.3.", "mlp.linear_2."))
        for now, before in names:
            state = {name.replace(now, before): value for name, value in state.items()}
        assert any(re.search("linear_2.bias$", name) for name in state)
    torch.save(state, tmp_path / "net.pth")
    return net.eval().double(), made, tmp_path / "net.pth"


@pytest.mark.parametrize("pair", ["mobilenet", "vit", "vit as of 0.12"], indirect=True)
def test_logits_are_those_of_pytorch(pair, torch, float64):
    net, made, file = pair
    ported = port([file], made)
    pictures = np.random.default_rng(0).uniform(size=(3, *made.image_shape))
    normal = (pictures - IMAGENET_MEAN) / IMAGENET_STD
    with torch.no_grad():
        expected = net(torch.from_numpy(normal).permute(0, 3, 1, 2)).numpy()
    victim = ported.architecture.functions(ported.names)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), ported.variables)
    found = jax.jit(jax.vmap(victim.logits, in_axes=(None, 0)))(variables, pictures)
    assert np.ptp(expected) > 0.1
    assert np.abs(np.asarray(found) - expected).max() <= 1e-6 * np.abs(expected).max()
