"""MobileNetV2 1.0 224 (Sandler et al., 2018, "MobileNetV2: Inverted Residuals").

TensorFlow's network as published for inference: batch norm folded into the convolutions, `SAME`
padding, 1,001 classes of which 0 is background. The weights are an npz file with `NN.weight`
(OIHW), `NN.bias` and `NN.meta` (stride, groups, clip low, clip high) for the 53 layers in order.

torchvision's network has the same layers, with their batch norms, padded by `kernel // 2` on every
side.
"""

from os import PathLike
from typing import Any, NamedTuple
from zipfile import BadZipFile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.errors import InputError
from jaxadv.victims.nets.convolution import convolve

#: The network takes `(image - MEAN) / STD` for images in [0, 1], which is
#: `(255 * image - 128) / 128`.
MEAN = (128 / 255, 128 / 255, 128 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)

# Table 2 of the paper: expansion, channels out, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Layer(NamedTuple):
    """One convolution; `bounded` says that a ReLU6 follows."""

    inputs: int
    features: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bounded: bool = True

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel in Flax's layout, HWIO."""
        return self.kernel, self.kernel, self.inputs // self.groups, self.features


def _layers() -> tuple[Layer, ...]:
    layers = [Layer(3, 32, kernel=3, stride=2)]
    channels = 32
    for expansion, features, blocks, first_stride in _STAGES:
        for block in range(blocks):
            wide = expansion * channels
            if expansion > 1:
                layers.append(Layer(channels, wide))
            stride = first_stride if block == 0 else 1
            layers.append(Layer(wide, wide, kernel=3, stride=stride, groups=wide))
            layers.append(Layer(wide, features, bounded=False))
            channels = features
    return (*layers, Layer(channels, 1280), Layer(1280, 1001, bounded=False))


#: All 53 layers in order; the last is the classifier.
LAYERS = _layers()


class MobileNetV2(nn.Module):
    """MobileNetV2 with its 53 convolutions named `conv_00` to `conv_52`.

    Initialise with `method="logits"` to get the classifier (`conv_52`) too.

    Attributes:
        torchvision: its padding, and batch norms `norm_00` to `norm_51` behind convolutions without
            biases.
    """

    torchvision: bool = False

    def setup(self) -> None:
        """Make the convolutions."""
        for index, layer in enumerate(LAYERS):
            conv = nn.Conv(
                layer.features,
                (layer.kernel, layer.kernel),
                (layer.stride, layer.stride),
                padding=layer.kernel // 2 if self.torchvision else "SAME",
                use_bias=not self.torchvision,
                feature_group_count=layer.groups,
                conv_general_dilated=convolve,
            )
            setattr(self, f"conv_{index:02d}", conv)
            if self.torchvision:
                norm = nn.BatchNorm(epsilon=1e-5, momentum=0.9)
                setattr(self, f"norm_{index:02d}", norm)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Feature grid of normalised images: `[..., 224, 224, 3]` gives `[..., 7, 7, 1280]`.

        There may be one batch axis or none; with `train` batch norms, if there are, look at it.
        """
        grid = images
        shortcut = None  # the last projection, which is where a block begins
        for index, layer in enumerate(LAYERS[:-1]):
            grid = getattr(self, f"conv_{index:02d}")(grid)
            if self.torchvision:
                norm = getattr(self, f"norm_{index:02d}")
                grid = norm(grid, use_running_average=not train)
            if layer.bounded:
                grid = nn.relu6(grid)
            else:
                if shortcut is not None and shortcut.shape == grid.shape:
                    grid = grid + shortcut
                shortcut = grid
        return grid

    def logits(self, images: jax.Array) -> jax.Array:
        """Scores `[..., 1001]` of the classes: class n of ImageNet's 1,000 is n + 1 here."""
        pooled = self(images).mean(axis=(-3, -2), keepdims=True)
        scores: jax.Array = self.conv_52(pooled)
        return scores[..., 0, 0, :]


def load_mobilenet_v2(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the weights as variables for `MobileNetV2`.

    Raises:
        InputError: the file cannot be read, lacks entries, has others, or has some of another shape
            or with another stride or number of groups; the message names every one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            entries = dict(archive)
    except (OSError, ValueError, TypeError, BadZipFile) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(f"{path}: not MobileNetV2's weights, an .npz file ({reason})") from None
    expected: dict[str, tuple[int, ...]] = {}
    for index, layer in enumerate(LAYERS):
        height, width, inputs, features = layer.kernel_shape
        expected[f"{index:02d}.weight"] = (features, inputs, height, width)
        expected[f"{index:02d}.bias"] = (features,)
        expected[f"{index:02d}.meta"] = (4,)
    problems = [f"{name} is missing" for name in expected if name not in entries]
    problems += [f"{name} is unknown" for name in entries if name not in expected]
    problems += [
        f"{name} has shape {entries[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in entries and entries[name].shape != shape
    ]
    for index, layer in enumerate(LAYERS):
        name, wanted = f"{index:02d}.meta", (layer.stride, layer.groups)
        if name in entries and entries[name].shape == (4,):
            found = tuple(entries[name][:2].tolist())
            if found != wanted:
                problems.append(f"{name} has stride and groups {found}, not {wanted}")
    if problems:
        raise InputError(f"{path} is not MobileNetV2 1.0 224: {'; '.join(problems)}")
    params = {
        f"conv_{index:02d}": {
            "kernel": jnp.asarray(entries[f"{index:02d}.weight"].transpose(2, 3, 1, 0)),
            "bias": jnp.asarray(entries[f"{index:02d}.bias"]),
        }
        for index in range(len(LAYERS))
    }
    return {"params": params}
