"""Networks with batch norm folded compute what their definitions say."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.victims.nets.inception_v3 import ConvNorm
from jaxadv.victims.nets.inference import folding
from jaxadv.victims.nets.resnet import ResNet

NETS = {
    "basic": ResNet((1, 2), bottleneck=False, width=4, stem="small"),
    "padded": ResNet((1, 1), bottleneck=False, width=4, stem="cifar", padded=True),
    "bottleneck": ResNet((1, 2), bottleneck=True, width=4),
    "caffe": ResNet((1, 2), bottleneck=True, width=4, caffe=True),
    "inception": ConvNorm(8, (3, 3), 2, "VALID"),
}


def _drawn(net, image):
    """Variables none of which is what a fresh network begins with."""
    variables = jax.jit(net.init)(jax.random.key(0), image)
    leaves, form = jax.tree.flatten(variables)
    rng = np.random.default_rng(0)
    moved = [x * rng.uniform(0.5, 1.5, x.shape) + rng.uniform(0, 0.01, x.shape) for x in leaves]
    return jax.tree.unflatten(form, moved)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETS)
def test_values_and_gradients(name):
    net = NETS[name]
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(24, 24, 3)))
    variables = _drawn(net, image)
    weights = np.random.default_rng(2).normal(
        size=jax.eval_shape(net.apply, variables, image).shape
    )

    def plain(variables, image):
        return jnp.vdot(weights, net.apply(variables, image)) / weights.size

    def folded(variables, image):
        with folding():
            return plain(variables, image)

    wanted, got = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(variables, image) for f in (plain, folded)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9 * (1 + np.abs(b).max()))


def test_nothing_is_normalised_after_a_convolution():
    """The folded program divides nothing of the size of a picture, and its kernels instead."""
    net = nn.Sequential([nn.Conv(4, (3, 3)), nn.BatchNorm(use_running_average=True)])
    image = jnp.ones((1, 8, 8, 3))
    variables = net.init(jax.random.key(0), image)

    def folded(image):
        with folding():
            return net.apply(variables, image)

    text = jax.jit(folded).lower(image).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "multiply" in text and not [
        line for line in text.splitlines() if "multiply" in line and "8x8" in line
    ]


def test_training_keeps_its_statistics():
    """Batch norm over the batch, and one that no convolution is before, stay as they are."""
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)
    for net in (
        nn.Sequential([nn.Conv(4, (3, 3)), nn.BatchNorm(use_running_average=False)]),
        nn.Sequential([nn.BatchNorm(use_running_average=True), nn.Conv(4, (3, 3))]),
    ):
        variables = net.init(jax.random.key(0), image)
        wanted = net.apply(variables, image, mutable="batch_stats")
        with folding():
            got = net.apply(variables, image, mutable="batch_stats")
        jax.tree.map(np.testing.assert_array_equal, got, wanted)
