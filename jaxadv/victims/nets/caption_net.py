"""A captioner's network: a backbone that sees and a decoder that speaks."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import Captioner
from jaxadv.victims.nets.inference import folding, normalised
from jaxadv.vocabulary import Vocabulary


class CaptionNet(nn.Module):
    """Backbone and decoder in one Linen module, with the backbone's normalisation.

    Attributes:
      backbone: `images -> grid f32[..., h, w, C]`, on normalised images.
      decoder: has `prepare`, `begin`, `advance` and `logits` (`ShowTell`, `Att2in`, ...), and says
        by `placeless` whether it makes no difference to it where a cell is, so that cells that are
        equal may be one.
      mean, std: what the backbone's images are normalised with, a channel each.
      grid: (h, w) of the attention grid, average-pooled to it as torch's `adaptive_avg_pool2d`
        does; None leaves the backbone's own.
    """

    backbone: nn.Module
    decoder: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    grid: tuple[int, int] | None = None

    def see(self, images: Array, **options: Any) -> Array:
        """Turn images f32[..., H, W, 3] in [0, 1] into the grid that the decoder attends to."""
        return self._pool(self._grid(images, **options))

    def _grid(self, images: Array, **options: Any) -> Array:
        """Return the backbone's own grid."""
        seen = normalised(images, self.mean, self.std)
        return jnp.asarray(self.backbone(seen, **options))

    def _pool(self, grid: Array) -> Array:
        return grid if self.grid is None else adaptive_average_pool(grid, self.grid)

    def _pool_repeats(self, grid: Array) -> bool:
        """Whether the pooled grid is the backbone's with every cell some whole number of times."""
        size = grid.shape[-3:-1]
        return all(bins % cells == 0 for bins, cells in zip(self.grid or size, size, strict=True))

    def prepare(self, grid: Array) -> Any:
        """Turn one picture's grid into the decoder's features."""
        return self.decoder.prepare(grid)

    def encode(self, image: Array) -> Any:
        """`Captioner.encode`.

        Pooling 7 x 7 cells "to" 14 x 14 is to repeat each of them four times. Softmax attention
        and means weigh what is repeated alike as if it stood there once, at a quarter of the cost.
        """
        grid = self._grid(image)
        each_once = self.decoder.placeless and self._pool_repeats(grid)
        return self.prepare(grid if each_once else self._pool(grid))

    def begin(self, features: Any) -> Any:
        """`Captioner.begin`."""
        return self.decoder.begin(features)

    def advance(self, features: Any, state: Any, token: Array) -> Any:
        """`Captioner.advance`."""
        return self.decoder.advance(features, state, token)

    def logits(self, state: Any) -> Any:
        """`Captioner.logits`."""
        return self.decoder.logits(state)

    def __call__(self, image: Array) -> Any:
        """Score the first word; touches every parameter, for `init`."""
        return self.logits(self.begin(self.encode(image)))


def adaptive_average_pool(grid: Array, to: tuple[int, int]) -> Array:
    """Pool as torch's `adaptive_avg_pool2d`: bin i of m is `floor(i n/m) : ceil((i+1) n/m)`."""
    for axis, bins in zip((-3, -2), to, strict=True):
        size = grid.shape[axis]
        weights = jnp.zeros((bins, size), grid.dtype)
        for i in range(bins):
            low, high = i * size // bins, -(-(i + 1) * size // bins)
            weights = weights.at[i, low:high].set(1 / (high - low))
        grid = jnp.moveaxis(jnp.tensordot(weights, grid, axes=(1, axis)), 0, axis)
    return grid


def as_captioner(
    net: nn.Module,
    vocabulary: Vocabulary,
    max_length: int,
    image_shape: tuple[int, int, int],
    rngs: dict[str, Array] | None = None,
) -> Captioner:
    """Wrap a network with a captioner's four methods as pure functions over its Flax variables.

    `rngs` feeds the dropout of a decoder in training; one key gives the same mask at every word of
    a caption (Gal and Ghahramani 2016).
    """

    def method(name: str) -> Any:
        def call(params: Any, *args: Any) -> Any:
            with folding():
                return net.apply(params, *args, method=name, rngs=rngs)

        return call

    return Captioner(
        encode=method("encode"),
        begin=method("begin"),
        advance=method("advance"),
        logits=method("logits"),
        vocabulary=vocabulary,
        max_length=max_length,
        image_shape=image_shape,
    )


def initial_variables(net: nn.Module, image_shape: tuple[int, int, int], key: Array) -> Any:
    """Draw random parameters (compiled: far quicker than op by op for a large network)."""
    return jax.jit(net.init)(key, jnp.zeros(image_shape))
