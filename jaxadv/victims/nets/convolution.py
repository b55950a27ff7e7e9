"""Convolutions, ReLUs and max-pools in the forms that are fast where attacks run, for all networks.

An attack differentiates with respect to the picture, in a loop, and never to the weights. What is
written here is what XLA makes slow of the plain `lax` operations then, above all on a CPU
(`jaxadv bench` shows each):

- JAX transposes a convolution by relabelling the kernel's axes. XLA's CPU compiler rewrites such
  labels into the form that its fast kernels need only outside loops (jax-ml/jax#12868). Here the
  flipped kernel is written out, once before the loop, which costs nothing elsewhere.
- A 1x1 convolution is a product of matrices. On a CPU so are 3x3 ones of many channels, by
  Winograd's minimal filtering (`winograd`), with 16 products where there were 36.
- The input gradient of a strided convolution goes over a cotangent that is mostly zeros. On a CPU
  it is taken phase by phase instead, one small dense convolution for each remainder of the stride.
- For depthwise convolutions that compiler has no fast kernel at all. Written as a sum of shifted
  pictures, one a tap, they are 15 to 75 times as fast there, forwards and backwards.
- A max-pool is the larger of shifted grids: its gradient scatters nothing.
- A ReLU is a choice, not a maximum. That compiler computes a maximum again wherever it is read, and
  with it the sum that it is taken of: the shortcuts of a residual network then begin at the first
  block each, and ResNet-101 reads up to 98 arrays to write one.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxadv.victims.nets.winograd import convolve_tiles, of_kernel

_LABELS = ("NHWC", "HWIO", "NHWC")
_FEW = 16  # channels, which vector units multiply at once
_WIDE = 128  # channels, from which products of matrices outweigh what is done around them
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
    # the reverse pass is traced where the context that names a precision may have been left
    options = _Options(tuple(strides), pairs, feature_group_count, _precision())
    return _dense(options, images, kernel)


class _Options(NamedTuple):
    """What is fixed of a convolution."""

    strides: tuple[int, ...]
    padding: Pairs
    groups: int = 1
    precision: str | None = None


def _precision() -> str | None:
    """Return the precision of products that JAX's context names."""
    named: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return named


def _dense(options: _Options, images: Array, kernel: Array) -> Array:
    if kernel.shape[:2] == (1, 1) and options.groups == 1 and not np.any(options.padding):
        rows, columns = options.strides
        return jnp.matmul(images[:, ::rows, ::columns], kernel[0, 0], precision=options.precision)
    return _convolve(options, images, kernel)


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


def _plain(options: _Options, images: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        options.strides,
        options.padding,
        dimension_numbers=_LABELS,
        feature_group_count=options.groups,
        precision=options.precision,
    )


def _fastest(options: _Options, images: Array, kernel: Array) -> Array:
    """Convolve in the form that suits the platform."""
    plain = partial(_plain, options)
    if not _suits_tiles(options, images, kernel):
        return plain(images, kernel)

    in_tiles = partial(_in_tiles, options)
    return jnp.asarray(lax.platform_dependent(images, kernel, cpu=in_tiles, default=plain))


@partial(jax.jit, static_argnums=0)  # so that layers of one shape are traced once
def _in_tiles(options: _Options, images: Array, kernel: Array) -> Array:
    transformed = lax.optimization_barrier(of_kernel(kernel, options.precision))  # once
    return convolve_tiles(images, transformed, options.padding, options.precision)


def _suits_tiles(options: _Options, images: Array, kernel: Array) -> bool:
    """Return whether Winograd's form is faster on a CPU, and precise enough."""
    return (
        kernel.shape[:2] == (3, 3)
        and options.strides == (1, 1)
        and options.groups == 1
        and min(map(min, options.padding)) >= 0
        and min(kernel.shape[2:]) >= _WIDE
        and images.dtype != jnp.bfloat16
    )


_convolve = jax.custom_vjp(_fastest, nondiff_argnums=(0,))


