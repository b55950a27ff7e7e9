"""SSAH (Li et al., CVPR 2018, "Self-Supervised Adversarial Hashing Networks").

Three networks map a picture, a bag of words and a label vector to semantic features, and those to a
code and to labels; two discriminators tell the features of pictures and of texts from those of
labels. The authors' release (lelan-li/SSAH, TensorFlow) is followed where the paper is silent, and
differs from the paper in:

- the multi-scale fusion of `TxtNet`: the paper averages over 1, 2, 3, 5 and 10 words, the release
  over 5, 10, 15, 30 and 50 (`TxtNet.windows`);
- the discriminators: hidden layers of 4,096 and 4,096 in the paper, of 512 and 256 in the release
  (`Discriminator.hidden`), which means to share each between its two inputs but does not: its
  `tf.Variable` ignores `reuse`, so that four are trained;
- the paper's last layer of K + c units is two layers there, which is the same.

From the release alone: where the response is normalised, that the weights of the fusion have no
bias, and that averaged bags are stretched as by TensorFlow 1. CMLA attacks a variant of its own,
with batch normalisation in the heads, which is not built here.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.victims.nets.response_norm import Response, local_response_norm

#: `windows` of the authors' release.
RELEASED_WINDOWS = (5, 10, 15, 30, 50)


class Semantics(NamedTuple):
    """What each of the three networks says of an example.

    Attributes:
      features: f32[..., semantic], not negative.
      code: f32[..., K] in [-1, 1].
      labels: f32[..., c] in [0, 1], the labels read back.
    """

    features: Array
    code: Array
    labels: Array


class Sizes(NamedTuple):
    """Sizes that the three networks share.

    Attributes:
      bits: K.
      classes: c.
      semantic: of the semantic features.
      hidden: of the layer before them.
    """

    bits: int
    classes: int
    semantic: int = 512
    hidden: int = 4096


def _hide(sizes: Sizes, values: Array) -> Array:
    """The hidden layer of texts and labels."""
    return local_response_norm(nn.relu(nn.Dense(sizes.hidden, name="hidden")(values)), Response())


def _features(sizes: Sizes, values: Array) -> Array:
    return nn.relu(nn.Dense(sizes.semantic, name="semantic")(values))


def _code(sizes: Sizes, values: Array) -> Array:
    return nn.tanh(nn.Dense(sizes.bits, name="hash")(values))


def _labels(sizes: Sizes, values: Array) -> Array:
    return nn.sigmoid(nn.Dense(sizes.classes, name="label")(values))


class ImgNet(nn.Module):
    """Semantics of a picture's features (of `VggF`, or of `PooledFeatures` for SSAH+)."""

    sizes: Sizes

    @nn.compact
    def __call__(self, seen: Array) -> Semantics:
        """Map features f32[..., C]."""
        features = _features(self.sizes, seen)
        return Semantics(features, _code(self.sizes, features), _labels(self.sizes, features))


class TxtNet(nn.Module):
    """Semantics of a bag of words; its features are normalised before the code and the labels.

    Attributes:
      sizes: of the layers.
      windows: how many words each scale of the fusion averages over.
    """

    sizes: Sizes
    windows: tuple[int, ...]

    @nn.compact
    def __call__(self, bags: Array) -> Semantics:
        """Map bags of words f32[..., T]."""
        scales = [bags]
        for window in self.windows:
            # A negative weight would be dead from the start, since bags are not negative.
            weight = nn.Dense(
                1, use_bias=False, kernel_init=nn.initializers.ones, name=f"scale_{window}"
            )
            block = nn.relu(weight(_average(bags, window)[..., None])[..., 0])
            scales.append(stretch(block, bags.shape[-1]))
        fused = jnp.stack(scales, axis=-1).reshape(*bags.shape[:-1], -1)
        features = _features(self.sizes, _hide(self.sizes, fused))
        normal = local_response_norm(features, Response())
        return Semantics(features, _code(self.sizes, normal), _labels(self.sizes, normal))


