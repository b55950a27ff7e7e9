"""CNN-F (Chatfield et al., 2014, "Return of the Devil in the Details"), the image side of hashers.

Layers and names are those of `imagenet-vgg-f.mat`, MatConvNet's conversion of the authors' network.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv.victims.nets.convolution import convolve, max_pool, relu
from jaxadv.victims.nets.response_norm import Response, local_response_norm

#: The mean colour of ImageNet (RGB, 0 to 255) in MatConvNet's own training of this network,
#: `imagenet-matconvnet-vgg-f`.
MEAN_COLOUR = (122.803, 114.885, 101.572)


class Window(NamedTuple):
    """The square windows of a convolution or a pooling.

    Attributes:
      size: of a window, in pixels.
      stride: from one to the next.
      pad: pixels before (above, left) and after (below, right).
    """

    size: int
    stride: int
    pad: tuple[int, int] = (0, 0)

    def count(self, side: int) -> int:
        """Return the number of windows along a side, given its length in pixels."""
        return (side + sum(self.pad) - self.size) // self.stride + 1


# A pixel after the last: Caffe, where the network comes from, rounds the number of windows up.
_POOL = Window(3, 2, (0, 1))


class VggF(nn.Module):
    """CNN-F up to `fc7`, with its own normalisation: `255 * image - mean_image`.

    The mean image is the variable `mean_image` f32[side, side, 3] (RGB, 0 to 255) of the collection
    `constants`, which is not trained; it begins as `MEAN_COLOUR` everywhere.

    For pictures of 64x64: `VggF(side=64, width=8, units=256, stem=Window(5, 2))`.

    Attributes:
      side: of the square pictures, in pixels.
      width: channels of `conv1`; the other convolutions have four times as many.
      units: of `fc6`, which sees all of the last grid (6x6 at a side of 224), and of `fc7`.
      stem: the windows of `conv1`.
      response: of the normalisation after `conv1` and `conv2`.
      classes: of `logits`.
    """

    side: int = 224
    width: int = 64
    units: int = 4096
    stem: Window = Window(11, 4)
    response: Response = Response()
    classes: int = 1000

    @property
    def windows(self) -> dict[str, Window]:
        """The windows of the convolutions and poolings, in order."""
        three = Window(3, 1, (1, 1))
        return {
            "conv1": self.stem,
            "pool1": _POOL,
            "conv2": Window(5, 1, (2, 2)),
            "pool2": _POOL,
            "conv3": three,
            "conv4": three,
            "conv5": three,
            "pool5": _POOL,
        }

    def setup(self) -> None:
        """Declare the layers, named as in the file, and the mean image."""
        grid = self.side
        for window in self.windows.values():
            grid = window.count(grid)
        if grid < 1:
            raise ValueError(
                f"pictures of {self.side} pixels are too small for CNN-F: nothing is left"
            )
        self.mean_image = self.variable("constants", "mean_image", self._mean_colour)
        self.conv1 = self._conv("conv1", self.width)
        self.conv2 = self._conv("conv2", 4 * self.width)
        self.conv3 = self._conv("conv3", 4 * self.width)
        self.conv4 = self._conv("conv4", 4 * self.width)
        self.conv5 = self._conv("conv5", 4 * self.width)
        self.fc6 = nn.Dense(self.units)
        self.fc7 = nn.Dense(self.units)
        self.fc8 = nn.Dense(self.classes)

    def _mean_colour(self) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(MEAN_COLOUR), (self.side, self.side, 3))

    def _conv(self, name: str, features: int) -> nn.Conv:
        window = self.windows[name]
        return nn.Conv(
            features,
            (window.size, window.size),
            (window.stride, window.stride),
            padding=(window.pad, window.pad),
            conv_general_dilated=convolve,
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features `[..., units]` of images `[..., side, side, 3]` in [0, 1].

        There may be one batch axis or none.
        """
        grid = 255 * images - self.mean_image.value
        for conv in (self.conv1, self.conv2):
            grid = _pool(local_response_norm(relu(conv(grid)), self.response))
        for conv in (self.conv3, self.conv4, self.conv5):
            grid = relu(conv(grid))
        grid = _pool(grid)
        flat = grid.reshape(*grid.shape[:-3], -1)
        return relu(self.fc7(relu(self.fc6(flat))))

    def logits(self, images: jax.Array) -> jax.Array:
        """Scores `[..., classes]` of ImageNet's classes."""
        scores: jax.Array = self.fc8(self(images))
        return scores


def _pool(grid: jax.Array) -> jax.Array:
    size, stride = (_POOL.size, _POOL.size), (_POOL.stride, _POOL.stride)
    return max_pool(grid, size, strides=stride, padding=(_POOL.pad, _POOL.pad))