def _forward(options: _Options, images: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _fastest(options, images, kernel), (images, kernel)


def _backward(
    options: _Options, saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    images, kernel = saved
    # a kernel gradient that nobody asks for is dead code to the compiler
    _, of_kernel = jax.vjp(partial(_plain, options, images), kernel)
    return _input_gradient(options, images.shape, kernel, cotangent), of_kernel(cotangent)[0]


def _input_gradient(
    options: _Options, shape: tuple[int, ...], kernel: Array, cotangent: Array
) -> Array:
    """Transpose the convolution, in the form that suits the platform."""
    strides = options.strides
    dilated = partial(_dilated, options, shape)
    if options.groups > 1 or any(map(operator.lt, kernel.shape, strides)):
        return dilated(kernel, cotangent)
    in_phases = partial(_in_phases, options, shape)
    if max(strides) == 1:  # one phase, which is what the dilated form does, too
        return in_phases(kernel, cotangent)
    return jnp.asarray(lax.platform_dependent(kernel, cotangent, cpu=in_phases, default=dilated))


def _ready(kernel: Array) -> Array:
    """Return a kernel as it is, written out before the loop that it is used in.

    XLA takes an array that is only rearranged out of no loop, unless something holds it.
    """
    return jnp.asarray(lax.optimization_barrier(kernel))


def _dilated(options: _Options, shape: tuple[int, ...], kernel: Array, cotangent: Array) -> Array:
    """Convolve the dilated cotangent with the flipped kernel, in and out channels swapped."""
    strides, padding, groups, precision = options
    height, width, inputs, outputs = kernel.shape
    grouped = kernel.reshape(height, width, inputs, groups, outputs // groups)
    flipped = _ready(jnp.flip(grouped, axis=(0, 1)).transpose(0, 1, 4, 3, 2))
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
        precision=precision,
    )


class _Phase(NamedTuple):
    """The pixels `offset + stride * p` along one axis, as a dense convolution of the cotangent.

    Attributes:
      first: the first tap that reaches them; the others follow at the stride.
      pads: of the cotangent, for the flipped taps.
    """

    first: int
    pads: tuple[int, int]


def _phase(offset: int, taps: int, stride: int, low: int, cells: int, out: int) -> _Phase:
    """Lay out one phase of `cells` pixels of an axis: `y[i] = sum_t x[stride i + t - low] w[t]`.

    Tap t reaches pixel m where `m + low - t` is a multiple of the stride; with `t = first + stride
    u` it brings `w[t] y[p + shift - u]` to pixel `offset + stride p`.
    """
    first = (offset + low) % stride
    shift = (offset + low - first) // stride
    last = -(-(taps - first) // stride) - 1
    return _Phase(first, (last - shift, cells - 1 + shift - (out - 1)))


def _in_phases(options: _Options, shape: tuple[int, ...], kernel: Array, cotangent: Array) -> Array:
    """Take the input gradient phase by phase and interleave; no kernel smaller than its stride."""
    strides, padding, _, precision = options
    cells = [-(-size // stride) for size, stride in zip(shape[1:3], strides, strict=True)]
    rows, columns = (
        [
            _phase(offset, kernel.shape[axis], strides[axis], padding[axis][0], cells[axis], out)
            for offset in range(strides[axis])
        ]
        for axis, out in enumerate(cotangent.shape[1:3])
    )
    of = partial(_taps_of, strides, kernel)
    dense = partial(_unstrided, precision, cotangent)
    if shape[3] * len(rows) * len(columns) <= _FEW:
        phases = _together(of, dense, rows, columns)
    else:
        every = [[dense(of(r, c), (r.pads, c.pads)) for c in columns] for r in rows]
        phases = jnp.stack([jnp.stack(row, axis=3) for row in every], axis=2)
    whole = (shape[0], cells[0] * strides[0], cells[1] * strides[1], shape[3])
    return phases.reshape(whole)[:, : shape[1], : shape[2]]


def _taps_of(strides: tuple[int, ...], kernel: Array, row: _Phase, column: _Phase) -> Array:
    """Return the taps of one phase, flipped, in and out channels swapped."""
    taps = kernel[row.first :: strides[0], column.first :: strides[1]]
    return jnp.flip(taps, axis=(0, 1)).transpose(0, 1, 3, 2)


def _unstrided(precision: str | None, images: Array, kernel: Array, padding: Pairs) -> Array:
    return _dense(_Options((1, 1), padding, precision=precision), images, _ready(kernel))


def _together(
    of: Callable[[_Phase, _Phase], Array],
    dense: Callable[[Array, Pairs], Array],
    rows: Sequence[_Phase],
    columns: Sequence[_Phase],
) -> Array:
    """Take all phases in one convolution, as its channels; f32[N, h, strides, w, strides, C].

    The kernels are brought to one size by zeros: a few products more, where a convolution to three
    channels would leave most of the processor idle.
    """
    height, width = (
        (max(phase.pads[0] for phase in phases), max(phase.pads[1] for phase in phases))
        for phases in (rows, columns)
    )

    def padded(row: _Phase, column: _Phase) -> Array:
        missing = [
            (most[0] - phase.pads[0], most[1] - phase.pads[1])
            for most, phase in ((height, row), (width, column))
        ]
        return jnp.pad(of(row, column), (*missing, (0, 0), (0, 0)))

    kernels = [padded(row, column) for row in rows for column in columns]
    merged = dense(jnp.concatenate(kernels, axis=3), (height, width))
    n, h, w, _ = merged.shape
    parted = merged.reshape(n, h, w, len(rows), len(columns), -1)
    return parted.transpose(0, 1, 3, 2, 4, 5)


_convolve.defvjp(_forward, _backward)


def max_pool(
    grid: Array, window: tuple[int, int], strides: tuple[int, int], padding: Pairs = ((0, 0),) * 2
) -> Array:
    """`nn.max_pool` of f32[..., h, w, C], and its gradient: of equals the first has all of it."""
    whole = (0, 0)
    padded = jnp.pad(grid, [whole] * (grid.ndim - 3) + [*padding, whole], constant_values=-jnp.inf)
    for axis, size, stride in zip((-2, -3), window[::-1], strides[::-1], strict=True):
        reach = padded.shape[axis] - size + 1
        best, *others = (
            lax.slice_in_dim(padded, tap, tap + reach, stride, axis=axis) for tap in range(size)
        )
        for other in others:
            best = jnp.where(best >= other, best, other)
        padded = best
    return padded


@jax.custom_vjp
def relu(grid: Array) -> Array:
    """`nn.relu` and its gradient, which is 0 at 0; what is not a number stays so."""
    return jnp.where(grid <= 0, 0, grid)


def _relu_forward(grid: Array) -> tuple[Array, Array]:
    out = relu(grid)
    return out, out


def _relu_backward(out: Array, cotangent: Array) -> tuple[Array]:
    return (jnp.where(out > 0, cotangent, 0),)


relu.defvjp(_relu_forward, _relu_backward)
