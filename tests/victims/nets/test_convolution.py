"""Values and gradients are those of `lax.conv_general_dilated`, whatever the form."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax

from jaxadv.victims.nets.convolution import convolve, max_pool, relu

PADS = ((1, 1), (1, 1))
DEPTHWISE = "depthwise"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("inputs", [4, 8])  # few enough for all phases at once, and more
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
def test_value_and_gradients(kernel, stride, padding, groups, side, inputs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side, inputs))
    outputs = 8
    if groups == DEPTHWISE:
        groups = outputs = inputs
    w = rng.normal(size=(*kernel, inputs // groups, outputs))

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


def test_relu_and_its_gradient():
    x = np.array([-2.0, -0.0, 0.0, 3.0, np.nan, np.inf, -np.inf], np.float32)
    for ours, linens in zip(
        (relu(x), jax.vmap(jax.grad(relu))(x)),
        (nn.relu(x), jax.vmap(jax.grad(nn.relu))(x)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, linens)


@pytest.mark.parametrize("stride", [1, 2])
def test_kernels_are_flipped_once_before_the_loop(stride):
    """In a loop of input gradients the compiled body rearranges no kernel."""
    w = np.zeros((3, 3, 8, 8), np.float32)

    def steps(w, x):
        of = jax.grad(lambda x: (convolve(x, w, (stride, stride), PADS) ** 2).sum())
        return lax.fori_loop(0, 5, lambda _, x: of(x), x)

    compiled = jax.jit(steps).lower(w, np.zeros((1, 8, 8, 8), np.float32)).compile().as_text()
    computations = [part.strip() for part in compiled.split("\n\n")]
    entry = next(part for part in computations if part.startswith("ENTRY"))
    flipping = [part.split(" ", 1)[0] for part in computations if " reverse(" in part]
    assert flipping and all(f"calls={name}" in entry for name in flipping if name != "ENTRY")


def test_shortcuts_are_read_from_the_block_before():
    """Twelve residual additions: none of the compiled loops reads them all."""

    def chain(w, x):
        for _ in range(12):
            x = relu(x + relu(x @ w))
        return x.sum()

    x, w = np.zeros((256, 128), np.float32), np.zeros((128, 128), np.float32)
    compiled = jax.jit(jax.grad(chain, argnums=1)).lower(w, x).compile().as_text()
    read = [
        line.split("fusion(")[1].count("%") for line in compiled.splitlines() if " fusion(" in line
    ]
    assert 0 < max(read) <= 8
