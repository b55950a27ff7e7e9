"""Convolutions in the forms that are fast everywhere: plain ones, and depthwise ones as sums.

JAX transposes a convolution by relabelling the kernel's axes. XLA's CPU compiler rewrites such
labels into the form that its fast kernels need only outside loops (jax-ml/jax#12868), and an attack
*is* a loop: there the relabelled form runs several times slower. Here the flipped kernel is written
out, which costs nothing elsewhere.

For depthwise convolutions that compiler has no fast kernel at all. Written as a sum of shifted
pictures, one a tap, they are 15 to 75 times as fast there, forwards and backwards.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_LABELS = ("NHWC", "HWIO", "NHWC")
Pairs = tuple[tuple[int, int], ...]


def convolve(
    images: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    feature_group_count: int = 1,
    **_: Any,
) -> Array:
    """`lax.conv_general_dilated` for `nn.Conv(conv_general_dilated=...)`: NHWC, no dilation.

    Args:
      images: f32[N, H, W, C].
      kernel: f32[h, w, C / groups, out].
      strides: a pair.
      padding: "SAME", "VALID" or a pair of pairs.
      feature_group_count: groups.
    """
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], strides, padding)
    pairs = tuple((int(low), int(high)) for low, high in padding)
    if feature_group_count == images.shape[-1] == kernel.shape[-1]:
        return _depthwise(tuple(strides), pairs, images, kernel)
    return _convolve(tuple(strides), pairs, feature_group_count, images, kernel)


def _depthwise(strides: tuple[int, ...], padding: Pairs, images: Array, kernel: Array) -> Array:
    """Sum the pictures shifted to each tap and weighted by it; kernel f32[h, w, 1, C]."""
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height, width = (
        (size - taps) // stride * stride + 1
        for size, taps, stride in zip(padded.shape[1:3], kernel.shape[:2], strides, strict=True)
    )
    shifted = (
        padded[:, row : row + height : strides[0], column : column + width : strides[1]]
        * kernel[row, column, 0]
        for row, column in np.ndindex(*kernel.shape[:2])
    )
    return sum(shifted, start=jnp.zeros((), images.dtype))


def _plain(
    strides: tuple[int, ...], padding: Pairs, groups: int, images: Array, kernel: Array
) -> Array:
    return lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=_LABELS, feature_group_count=groups
    )


_convolve = jax.custom_vjp(_plain, nondiff_argnums=(0, 1, 2))


def _forward(
    strides: tuple[int, ...], padding: Pairs, groups: int, images: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _plain(strides, padding, groups, images, kernel), (images, kernel)


def _backward(
    strides: tuple[int, ...],
    padding: Pairs,
    groups: int,
    saved: tuple[Array, Array],
    cotangent: Array,
) -> tuple[Array, Array]:
    images, kernel = saved
    # a kernel gradient that nobody asks for is dead code to the compiler
    _, of_kernel = jax.vjp(partial(_plain, strides, padding, groups, images), kernel)
    return _input_gradient(strides, padding, groups, images.shape, kernel, cotangent), of_kernel(
        cotangent
    )[0]


def _input_gradient(
    strides: tuple[int, ...],
    padding: Pairs,
    groups: int,
    shape: tuple[int, ...],
    kernel: Array,
    cotangent: Array,
) -> Array:
    """Convolve the (dilated) cotangent with the flipped kernel, in and out channels swapped."""
    height, width, inputs, outputs = kernel.shape
    grouped = kernel.reshape(height, width, inputs, groups, outputs // groups)
    flipped = jnp.flip(grouped, axis=(0, 1)).transpose(0, 1, 4, 3, 2)
    pads = []
    for size, out, k, stride, (low, _) in zip(
        shape[1:3], cotangent.shape[1:3], kernel.shape[:2], strides, padding, strict=True
    ):
        before = k - 1 - low
        pads.append((before, size + k - 1 - ((out - 1) * stride + 1) - before))
    return lax.conv_general_dilated(
        cotangent,
        flipped.reshape(height, width, outputs // groups, inputs * groups),
        (1, 1),
        pads,
        lhs_dilation=strides,
        dimension_numbers=_LABELS,
        feature_group_count=groups,
    )


_convolve.defvjp(_forward, _backward)
