"""Inception-v3 (Szegedy et al., 2016, "Rethinking the Inception Architecture").

Layers, padding and names are torchvision's, without its auxiliary head and its classifier. Slim's
Inception-v3 is the same, but for what the border counts in an average pool.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv.victims.nets.convolution import convolve, max_pool, relu


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU: torchvision's `BasicConv2d`."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    # Kernels are odd, so at stride 1 "SAME" is PyTorch's symmetric padding.
    padding: Literal["SAME", "VALID"] = "SAME"

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid `[..., h, w, C]` to `[..., h', w', features]`."""
        conv = nn.Conv(
            self.features,
            self.kernel,
            (self.stride, self.stride),
            self.padding,
            use_bias=False,
            conv_general_dilated=convolve,
            name="conv",
        )
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3, name="bn")
        return relu(norm(conv(grid)))


def _max_pool(grid: jax.Array) -> jax.Array:
    return max_pool(grid, (3, 3), (2, 2))


def _avg_pool(grid: jax.Array, count_border: bool) -> jax.Array:
    """3x3 mean at stride 1, of the zeros around the grid, too, where they count."""
    return nn.avg_pool(grid, (3, 3), padding="SAME", count_include_pad=count_border)


class InceptionA(nn.Module):
    """Mixed block of the 35x35 grid: 1x1, 5x5, two 3x3, and average pool."""

    pool_features: int
    count_border: bool

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid to one of the same size."""
        one = ConvNorm(64, name="branch1x1")(grid, train)
        five = ConvNorm(48, name="branch5x5_1")(grid, train)
        five = ConvNorm(64, (5, 5), name="branch5x5_2")(five, train)
        double = ConvNorm(64, name="branch3x3dbl_1")(grid, train)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double, train)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_3")(double, train)
        pooled = _avg_pool(grid, self.count_border)
        pool = ConvNorm(self.pool_features, name="branch_pool")(pooled, train)
        return jnp.concatenate([one, five, double, pool], axis=-1)


class InceptionB(nn.Module):
    """Reduction from the 35x35 grid to 17x17."""

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid to one of about half the size."""
        three = ConvNorm(384, (3, 3), 2, "VALID", name="branch3x3")(grid, train)
        double = ConvNorm(64, name="branch3x3dbl_1")(grid, train)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double, train)
        double = ConvNorm(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double, train)
        return jnp.concatenate([three, double, _max_pool(grid)], axis=-1)


class InceptionC(nn.Module):
    """Mixed block of the 17x17 grid: 7x7 convolutions factored into 1x7 and 7x1."""

    features: int
    count_border: bool

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid to one of the same size."""
        one = ConvNorm(192, name="branch1x1")(grid, train)
        seven = ConvNorm(self.features, name="branch7x7_1")(grid, train)
        seven = ConvNorm(self.features, (1, 7), name="branch7x7_2")(seven, train)
        seven = ConvNorm(192, (7, 1), name="branch7x7_3")(seven, train)
        double = ConvNorm(self.features, name="branch7x7dbl_1")(grid, train)
        double = ConvNorm(self.features, (7, 1), name="branch7x7dbl_2")(double, train)
        double = ConvNorm(self.features, (1, 7), name="branch7x7dbl_3")(double, train)
        double = ConvNorm(self.features, (7, 1), name="branch7x7dbl_4")(double, train)
        double = ConvNorm(192, (1, 7), name="branch7x7dbl_5")(double, train)
        pool = ConvNorm(192, name="branch_pool")(_avg_pool(grid, self.count_border), train)
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class InceptionD(nn.Module):
    """Reduction from the 17x17 grid to 8x8."""

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid to one of about half the size."""
        three = ConvNorm(192, name="branch3x3_1")(grid, train)
        three = ConvNorm(320, (3, 3), 2, "VALID", name="branch3x3_2")(three, train)
        seven = ConvNorm(192, name="branch7x7x3_1")(grid, train)
        seven = ConvNorm(192, (1, 7), name="branch7x7x3_2")(seven, train)
        seven = ConvNorm(192, (7, 1), name="branch7x7x3_3")(seven, train)
        seven = ConvNorm(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(seven, train)
        return jnp.concatenate([three, seven, _max_pool(grid)], axis=-1)


class InceptionE(nn.Module):
    """Mixed block of the 8x8 grid: 3x3 convolutions widened into 1x3 and 3x1."""

    count_border: bool

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a grid to one of the same size."""
        one = ConvNorm(320, name="branch1x1")(grid, train)
        three = ConvNorm(384, name="branch3x3_1")(grid, train)
        three_a = ConvNorm(384, (1, 3), name="branch3x3_2a")(three, train)
        three_b = ConvNorm(384, (3, 1), name="branch3x3_2b")(three, train)
        double = ConvNorm(448, name="branch3x3dbl_1")(grid, train)
        double = ConvNorm(384, (3, 3), name="branch3x3dbl_2")(double, train)
        double_a = ConvNorm(384, (1, 3), name="branch3x3dbl_3a")(double, train)
        double_b = ConvNorm(384, (3, 1), name="branch3x3dbl_3b")(double, train)
        pool = ConvNorm(192, name="branch_pool")(_avg_pool(grid, self.count_border), train)
        return jnp.concatenate([one, three_a, three_b, double_a, double_b, pool], axis=-1)


class InceptionV3(nn.Module):
    """Inception-v3 up to its last feature grid, `Mixed_7c`: no pooling, no classifier.

    Attributes:
      count_border: whether the zeros around a grid count in its average pools: they do in
        torchvision's `F.avg_pool2d`, they do not in slim's `avg_pool2d`.
    """

    count_border: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Feature grid of normalised images: `[..., 299, 299, 3]` gives `[..., 8, 8, 2048]`.

        There may be one batch axis or none. `train` normalises by the batch's statistics and
        updates the running ones (collection `batch_stats`).
        """
        grid = ConvNorm(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(images, train)
        grid = ConvNorm(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(grid, train)
        grid = ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(grid, train)
        grid = _max_pool(grid)
        grid = ConvNorm(80, name="Conv2d_3b_1x1")(grid, train)
        grid = ConvNorm(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(grid, train)
        grid = _max_pool(grid)
        border = self.count_border
        for block in (
            InceptionA(32, border, name="Mixed_5b"),
            InceptionA(64, border, name="Mixed_5c"),
            InceptionA(64, border, name="Mixed_5d"),
            InceptionB(name="Mixed_6a"),
            InceptionC(128, border, name="Mixed_6b"),
            InceptionC(160, border, name="Mixed_6c"),
            InceptionC(160, border, name="Mixed_6d"),
            InceptionC(192, border, name="Mixed_6e"),
            InceptionD(name="Mixed_7a"),
            InceptionE(border, name="Mixed_7b"),
            InceptionE(border, name="Mixed_7c"),
        ):
            grid = block(grid, train)
        return grid
