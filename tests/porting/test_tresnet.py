"""Checkpoints of TResNets and ML-Decoders: names, sizes, and what they say beside PyTorch."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.commands import call
from helpers.ported import assert_same_logits

from jaxadv.porting.fitting import misfits
from jaxadv.porting.port import port
from jaxadv.porting.suggestions import fitting
from jaxadv.porting.tables import classifier_table
from jaxadv.victims import architectures, zoo
from jaxadv.victims.architectures import PUBLISHED, ClassifierArchitecture
from jaxadv.victims.nets.tresnet import TResNet

# Made of timm 1.0.31's state dicts, with which tests/victims/nets/test_tresnet.py compares it.
LAYOUTS = json.loads((Path(__file__).parent / "stored" / "tresnet_layouts.json").read_text())
CLASSES = 80
HEAD = {  # of ML-Decoder over 2,048 channels, for 80 classes
    "embed_standart.weight": (768, 2048),
    "embed_standart.bias": (768,),
    "query_embed.weight": (80, 768),
    "layers.0.multihead_attn.in_proj_weight": (3 * 768, 768),
    "layers.0.multihead_attn.in_proj_bias": (3 * 768,),
    "layers.0.multihead_attn.out_proj.weight": (768, 768),
    "layers.0.multihead_attn.out_proj.bias": (768,),
    "layers.0.linear1.weight": (2048, 768),
    "layers.0.linear1.bias": (2048,),
    "layers.0.linear2.weight": (768, 2048),
    "layers.0.linear2.bias": (768,),
    **{f"layers.0.norm{n}.{part}": (768,) for n in (1, 2, 3) for part in ("weight", "bias")},
    "duplicate_pooling": (80, 768, 1),
    "duplicate_pooling_bias": (80,),
}


def layout(backbone, head):
    """Shapes of every tensor of a timm file with one of the heads."""
    shapes = {name: tuple(shape) for name, shape in LAYOUTS[backbone].items()}
    if head == "linear":
        return shapes
    body = {name: shape for name, shape in shapes.items() if not name.startswith("head.")}
    return body | {f"head.decoder.{name}": shape for name, shape in HEAD.items()}


PUBLISHED_TRESNETS = [name for name in PUBLISHED if "tresnet" in name]


@pytest.mark.parametrize("name", PUBLISHED_TRESNETS)
def test_every_tensor_of_the_published_layout_is_named(name):
    made = PUBLISHED[name]
    tree = made.shapes({"classes": ("",) * CLASSES})
    # views of one number: no memory is taken
    arrays = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in layout(made.backbone, made.head).items()
    }
    assert misfits(arrays, classifier_table(made, tree, arrays), tree) == []
    assert len({entry.name for entry in classifier_table(made, tree, ()).values()}) == len(arrays)
    assert name in fitting(arrays).removeprefix("--architecture ").split(" or ")


def test_names_of_alibaba():
    """A list for a layer, one more around it where a blur follows."""
    made = PUBLISHED["tresnet-m"]
    table = classifier_table(made, made.shapes({"classes": ("",)}), ())
    some = (
        "body.conv1.0.weight body.conv1.1.running_var body.layer1.0.conv1.0.weight "
        "body.layer2.0.conv1.0.0.weight body.layer2.0.conv1.0.1.bias body.layer2.0.conv2.1.weight "
        "body.layer2.0.downsample.1.0.weight body.layer2.0.downsample.1.1.running_mean "
        "body.layer2.1.conv1.0.weight body.layer3.0.conv2.0.0.weight body.layer3.10.se.fc2.bias "
        "body.layer4.0.conv2.0.1.weight body.layer4.2.conv3.1.bias head.fc.weight"
    )
    assert {entry.name for entry in table.values()} >= set(some.split())


# ---------------------------------------------------------------- beside PyTorch


def randomise(net, torch, definitions):
    """Weights of both signs, which InPlaceABN takes the absolute value of."""
    definitions.randomise(net, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, value in net.named_parameters():
        if value.ndim in (2, 3):  # of linear maps and of the groups
            value.normal_(0, value.shape[1] ** -0.5, generator=generator)
        elif value.ndim == 1 and name.endswith("1.weight") and name.startswith("body"):
            value *= torch.randint(0, 2, value.shape, generator=generator) * 2 - 1


@pytest.fixture(params=["linear", "ml-decoder"], scope="module")
def pair(request, torch, tmp_path_factory):
    """A small network in PyTorch, its architecture, and its file as ASL's training saves it."""
    from victims.nets import torch_definitions

    linear = second = request.param == "linear"  # each version of the backbone once
    classes = 7 if linear else 150  # 75 of 100 groups, of 2 classes

    def head(inputs):
        kind = torch_definitions.LinearHead if linear else torch_definitions.MLDecoder
        return kind(inputs, classes)

    net = torch_definitions.TResNet((1, 1, 2, 1), 16, head, second)
    with torch.no_grad():
        randomise(net, torch, torch_definitions)
    file = tmp_path_factory.mktemp("tresnet") / "model.pth"
    names = {number: f"class {number}" for number in range(classes)}
    torch.save({"model": net.state_dict(), "num_classes": classes, "idx_to_class": names}, file)
    made = ClassifierArchitecture("tresnet-small", 36, request.param)
    small = architectures.BACKBONES["tresnet-small"]
    small = small._replace(make=lambda: TResNet((1, 1, 2, 1), 16, second))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(architectures.BACKBONES, "tresnet-small", small)
        yield net, made, file


def test_logits_and_input_gradients(pair, torch):
    net, made, file = pair
    pictures = np.random.default_rng(0).uniform(size=(2, *made.image_shape))
    # the port rounds `|weight| + 1e-5` to single precision, as the file's numbers are
    assert_same_logits(port([file], made), net, torch, pictures, double=1e-6)


def test_the_command_makes_a_victim(pair, torch, tmp_path, monkeypatch):
    net, made, file = pair
    monkeypatch.setitem(PUBLISHED, "tresnet-l", made)
    command = ["port", file, "--architecture", "tresnet-l", "--name", "x", "--out", tmp_path]
    code, out, err = call(*command)
    assert (code, err) == (0, "") and "written to" in out
    victim = zoo.load(str(tmp_path / "x"))
    assert victim.architecture == made
    image = np.random.default_rng(0).uniform(size=made.image_shape).astype(np.float32)
    with torch.no_grad():
        inputs = torch.from_numpy(image).permute(2, 0, 1)[None].double()
        expected = net.eval().double()(inputs)[0].numpy()
    found = jax.jit(victim.classifier.logits)(victim.params, image)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    kept = json.loads((tmp_path / "x" / "record.json").read_text())["architecture"]
    assert kept.get("head", "linear") == made.head and ("head" in kept) == (made.head != "linear")
