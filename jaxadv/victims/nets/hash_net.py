"""What the hashers' networks share: pooled backbones, and the way to the victims' protocol."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.hashing.hasher import CrossModalHasher, TextReader
from jaxadv.victims.nets.clip import Clip, Siglip
from jaxadv.victims.nets.dcmh import DCMH
from jaxadv.victims.nets.dual_encoder import DualEncoder
from jaxadv.victims.nets.inference import folding, normalised
from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD
from jaxadv.victims.nets.ssah import SSAH


class PooledFeatures(nn.Module):
    """A backbone's last grid, averaged, with its normalisation: the image side of DCMH+ and SSAH+.

    CMLA (Li et al. 2019, section 4.1) builds both "by replacing the vgg-f network with the ResNet50
    network" and says no more; the average over the grid is what a ResNet classifies by.

    Attributes:
      backbone: `images -> grid f32[..., h, w, C]`, on normalised images.
      mean, std: what the backbone's images are normalised with, a channel each.
    """

    backbone: nn.Module
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, images: Array, **options: Any) -> Array:
        """Features f32[..., C] of images f32[..., H, W, 3] in [0, 1]."""
        grid = self.backbone(normalised(images, self.mean, self.std), **options)
        return grid.mean(axis=(-3, -2))


class HiddenLayer(nn.Module):
    """The image side where a data set publishes features, not pictures: one hidden layer.

    The features of a picture are centred and scaled first: histograms of many bins are all small.

    Attributes:
      units: of the layer.
    """

    units: int = 256

    @nn.compact
    def __call__(self, features: Array, **options: Any) -> Array:
        """Hidden f32[..., units] of features f32[..., d]."""
        return nn.relu(nn.Dense(self.units)(nn.LayerNorm()(features)))


HashNet = DCMH | SSAH | DualEncoder


def _method(net: nn.Module, name: str) -> Any:
    """Return a method of a network as a pure function over its Flax variables."""

    def call(params: Any, *example: Any) -> Any:
        with folding():
            return net.apply(params, *example, method=name)

    return call


def as_hasher(
    net: HashNet,
    image_shape: tuple[int, ...],
    tags: tuple[str, ...],
    classes: tuple[str, ...],
) -> CrossModalHasher:
    """Wrap the network as pure functions over its Flax variables."""
    return CrossModalHasher(
        image_code=_method(net, "image_code"),
        text_code=_method(net, "text_code"),
        bits=net.bits,
        image_shape=image_shape,
        tags=tags,
        classes=classes,
        logit_scale=_method(net, "logit_scale") if isinstance(net, DualEncoder) else None,
    )


def as_retriever(
    net: Clip | Siglip, image_shape: tuple[int, int, int], size: int, reader: TextReader
) -> CrossModalHasher:
    """Wrap encoders of pictures and token sequences as pure functions over their variables."""
    return CrossModalHasher(
        image_code=_method(net, "image_embedding"),
        text_code=_method(net, "text_embedding"),
        bits=size,
        image_shape=image_shape,
        tags=(),
        classes=(),
        logit_scale=_method(net, "logit_scale"),
        reader=reader,
    )


def initial_variables(net: HashNet, image_shape: tuple[int, ...], tags: int, key: Array) -> Any:
    """Draw random parameters for pictures of that shape and bags of `tags` words."""
    return jax.jit(net.init)(key, jnp.zeros(image_shape), jnp.zeros(tags))
