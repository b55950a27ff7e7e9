"""TResNets (Ridnik et al., 2020, "TResNet: High Performance GPU-Dedicated Architecture").

The backbones of ASL's taggers (Ben-Baruch et al., 2020, "Asymmetric Loss For Multi-Label
Classification") and of ML-Decoder's, after Alibaba-MIIL's released definitions. Names are those of
`resnet`, and `se` for squeeze and excitation.

An "InPlaceABN" is a batch norm with the activation behind it; how it is computed in place is left
to XLA. Its weights are stored before `|weight| + 1e-5`: readers of such files apply that.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv.victims.nets.convolution import relu
from jaxadv.victims.nets.resnet import conv, norm
from jaxadv.victims.nets.vit import patches

#: Pictures in [0, 1] are taken as they are.
MEAN = (0.0, 0.0, 0.0)
STD = (1.0, 1.0, 1.0)

SLOPE = 1e-3  # of the leaky ReLUs of the blocks
STEM_SLOPE = 1e-2  # of that of the stem, as released
CUT = 4  # side of the squares of pixels whose colours the stem takes for channels (section 3.1)
LEAST_SQUEEZED = 64  # channels between the linear maps of squeeze and excitation


def blurred(grid: jax.Array) -> jax.Array:
    """Halve a grid f32[..., h, w, C] behind a blur of weights 1, 2, 1 (Zhang, 2019), mirrored.

    >>> import jax.numpy as jnp
    >>> blurred(jnp.arange(4.0).reshape(1, 4, 1) * jnp.ones((4, 4, 1)))[..., 0].tolist()
    [[0.5, 2.0], [0.5, 2.0]]
    """
    for axis in (-3, -2):
        pads = [(0, 0)] * grid.ndim
        pads[axis] = (1, 1)
        padded = jnp.pad(grid, pads, mode="reflect")
        end = padded.shape[axis]
        before, here, after = (
            jax.lax.slice_in_dim(padded, tap, end - 2 + tap, 2, axis) for tap in range(3)
        )
        grid = (before + 2 * here + after) / 4
    return grid


def halved(grid: jax.Array) -> jax.Array:
    """Average squares of two by two cells of f32[..., h, w, C]; at an odd end, those there are.

    >>> import jax.numpy as jnp
    >>> halved(jnp.arange(9.0).reshape(3, 3, 1))[..., 0].tolist()
    [[2.0, 3.5], [6.5, 8.0]]
    """
    *batch, height, width, channels = grid.shape
    pads = [(0, 0)] * len(batch) + [(0, height % 2), (0, width % 2), (0, 0)]
    even = jnp.pad(grid, pads, mode="edge")  # the mean of a value and its double is the value
    shape = (*batch, -(-height // 2), 2, -(-width // 2), 2, channels)
    return even.reshape(shape).mean(axis=(-4, -2))


class SqueezeExcite(nn.Module):
    """Weights for the channels, made of their means (Hu et al., 2018).

    Attributes:
      squeezed: channels between the two linear maps.
    """

    squeezed: int

    @nn.compact
    def __call__(self, grid: jax.Array) -> jax.Array:
        """Weight a grid f32[..., h, w, C]."""
        means = grid.mean(axis=(-3, -2), keepdims=True)
        inner = relu(conv(self.squeezed, 1, 1, "fc1", bias=True)(means))
        return grid * nn.sigmoid(conv(grid.shape[-1], 1, 1, "fc2", bias=True)(inner))


class TResidualBlock(nn.Module):
    """One residual block: two 3x3 convolutions, or a 1x1-3x3-1x1 bottleneck (section 3.3).

    Attributes:
      features: channels; a bottleneck gives four times as many.
      halves: the grid, by the first 3x3 convolution's blur.
      bottleneck: the second kind.
      excited: squeeze and excitation behind the last 3x3 convolution.
    """

    features: int
    halves: bool
    bottleneck: bool
    excited: bool

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a feature grid `[..., h, w, C]` to the block's output grid."""

        def normed(out: jax.Array, features: int, kernel: int, number: int) -> jax.Array:
            convolved = conv(features, kernel, 1, f"conv{number}")(out)
            return jnp.asarray(norm(train, f"bn{number}")(convolved))

        out = grid
        if self.bottleneck:
            out = nn.leaky_relu(normed(out, self.features, 1, 1), SLOPE)
        out = nn.leaky_relu(normed(out, self.features, 3, 2 if self.bottleneck else 1), SLOPE)
        if self.halves:
            out = blurred(out)
        if not self.bottleneck:
            out = normed(out, self.features, 3, 2)
        if self.excited:
            part = self.features // (2 if self.bottleneck else 4)
            out = SqueezeExcite(max(part, LEAST_SQUEEZED), name="se")(out)
        if self.bottleneck:
            out = normed(out, 4 * self.features, 1, 3)
        if self.halves or grid.shape[-1] != out.shape[-1]:
            seen = halved(grid) if self.halves else grid
            grid = norm(train, "downsample_bn")(conv(out.shape[-1], 1, 1, "downsample_conv")(seen))
        return relu(out + grid)


class TResNet(nn.Module):
    """TResNet up to its last feature grid: no pooling, no classifier.

    Attributes:
      stage_sizes: blocks of the four stages; channels double from stage to stage.
      width: channels of the stem and of the first stage.
      second: the released second version, of bottlenecks in the first two stages, too.
    """

    stage_sizes: tuple[int, int, int, int]
    width: int = 64
    second: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Feature grid `[..., h, w, C]` of images `[..., H, W, 3]`, sides multiples of 4.

        There may be one batch axis or none. `train` normalises by the batch's statistics and
        updates the running ones (collection `batch_stats`).
        """
        grid = conv(self.width, 3, 1, "conv1")(patches(images, CUT))
        grid = nn.leaky_relu(norm(train, "bn1")(grid), STEM_SLOPE)
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                grid = TResidualBlock(
                    features=self.width * 2**stage,
                    halves=stage > 0 and index == 0,
                    bottleneck=self.second or stage >= 2,
                    excited=stage < 3,
                    name=f"layer{stage + 1}_{index}",
                )(grid, train)
        return grid


def tresnet_m() -> TResNet:
    """TResNet-M: 2048 channels out."""
    return TResNet((3, 4, 11, 3))


def tresnet_l() -> TResNet:
    """TResNet-L, 1.2 times as wide: 2432 channels out."""
    return TResNet((4, 5, 18, 3), width=76)


def tresnet_l_v2() -> TResNet:
    """TResNet-L in its second version, ML-Decoder's: 2048 channels out."""
    return TResNet((3, 4, 23, 3), second=True)
