"""Ported classifiers say what PyTorch says, and what the labels of real pictures say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.data.images import read_image, resize
from jaxadv.formats.errors import PortingError
from jaxadv.porting.port import port
from jaxadv.victims import zoo
from jaxadv.victims.architectures import BACKBONES, ClassifierArchitecture, published

CLASSES = 7


class Pair:
    """A classifier of torchvision's layout in PyTorch, and the files that torch saved it in."""

    def __init__(self, name, reference, torch, folder):
        made = {
            "resnet18": (lambda: reference.ResNet((2, 2, 2, 2), bottleneck=False), 512, 64),
            "resnet50": (lambda: reference.ResNet((3, 4, 6, 3), bottleneck=True), 2048, 64),
            "inception-v3": (reference.InceptionV3, 2048, 107),
        }
        make, features, side = made[name]
        self.torch, self.net = torch, make().eval()
        self.head = torch.nn.Linear(features, CLASSES)
        with torch.no_grad():
            reference.randomise(self.net, seed=1)
        self.architecture = ClassifierArchitecture(name, side)
        self.files = [folder / "zipped.pth", folder / "legacy.pth"]
        entries = {**self.net.state_dict()}
        entries |= {f"fc.{name}": value for name, value in self.head.state_dict().items()}
        state = {"state_dict": {f"module.{name}": value for name, value in entries.items()}}
        for file in self.files:
            zipped = file.stem == "zipped"
            torch.save(state, file, _use_new_zipfile_serialization=zipped)
        self.mean, self.std = (torch.tensor(c, dtype=torch.float64) for c in BACKBONES[name][2:])
        self.pictures = np.random.default_rng(0).uniform(size=(4, side, side, 3))

    def logits(self, images):
        normal = (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)
        return self.head(self.net(normal.permute(0, 3, 1, 2)).mean((2, 3)))


@pytest.fixture(params=["resnet18", "resnet50", "inception-v3"], scope="module")
def pair(request, torch, tmp_path_factory):
    from victims.nets import torch_definitions

    return Pair(request.param, torch_definitions, torch, tmp_path_factory.mktemp("classifier"))


@pytest.mark.parametrize(("precision", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
def test_logits_and_input_gradients(pair, precision, tolerance):
    """Beside PyTorch in double precision, whose single one differs from it where ReLUs flip."""
    torch = pair.torch
    for module in (pair.net, pair.head):
        module.double()
    inputs = torch.from_numpy(pair.pictures).requires_grad_()
    weights = np.random.default_rng(2).normal(size=(len(pair.pictures), CLASSES))
    expected = pair.logits(inputs)
    (expected * torch.from_numpy(weights)).sum().backward()

    ported = port(pair.files[:1], pair.architecture, {"classes": tuple("abcdefg")})
    classifier = ported.architecture.functions(ported.names)
    with jax.enable_x64(precision is np.float64):
        variables, images, scales = jax.tree.map(
            lambda x: jnp.asarray(x, precision), (ported.variables, pair.pictures, weights)
        )
        logits = jax.vmap(classifier.logits, in_axes=(None, 0))
        found = jax.jit(logits)(variables, images)
        gradient = jax.jit(jax.grad(lambda x: (logits(variables, x) * scales).sum()))(images)
    assert np.ptp(expected.detach().numpy()) > 0.1
    assert _errors(found, expected.detach().numpy()).max() <= tolerance
    # rounding may flip a ReLU on some pictures, and a gradient jumps there; hardly on all
    errors = _errors(gradient, inputs.grad.numpy())
    assert (errors.min() if precision is np.float32 else errors.max()) <= tolerance


def _errors(found, expected):
    """Return the largest error of each picture, relative to the largest entry of all."""
    errors = np.abs(np.asarray(found) - expected) / np.abs(expected).max()
    return errors.max(axis=tuple(range(1, errors.ndim)))


def test_legacy_files_port_alike(pair):
    zipped, legacy = (port([file], pair.architecture) for file in pair.files)
    jax.tree.map(np.testing.assert_array_equal, zipped.variables, legacy.variables)
    assert zipped.names == {"classes": tuple(map(str, range(CLASSES)))}


def test_names_must_be_as_many_as_classes(pair):
    with pytest.raises(PortingError, match="7 classes, but 2 names"):
        port(pair.files[:1], pair.architecture, {"classes": ("a", "b")})


def labelled(folder, pattern, side):
    paths = sorted((folder / "labelled_pictures").glob(pattern))
    labels = np.array([int(path.stem.split("_")[-1]) for path in paths])
    return np.stack([resize(read_image(path), (side, side)) for path in paths]), labels


@pytest.mark.parametrize(
    ("file", "architecture", "pattern", "first", "top_1", "top_5"),
    [
        ("resnet_cifar10/resnet20-12fca82f.th", "resnet20-cifar", "cifar10_*", 0, 18, 20),
        ("resnet_cifar10/resnet32-d509ac18.th", "resnet32-cifar", "cifar10_*", 0, 18, 20),
        ("resnet_cifar10/resnet56-4bfd9763.th", "resnet56-cifar", "cifar10_*", 0, 18, 20),
        # its class 0 is the background
        ("mobilenet_v2/mobilenet_v2_1.0_224.npz", "mobilenet-v2", "imagenet_*", 1, 8, 9),
    ],
)
def test_real_files_know_real_pictures(
    real_data, tmp_path, file, architecture, pattern, first, top_1, top_5
):
    """From the published file through the command to the labels of photographs."""
    command = ["port", str(real_data / file), "--architecture", architecture]
    code, out, err = call(*command, "--name", "mine", "--out", tmp_path, "--licence", "BSD")
    assert (code, err) == (0, "") and "written to" in out
    victim = zoo.load(str(tmp_path / "mine"))
    assert victim.architecture == published(architecture)
    assert victim.record["licence"] == "BSD"
    (source,) = victim.record["files"]
    if "cifar" in architecture:
        assert source["sha256"].startswith(file.split("-")[-1].removesuffix(".th"))
    images, labels = labelled(real_data, pattern, victim.classifier.image_shape[0])
    logits = jax.jit(jax.vmap(victim.classifier.logits, in_axes=(None, 0)))(victim.params, images)
    order = np.argsort(-np.asarray(logits), axis=1) - first
    assert (order[:, 0] == labels).sum() >= top_1
    assert (order[:, :5] == labels[:, None]).any(axis=1).sum() >= top_5


def test_a_classifier_is_no_captioner(tmp_path, real_data):
    file = real_data / "resnet_cifar10" / "resnet20-12fca82f.th"
    code, _, err = call("port", file, "--architecture", "fc-resnet101", "--name", "x")
    assert code == 2 and "needs its words" in err
    out = ["--name", "x", "--out", tmp_path]
    assert call("port", file, "--architecture", "resnet20-cifar", *out)[0] == 0
    code, _, err = call("caption", "--victim", tmp_path / "x", file)
    assert code == 2 and "is a classifier, not a captioner" in err
