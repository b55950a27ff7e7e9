"""Values and gradients are those of `lax.conv_general_dilated`, whatever the form."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax

from jaxadv.victims.nets.convolution import convolve, max_pool

PADS = ((1, 1), (1, 1))
DEPTHWISE = "depthwise"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups", "side"),
    [
        ((3, 3), 1, "SAME", DEPTHWISE, 7),
        ((3, 3), 2, "SAME", DEPTHWISE, 8),
        ((3, 3), 2, "SAME", DEPTHWISE, 7),
        ((5, 3), 2, "VALID", DEPTHWISE, 8),
        ((3, 3), 1, PADS, 1, 9),
        ((3, 3), 2, PADS, 1, 9),
        ((3, 3), 2, PADS, 1, 8),
        ((7, 7), 2, ((3, 3), (3, 3)), 1, 15),
        ((7, 7), 2, ((3, 3), (3, 3)), 1, 16),
        ((5, 4), 3, ((2, 1), (0, 2)), 1, 11),
        ((3, 3), 2, ((0, 1), (0, 1)), 1, 8),
        ((1, 1), 2, ((0, 0), (0, 0)), 1, 8),
        ((1, 1), 2, ((1, 0), (0, 1)), 1, 7),
        ((1, 1), 1, "VALID", 1, 7),
        ((1, 7), 1, ((0, 0), (3, 3)), 1, 9),
        ((3, 3), 2, "SAME", 4, 8),
        ((3, 3), 1, "SAME", 4, 7),
        ((3, 3), 2, "VALID", 2, 8),
    ],
)
def test_value_and_gradients(kernel, stride, padding, groups, side):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side, 4))
    outputs = 8
    if groups == DEPTHWISE:
        groups = outputs = 4
    w = rng.normal(size=(*kernel, 4 // groups, outputs))

    def plain(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    wanted, pull_wanted = jax.vjp(plain, x, w)
    got, pull_got = jax.vjp(lambda x, w: convolve(x, w, (stride, stride), padding, groups), x, w)
    cotangent = rng.normal(size=wanted.shape)
    for a, b in zip((got, *pull_got(cotangent)), (wanted, *pull_wanted(cotangent)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (8, 9, 3)])
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 3), (2, 2), ((0, 1), (0, 1))),
        ((3, 3), (2, 2), ((0, 0), (0, 0))),
        ((2, 3), (1, 2), ((0, 0), (0, 1))),
    ],
)
def test_max_pool_and_its_gradient_where_many_are_equal(shape, window, strides, padding):
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 3, size=shape).astype(np.float32)  # as after a ReLU: ties everywhere
    wanted, pull_wanted = jax.vjp(lambda x: nn.max_pool(x, window, strides, padding), grid)
    got, pull_got = jax.vjp(lambda x: max_pool(x, window, strides, padding), grid)
    np.testing.assert_array_equal(got, wanted)
    cotangent = rng.normal(size=wanted.shape).astype(np.float32)
    np.testing.assert_allclose(pull_got(cotangent)[0], pull_wanted(cotangent)[0], rtol=1e-5)
