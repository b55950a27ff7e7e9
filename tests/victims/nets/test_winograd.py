"""Winograd's form gives what `lax.conv_general_dilated` gives, and is taken where it is faster."""

import jax
import numpy as np
import pytest
from jax import lax

from jaxadv.victims.nets.convolution import convolve
from jaxadv.victims.nets.winograd import convolve_tiles, of_kernel


def plain(images, kernel, padding):
    labels = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=labels)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (3, 4)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((2, 0), (0, 1))])
def test_value(sides, padding):
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(2, *sides, 5)), rng.normal(size=(3, 3, 5, 4))
    tiled = convolve_tiles(images, of_kernel(kernel, None), padding, None)
    np.testing.assert_allclose(tiled, plain(images, kernel, padding), rtol=1e-10, atol=1e-10)


def test_single_precision_loses_little_to_the_transforms():
    """Beside the exact result, of 128 channels: within 1e-6 of the largest entry."""
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(1, 8, 8, 128)), rng.normal(size=(3, 3, 128, 128))
    single = [x.astype(np.float32) for x in (images, kernel)]
    tiled = np.asarray(
        convolve_tiles(single[0], of_kernel(single[1], "highest"), ((1, 1), (1, 1)), "highest")
    )
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(single[0].astype(float), ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    )
    exact = np.einsum("nhwcij,ijco->nhwo", windows, single[1].astype(float))
    assert np.abs(tiled - exact).max() <= 1e-6 * np.abs(exact).max()


def _loop(kernel, images):
    """Input gradients in a loop, batched as attacks are."""

    def loss(image):
        return (convolve(image[None], kernel, (1, 1), ((1, 1), (1, 1))) ** 2).sum()

    return lax.fori_loop(0, 5, lambda _, x: jax.vmap(jax.grad(loss))(x), images)


@pytest.mark.parametrize(
    ("channels", "dtype", "tiled"),
    [(128, "float32", True), (64, "float32", False), (128, "bfloat16", False)],
)
def test_where_it_is_taken(channels, dtype, tiled):
    kernel, images = np.zeros((3, 3, channels, channels)), np.zeros((2, 8, 8, channels))
    compiled = jax.jit(_loop).lower(kernel.astype(dtype), images.astype(dtype)).compile().as_text()
    assert (" convolution(" not in compiled) == tiled


def test_kernels_are_transformed_once_before_the_loop():
    """None of the compiled loop's computations makes sixteen of nine taps."""
    kernel = jax.ShapeDtypeStruct((3, 3, 128, 128), np.float32)
    images = jax.ShapeDtypeStruct((2, 8, 8, 128), np.float32)
    compiled = jax.jit(_loop).lower(kernel, images).compile().as_text()
    computations = [part.strip() for part in compiled.split("\n\n")]
    transformed = [part for part in computations if "f32[16,16384]" in part]
    assert transformed
    entry = next(part for part in computations if part.startswith("ENTRY"))
    called = [part.split(" ", 1)[0] for part in transformed if not part.startswith("ENTRY")]
    assert all(f"calls={name}" in entry or f"to_apply={name}" in entry for name in called)