class LabNet(nn.Module):
    """Semantics of a label vector, which the other two networks are taught by."""

    sizes: Sizes

    @nn.compact
    def __call__(self, labels: Array) -> Semantics:
        """Map label vectors f32[..., c]."""
        features = _features(self.sizes, _hide(self.sizes, labels))
        return Semantics(features, _code(self.sizes, features), _labels(self.sizes, features))


def _average(bags: Array, window: int) -> Array:
    """Average every `window` words; those of the last, incomplete window are left out."""
    words = bags.shape[-1]
    count = words // window
    if not count:
        raise ValueError(f"a scale of {window} words is too wide for a bag of {words}")
    return bags[..., : count * window].reshape(*bags.shape[:-1], count, window).mean(axis=-1)


def stretch(values: Array, length: int) -> Array:
    """Stretch f32[..., n] to f32[..., length] linearly, as `tf.image.resize_images` of TF 1.

    Place i of the result is place `i * n / length` of the values, without the half pixel of later
    versions; places behind the last value repeat it.
    """
    last = values.shape[-1] - 1
    places = np.arange(length) * (values.shape[-1] / length)
    low = places.astype(int)
    share = jnp.asarray(places - low, values.dtype)
    high = np.minimum(low + 1, last)
    return values[..., low] * (1 - share) + values[..., high] * share


class SSAH(nn.Module):
    """The three networks; a victim needs those of pictures and texts, its training all.

    Attributes:
      features: `images in [0, 1] -> f32[..., C]`: `VggF`, or `PooledFeatures` for SSAH+.
      bits: K.
      classes: c.
      semantic: of the semantic features.
      hidden: of the layer before them, for texts and labels.
      windows: of `TxtNet`.
    """

    features: nn.Module
    bits: int
    classes: int
    semantic: int = 512
    hidden: int = 4096
    windows: tuple[int, ...] = (1, 2, 3, 5, 10)

    def setup(self) -> None:
        """Declare the networks."""
        sizes = Sizes(self.bits, self.classes, self.semantic, self.hidden)
        self.image = ImgNet(sizes)
        self.text = TxtNet(sizes, self.windows)
        self.label = LabNet(sizes)

    def image_semantics(self, images: Array, **options: Any) -> Semantics:
        """Semantics of images f32[..., H, W, 3] in [0, 1]; options are the features'."""
        return self.image(self.features(images, **options))

    def text_semantics(self, bags: Array) -> Semantics:
        """Semantics of bags of words f32[..., T]."""
        return self.text(bags)

    def label_semantics(self, labels: Array) -> Semantics:
        """Semantics of label vectors f32[..., c]."""
        return self.label(labels)

    def image_code(self, images: Array, **options: Any) -> Array:
        """Codes f32[..., K] of images f32[..., H, W, 3] in [0, 1]; options are the features'."""
        return self.image_semantics(images, **options).code

    def text_code(self, bags: Array) -> Array:
        """Codes f32[..., K] of bags of words f32[..., T]."""
        return self.text_semantics(bags).code

    def __call__(self, image: Array, bag: Array) -> tuple[Array, Array]:
        """Both codes; touches every parameter, for `init`."""
        self.label(jnp.zeros(self.classes))
        return self.image_code(image), self.text_code(bag)


class Discriminator(nn.Module):
    """Tells semantic features of labels from those of pictures, or of texts.

    Attributes:
      hidden: units of the hidden layers.
    """

    hidden: tuple[int, ...] = (4096, 4096)

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Scores f32[...] of features f32[..., semantic], trained to 1 for those of labels."""
        for number, units in enumerate(self.hidden, start=1):
            features = nn.relu(nn.Dense(units, name=f"fc{number}")(features))
        score: Array = nn.Dense(1, name="out")(features)
        return score[..., 0]
