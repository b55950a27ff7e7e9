"""Values and gradients are those of `lax.conv_general_dilated`, whatever the form."""

import jax
import numpy as np
import pytest
from jax import lax

from jaxadv.victims.nets.convolution import convolve

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
        ((1, 1), 2, ((0, 0), (0, 0)), 1, 8),
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
