"""Residual networks (He et al., 2016, "Deep Residual Learning for Image Recognition").

Layers, padding and names are torchvision's, with `layer1.0` spelled `layer1_0` and
`downsample.0`, `downsample.1` spelled `downsample_conv`, `downsample_bn`. The Caffe variant is
the one of `misc/resnet.py` in ruotianluo's captioning repositories, which holds the weights
converted from the original Caffe models.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv.victims.nets.convolution import convolve, max_pool, relu

#: Mean and standard deviation, by colour, of ImageNet pictures in [0, 1]; the networks take
#: `(image - IMAGENET_MEAN) / IMAGENET_STD`.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def conv(features: int, kernel: int, stride: int, name: str, bias: bool = False) -> nn.Conv:
    """Make a convolution padded as PyTorch pads: `kernel // 2` on every side."""
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding=kernel // 2,
        use_bias=bias,
        conv_general_dilated=convolve,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        name=name,
    )


def norm(train: bool, name: str) -> nn.BatchNorm:
    """Make a batch norm of the last axis."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)


class ResidualBlock(nn.Module):
    """One residual block: two 3x3 convolutions, or a 1x1-3x3-1x1 bottleneck.

    `caffe` puts the stride of a bottleneck on its first convolution instead of the 3x3 one. With
    `padded`, a shortcut that changes shape takes every other cell and fills up with zero channels
    on both sides (option A of the paper, as for CIFAR-10), instead of a convolution.
    """

    features: int
    stride: int
    bottleneck: bool
    caffe: bool
    padded: bool = False

    @nn.compact
    def __call__(self, grid: jax.Array, train: bool = False) -> jax.Array:
        """Map a feature grid `[..., h, w, C]` to the block's output grid."""
        layers: tuple[tuple[int, int], ...]  # channels out and kernel size
        if self.bottleneck:
            layers = ((self.features, 1), (self.features, 3), (4 * self.features, 1))
        else:
            layers = ((self.features, 3), (self.features, 3))
        strided = 2 if self.bottleneck and not self.caffe else 1
        out = grid
        for number, (features, kernel) in enumerate(layers, start=1):
            stride = self.stride if number == strided else 1
            out = conv(features, kernel, stride, f"conv{number}")(out)
            out = norm(train, f"bn{number}")(out)
            if number < len(layers):
                out = relu(out)
        if self.stride == 1 and grid.shape[-1] == out.shape[-1]:
            return relu(out + grid)
        if self.padded:
            missing = (out.shape[-1] - grid.shape[-1]) // 2
            grid = grid[..., :: self.stride, :: self.stride, :]
            grid = jnp.pad(grid, [(0, 0)] * (grid.ndim - 1) + [(missing, missing)])
        else:
            grid = conv(out.shape[-1], 1, self.stride, "downsample_conv")(grid)
            grid = norm(train, "downsample_bn")(grid)
        return relu(out + grid)


class ResNet(nn.Module):
    """Residual network up to its last feature grid: no pooling, no classifier.

    Attributes:
        stage_sizes: number of blocks in each stage; channels double from stage to stage.
        bottleneck: bottleneck blocks (four times the channels out) instead of basic ones.
        width: channels of the stem and of the first stage.
        caffe: bottlenecks stride in their first convolution, and the max-pool is unpadded and
            rounds its size up.
        stem: `"imagenet"` is the 7x7 stride-2 convolution and the max-pool; `"small"`, for
            pictures of some 64x64, a 3x3 stride-2 convolution alone; `"cifar"`, for 32x32, the same
            with stride 1.
        padded: shortcuts without weights, as for CIFAR-10.
    """

    stage_sizes: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    caffe: bool = False
    stem: Literal["imagenet", "small", "cifar"] = "imagenet"
    padded: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Feature grid `[..., h, w, C]` of normalised images `[..., H, W, 3]`.

        There may be one batch axis or none. `train` normalises by the batch's statistics and
        updates the running ones (collection `batch_stats`).
        """
        if self.stem not in ("imagenet", "small", "cifar"):
            raise ValueError(f"stem must be 'imagenet', 'small' or 'cifar', not {self.stem!r}")
        imagenet = self.stem == "imagenet"
        stride = 1 if self.stem == "cifar" else 2
        grid = conv(self.width, 7 if imagenet else 3, stride, "conv1")(images)
        grid = relu(norm(train, "bn1")(grid))
        if imagenet:
            # One more row and column at the end is what PyTorch's ceil_mode=True amounts to for
            # a 3x3 window of stride 2: even sizes need it, and odd sizes never reach it.
            pad = (0, 1) if self.caffe else (1, 1)
            grid = max_pool(grid, (3, 3), strides=(2, 2), padding=(pad, pad))
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                grid = ResidualBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    bottleneck=self.bottleneck,
                    caffe=self.caffe,
                    padded=self.padded,
                    name=f"layer{stage + 1}_{index}",
                )(grid, train)
        return grid


def resnet18() -> ResNet:
    """ResNet-18: 512 channels out."""
    return ResNet((2, 2, 2, 2), bottleneck=False)


def resnet34() -> ResNet:
    """ResNet-34: 512 channels out."""
    return ResNet((3, 4, 6, 3), bottleneck=False)


def resnet50(caffe: bool = False) -> ResNet:
    """ResNet-50: 2048 channels out."""
    return ResNet((3, 4, 6, 3), bottleneck=True, caffe=caffe)


def resnet101(caffe: bool = False) -> ResNet:
    """ResNet-101: 2048 channels out."""
    return ResNet((3, 4, 23, 3), bottleneck=True, caffe=caffe)


def resnet152(caffe: bool = False) -> ResNet:
    """ResNet-152: 2048 channels out."""
    return ResNet((3, 8, 36, 3), bottleneck=True, caffe=caffe)


def cifar_resnet(depth: int) -> ResNet:
    """ResNet-20, 32, 44, 56 or 110 of the paper's section 4.2: 64 channels out."""
    blocks = (depth - 2) // 6
    return ResNet((blocks,) * 3, bottleneck=False, width=16, stem="cifar", padded=True)
