"""What the tests of ported hashers share: inputs, a file of MatConvNet, and the comparison."""

import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from jaxadv.victims.nets.vgg_f import VggF

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")

SIDE, WIDTH, UNITS, GRID, CLASSES = 96, 6, 20, 2, 10
WORDS, BITS = 63, 16
NET = VggF(side=SIDE, width=WIDTH, units=UNITS, classes=CLASSES)


def tolerance(dtype):
    return 1e-4 if dtype == np.float32 else 1e-10


def shapes(net, dtype, method=None, *, words=WORDS, pictures_only=False):
    """The expected variables, in this precision."""
    inputs = [jnp.zeros((SIDE, SIDE, 3)), *([] if pictures_only else [jnp.zeros(words)])]
    tree = jax.eval_shape(partial(net.init, method=method), jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), tree)


def pictures(dtype, count=3):
    return np.random.default_rng(1).uniform(size=(count, SIDE, SIDE, 3)).astype(dtype)


def bags(dtype, count=3, words=WORDS):
    return np.random.default_rng(2).integers(0, 2, (count, words)).astype(dtype)


def mean_of(dtype):
    return np.random.default_rng(3).uniform(80, 150, (SIDE, SIDE, 3)).astype(dtype)


def largest_difference(found, expected):
    assert found.shape == expected.shape
    return np.abs(np.asarray(found) - expected).max() / expected.std()


def assert_same(ours, theirs, inputs):
    """Compare outputs and input gradients of functions from a batch (theirs) or one example."""
    x = torch.from_numpy(inputs).requires_grad_()
    expected = theirs(x)
    assert (expected.std(0) > 0).double().mean() > 0.5  # they differ from example to example
    up = np.random.default_rng(4).standard_normal(expected.shape).astype(inputs.dtype)
    expected.backward(torch.from_numpy(up))
    assert x.grad.abs().max() > 0

    @jax.jit
    def both(x, up):
        outputs, pull = jax.vjp(jax.vmap(ours), x)
        return outputs, pull(up)[0]

    outputs, gradient = both(inputs, up)
    assert outputs.dtype == inputs.dtype
    limit = tolerance(inputs.dtype)
    assert largest_difference(outputs, expected.detach().numpy()) < limit
    assert largest_difference(gradient, x.grad.numpy()) < limit


def cell(*items):
    array = np.empty((1, len(items)), object)
    array[0] = items
    return array


def mat(layers, mean, old, **options):
    """The network as MATLAB writes it, before MatConvNet's beta 8 or since."""
    stored = []
    for layer in layers:
        fields = {key: value for key, value in layer.items() if key != "weights"}
        if "weights" in layer and old:
            fields["filters"], fields["biases"] = layer["weights"]
        elif "weights" in layer:
            fields["weights"] = cell(*layer["weights"])
        stored.append(fields)
    normalization = {
        "averageImage": mean,
        "imageSize": np.array([[SIDE, SIDE, 3.0]]),
        "keepAspect": True,
        "border": np.array([[32.0, 32.0]]),
        "interpolation": "bilinear",
    }
    about = {"normalization": normalization, "classes": {"name": cell("tench", "goldfish")}}
    buffer = io.BytesIO()
    network = {"layers": cell(*stored), **(about if old else {"meta": about})}
    scipy.io.savemat(buffer, network, oned_as="row", **options)
    return buffer.getvalue()


def layers_of(hashers, dtype):
    return hashers.cnn_f_layers(WIDTH, UNITS, GRID, CLASSES, np.random.default_rng(0), dtype)


def file_of(folder, layers, mean, old=False):
    path = folder / "imagenet-vgg-f.mat"
    path.write_bytes(mat(layers, mean, old))
    return path
