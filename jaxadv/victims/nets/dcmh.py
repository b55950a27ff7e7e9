"""DCMH (Jiang and Li, CVPR 2017, "Deep Cross-Modal Hashing"): two networks, one code space."""

from typing import Any

import flax.linen as nn
from jax import Array


class DCMH(nn.Module):
    """A linear hash layer on a picture's features, and a hidden layer and one on a bag of words.

    As in the paper (tables 1 and 2) and in the authors' releases (jiangqy/DCMH-CVPR2017, MATLAB and
    TensorFlow): CNN-F with its last layer replaced, and 8,192 ReLU units. Neither code passes
    through a tanh; the bits are their signs.

    Attributes:
      features: `images in [0, 1] -> f32[..., C]`: `VggF`, or `PooledFeatures` for DCMH+.
      bits: K.
      units: of the text's hidden layer.
    """

    features: nn.Module
    bits: int
    units: int = 8192

    def setup(self) -> None:
        """Declare the layers."""
        self.image_hash = nn.Dense(self.bits)
        self.text_hidden = nn.Dense(self.units)
        self.text_hash = nn.Dense(self.bits)

    def image_code(self, images: Array, **options: Any) -> Array:
        """Codes f32[..., K] of images f32[..., H, W, 3] in [0, 1]; options are the features'."""
        code: Array = self.image_hash(self.features(images, **options))
        return code

    def text_code(self, bags: Array) -> Array:
        """Codes f32[..., K] of bags of words f32[..., T]."""
        code: Array = self.text_hash(nn.relu(self.text_hidden(bags)))
        return code

    def __call__(self, image: Array, bag: Array) -> tuple[Array, Array]:
        """Both codes; touches every parameter, for `init`."""
        return self.image_code(image), self.text_code(bag)
