"""A tagger's network: a backbone, and a linear map of its mean feature or another head."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.victims.nets.inference import folding, normalised


class ClassifierNet(nn.Module):
    """Backbone and head, with the backbone's normalisation.

    Attributes:
      backbone: `images -> grid f32[..., h, w, C]`, on normalised images.
      classes: c.
      mean, std: what the backbone's images are normalised with, a channel each.
      head: `grid -> logits`; None is global average pooling and the linear map `fc`.
    """

    backbone: nn.Module
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    head: nn.Module | None = None

    def setup(self) -> None:
        """Declare the head."""
        if self.head is None:
            self.fc = nn.Dense(self.classes)

    def see(self, images: Array, **options: Any) -> Array:
        """Features of images f32[..., H, W, 3] in [0, 1], as the head takes them.

        The grid f32[..., h, w, C], or for the linear map its mean f32[..., C].
        """
        grid = self.backbone(normalised(images, self.mean, self.std), **options)
        return jnp.asarray(grid if self.head is not None else grid.mean(axis=(-3, -2)))

    def read(self, features: Array) -> Array:
        """Logits f32[..., c] of features."""
        head = self.fc if self.head is None else self.head
        return jnp.asarray(head(features))

    def __call__(self, images: Array, **options: Any) -> Array:
        """Logits f32[..., c] of images; options are the backbone's."""
        return self.read(self.see(images, **options))


def as_classifier(
    net: nn.Module, classes: tuple[str, ...], image_shape: tuple[int, int, int]
) -> MultiLabelClassifier:
    """Wrap the network as a pure function over its Flax variables."""

    def logits(params: Any, image: Array) -> Array:
        with folding():
            return jnp.asarray(net.apply(params, image))

    return MultiLabelClassifier(logits, classes, image_shape)
