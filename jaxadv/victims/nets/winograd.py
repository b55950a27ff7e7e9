"""3x3 convolutions by Winograd's minimal filtering.

Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section 4.1.

F(2x2, 3x3): 2x2 outputs are `Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A` of a 3x3 kernel w and the 4x4 inputs d
that reach them: 16 products instead of 36. Over channels and tiles these are 16 products of
matrices.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_INPUTS, _OUTPUTS = range(4), range(2)  # of a tile, along each axis


def of_kernel(kernel: Array, precision: str | None) -> tuple[Array, ...]:
    """Return `G w Gᵀ` of f32[3, 3, C, out], row by row; 16 of f32[C, out]."""
    both = jnp.asarray(np.kron(_G, _G), kernel.dtype)
    transformed = jnp.matmul(both, kernel.reshape(9, -1), precision=precision)
    return tuple(transformed.reshape(-1, *kernel.shape[2:]))


def convolve_tiles(
    images: Array,
    kernel: Sequence[Array],
    padding: Sequence[tuple[int, int]],
    precision: str | None,
) -> Array:
    """Convolve f32[N, H, W, C] at stride 1; `kernel` is of `of_kernel`."""
    height, width = (
        size + sum(pads) - 2 for size, pads in zip(images.shape[1:3], padding, strict=True)
    )
    rows, columns = -(-height // 2), -(-width // 2)  # of tiles
    (top, bottom), (left, right) = padding
    below, across = (top, bottom + 2 * rows - height), (left, right + 2 * columns - width)
    padded = jnp.pad(images, ((0, 0), below, across, (0, 0)))
    tiles = [
        [padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for j in _INPUTS]
        for i in _INPUTS
    ]
    inputs = _on_both_axes(_inputs, tiles)
    products = [
        jnp.matmul(some, taps, precision=precision)
        for some, taps in zip(inputs, kernel, strict=True)
    ]
    outputs = _on_both_axes(_outputs, [products[4 * i : 4 * i + 4] for i in _INPUTS])
    parted = [jnp.stack([outputs[2 * i + j] for j in _OUTPUTS], axis=3) for i in _OUTPUTS]
    whole = jnp.stack(parted, axis=2).reshape(len(images), 2 * rows, 2 * columns, -1)
    return whole[:, :height, :width]


def _on_both_axes(
    transform: Callable[..., tuple[Array, ...]], grid: Sequence[Sequence[Array]]
) -> list[Array]:
    """Multiply a grid by a matrix from the left and by its transpose from the right, by rows."""
    columns = [transform(*column) for column in zip(*grid, strict=True)]
    return [value for row in zip(*columns, strict=True) for value in transform(*row)]


def _inputs(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    """Multiply by Bᵀ."""
    return a - c, b + c, c - b, b - d


def _outputs(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    """Multiply by Aᵀ."""
    return a + b + c, b - c - d
