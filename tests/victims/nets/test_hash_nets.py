"""DCMH and SSAH: sizes as published, the fusion of scales, and the victims' protocol.

That they compute what their releases do is tested where those are ported.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.victims.nets.dcmh import DCMH
from jaxadv.victims.nets.dual_encoder import DualEncoder
from jaxadv.victims.nets.hash_net import PooledFeatures, as_hasher, initial_variables
from jaxadv.victims.nets.resnet import ResNet, resnet50
from jaxadv.victims.nets.ssah import RELEASED_WINDOWS, SSAH, Discriminator, stretch
from jaxadv.victims.nets.vgg_f import VggF, Window

TAGS, CLASSES, BITS = 1386, 24, 16  # MIRFlickr-25K
CNN_F = 56_737_536  # up to fc7
RESNET_50 = 23_508_032


def dense(*sizes):
    """Parameters of fully connected layers of these sizes."""
    return sum((n + 1) * m for n, m in pairwise(sizes))


HEADS = dense(512, BITS) + dense(512, CLASSES)
TEXT = dense(TAGS * 6, 4096, 512) + HEADS + 5
LABEL = dense(CLASSES, 4096, 512) + HEADS


@pytest.mark.parametrize(
    ("net", "parameters"),
    [
        pytest.param(
            DCMH(VggF(), BITS), CNN_F + dense(4096, BITS) + dense(TAGS, 8192, BITS), id="DCMH"
        ),
        pytest.param(
            DCMH(PooledFeatures(resnet50()), BITS),
            RESNET_50 + dense(2048, BITS) + dense(TAGS, 8192, BITS),
            id="DCMH+",
        ),
        pytest.param(
            SSAH(VggF(), BITS, CLASSES), CNN_F + dense(4096, 512) + HEADS + TEXT + LABEL, id="SSAH"
        ),
        pytest.param(
            SSAH(PooledFeatures(resnet50()), BITS, CLASSES, windows=RELEASED_WINDOWS),
            RESNET_50 + dense(2048, 512) + HEADS + TEXT + LABEL,
            id="SSAH+",
        ),
    ],
)
def test_published_sizes(net, parameters):
    codes, variables = jax.eval_shape(
        net.init_with_output, jax.random.key(0), jnp.zeros((224, 224, 3)), jnp.zeros(TAGS)
    )
    assert [code.shape for code in codes] == [(BITS,), (BITS,)]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize("batch", [(), (5,)], ids=str)
def test_discriminators(batch):
    net = Discriminator()
    features = jax.ShapeDtypeStruct((*batch, 512), jnp.float32)
    scores, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), features)
    assert scores.shape == batch
    found = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert found == dense(512, 4096, 4096, 1)


@pytest.mark.parametrize(
    ("values", "stretched"),
    [
        ([0, 1], [0, 0.5, 1, 1]),  # of tf.image.resize_bilinear of TensorFlow 1
        ([0, 1, 2], [0, 1.5]),
        ([3], [3, 3, 3]),
        ([1, 2, 4], [1, 2, 4]),
        ([0, 3], [0, 1, 2, 3, 3, 3]),
    ],
)
def test_stretching_is_that_of_tensorflow_1(values, stretched):
    found = stretch(jnp.array([values, values], jnp.float32), len(stretched))
    np.testing.assert_allclose(found, [stretched] * 2, rtol=1e-6)


def small(kind):
    features = VggF(side=64, width=4, units=16, stem=Window(5, 2))
    if kind == "DCMH+":
        return DCMH(PooledFeatures(ResNet((1, 1), False, width=4, stem="small")), 8, units=12)
    if kind == "dual":
        return DualEncoder(PooledFeatures(ResNet((), False, width=4, stem="small")), 8, units=12)
    if kind == "DCMH":
        return DCMH(features, 8, units=12)
    return SSAH(features, 8, 6, semantic=10, hidden=12)


@pytest.mark.parametrize("kind", ["DCMH", "DCMH+", "SSAH", "dual"])
def test_as_hasher(kind):
    tags, classes = tuple("abcdefghijkl"), tuple("uvwxyz")
    net = small(kind)
    hasher = as_hasher(net, (64, 64, 3), tags, classes)
    assert (hasher.bits, hasher.image_shape) == (8, (64, 64, 3))
    assert (hasher.tags, hasher.classes) == (tags, classes)
    variables = initial_variables(net, hasher.image_shape, len(tags), jax.random.key(0))
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 64, 64, 3)).astype(np.float32)
    bags = rng.integers(0, 2, (3, 12)).astype(np.float32)
    for function, examples in ((hasher.image_code, images), (hasher.text_code, bags)):

        @jax.jit
        def ours(examples, function=function):
            codes, pull = jax.vjp(lambda x: function(variables, x), examples[1])
            batch = jax.vmap(function, in_axes=(None, 0))(variables, examples)
            return batch, codes, pull(jnp.ones(8))[0]

        codes, alone, gradient = ours(examples)
        assert codes.shape == (3, 8) and codes.dtype == jnp.float32
        np.testing.assert_allclose(alone, codes[1], atol=1e-5)
        assert len(np.unique(codes.round(4), axis=0)) == 3
        assert np.abs(gradient).max() > 0
        assert kind != "SSAH" or np.abs(codes).max() <= 1
        assert kind != "dual" or np.allclose((codes**2).sum(axis=1), 1)
    assert (hasher.logit_scale is None) == (kind != "dual")


@pytest.mark.parametrize(("log_scale", "scale"), [(None, 1 / 0.07), (3.0, np.exp(3)), (6.0, 100)])
def test_logit_scale_is_learned_as_its_logarithm(log_scale, scale):
    net = small("dual")
    hasher = as_hasher(net, (64, 64, 3), tuple("abcdefghijkl"), tuple("uvwxyz"))
    key, shapes = jax.random.key(0), (jnp.zeros((64, 64, 3)), jnp.zeros(12))
    params = jax.eval_shape(net.init, key, *shapes)["params"]
    assert params["log_scale"].shape == ()
    start = net.init(key, jnp.zeros(12), method="text_code")["params"]["log_scale"]
    used = {"params": {"log_scale": start if log_scale is None else jnp.float32(log_scale)}}
    np.testing.assert_allclose(hasher.logit_scale(used), scale, rtol=1e-6)


def test_semantics_of_ssah():
    net = small("SSAH")
    key = jax.random.key(0)
    semantics, _ = net.init_with_output(key, jnp.ones(6), method="label_semantics")
    assert semantics.features.shape == (10,) and semantics.features.min() >= 0
    assert semantics.code.shape == (8,) and np.abs(semantics.code).max() <= 1
    assert semantics.labels.shape == (6,) and 0 <= semantics.labels.min() <= 1


def test_bag_narrower_than_a_scale_is_refused():
    with pytest.raises(ValueError, match="10 words is too wide for a bag of 9"):
        small("SSAH").init(jax.random.key(0), jnp.zeros(9), method="text_code")
