"""`imagenet-vgg-f.mat`, ported, is the network that MatConvNet runs: scores and gradients."""

import jax
import numpy as np
import pytest
from porting.hash_parity import (
    NET,
    WIDTH,
    assert_same,
    cell,
    file_of,
    largest_difference,
    layers_of,
    mean_of,
    pictures,
    shapes,
    torch,
)

from jaxadv.formats.errors import PortingError
from jaxadv.porting import hash_tables
from jaxadv.porting.readers import read


@pytest.mark.parametrize("old", [False, True], ids=["weights, mean image", "filters, mean colour"])
def test_cnn_f_of_matconvnet(hashers, dtype, old, tmp_path):
    layers, mean = layers_of(hashers, dtype), mean_of(dtype)
    if old:
        mean = mean[:1, :1]
    arrays = read(file_of(tmp_path, layers, mean, old))
    tree = shapes(NET, dtype, "logits", pictures_only=True)
    variables, mapped = hash_tables.fit_vgg_f(arrays, NET, tree, "file")
    assert ("conv1.weight", "params/conv1/kernel", (11, 11, 3, WIDTH)) in mapped
    assert not arrays

    def theirs(images):
        return hashers.simplenn(layers, 255 * images - torch.from_numpy(mean))

    assert_same(lambda image: NET.apply(variables, image, method="logits"), theirs, pictures(dtype))


def test_cnn_f_without_its_classifier_in_a_batch_and_alone(hashers, tmp_path):
    layers, mean, images = layers_of(hashers, np.float32), mean_of("f4"), pictures("f4")
    arrays = read(file_of(tmp_path, layers, mean))
    tree = shapes(NET, np.float32, pictures_only=True)
    variables, _ = hash_tables.fit_vgg_f(arrays, NET, tree, "file")
    assert "fc8" not in variables["params"]
    expected = hashers.simplenn(layers[:19], torch.from_numpy(255 * images - mean)).numpy()
    apply = jax.jit(NET.apply)
    assert largest_difference(apply(variables, images), expected) < 1e-4
    assert largest_difference(apply(variables, images[0]), expected[0]) < 1e-4


def _layer(layers, name):
    return next(layer for layer in layers if layer["name"] == name)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("pool1", {"pad": 0}, r"pool1 has windows of \[3.0, 3.0\], stride \[2, 2\], pad \[0, 0"),
        ("pool1", {"pad": np.array([1, 0, 1, 0])}, "pool1 has windows"),
        ("pool2", {"pool": np.array([2, 2])}, "pool2 has windows"),
        ("pool5", {"stride": np.array([1, 0])}, "pool5 has windows"),
        ("pool5", {"stride": np.array([2, 2, 2])}, r"stride \[nan, nan\]"),
        ("conv1", {"stride": 2}, "conv1 has windows"),
        ("conv2", {"pad": 1}, "conv2 has windows"),
        ("conv3", {"dilate": 2}, r"'conv3.dilate' is '\[2\]', not 1"),
        ("relu4", {"leak": 0.1}, r"'relu4.leak' is '\[0.1\]', not 0"),
        ("norm1", {"param": np.array([5, 1, 2e-5, 0.75])}, "norm1 has parameters"),
        ("norm2", {"param": np.array([5, 2])}, "norm2 has parameters"),
        ("fc7", {"weights": [np.zeros((1, 1, 3, 3)), np.zeros(3)]}, r"'fc7.weight' \(1, 1, 3, 3\)"),
        ("fc6", {"name": "fc9"}, "missing: 'fc6.bias'.*unexpected: .*'fc9.weight'"),
    ],
)
def test_another_network_is_refused_by_name(hashers, name, changes, says, tmp_path):
    layers = layers_of(hashers, np.float32)
    _layer(layers, name).update(changes)
    arrays = read(file_of(tmp_path, layers, mean_of("f4")))
    tree = shapes(NET, np.float32, pictures_only=True)
    with pytest.raises(PortingError, match=rf"mine\.mat: .*{says}"):
        hash_tables.fit_vgg_f(arrays, NET, tree, "mine.mat")


def test_settings_that_change_nothing_are_accepted(hashers, tmp_path):
    layers = layers_of(hashers, np.float32)
    _layer(layers, "pool2")["pad"] = 0  # 11 pixels: the padding is behind the last window
    _layer(layers, "conv3").update(dilate=1, opts=cell(), precious=False, pad=1, stride=1)
    _layer(layers, "relu3")["leak"] = 0
    del _layer(layers, "fc7")["pad"], _layer(layers, "fc7")["stride"]
    arrays = read(file_of(tmp_path, layers, mean_of("f4")))
    tree = shapes(NET, np.float32, pictures_only=True)
    hash_tables.fit_vgg_f(arrays, NET, tree, "file")


def test_file_without_a_mean_image_is_refused(hashers, tmp_path):
    layers = layers_of(hashers, np.float32)
    arrays = read(file_of(tmp_path, layers, cell()))
    with pytest.raises(PortingError, match="no mean image"):
        hash_tables.mean_image(arrays, "file")
    tree = shapes(NET, np.float32, pictures_only=True)
    with pytest.raises(PortingError, match=r"missing: 'normalization.averageImage'"):
        hash_tables.fit_vgg_f(arrays, NET, tree, "file")
