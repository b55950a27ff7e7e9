"""Vision Transformer (Dosovitskiy et al. 2021, section 3.1, whose equations are numbered)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.errors import InputError

EPSILON = 1e-6  # of the layer norms, as released


class ViT(nn.Module):
    """Vision Transformer up to its last patches: a grid, no classifier.

    Attributes:
      patch: side of a patch, in pixels; the image's sides must be multiples of it.
      width: channels of a token (D).
      layers: blocks (L).
      heads: of each self-attention.
      token: give the class token in place of the patches, a grid of one cell: what the classifiers
        of the paper read.
    """

    patch: int
    width: int
    layers: int
    heads: int
    token: bool = False

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Feature grid `[..., h, w, D]` of normalised images `[..., H, W, 3]`.

        There may be any number of batch axes. `train` changes nothing: no batch norm, no dropout.
        The positions that are learned are those of one image size.
        """
        cut = patches(images, self.patch)
        *batch, height, width, _ = cut.shape
        tokens = nn.Dense(self.width, name="embed")(cut)
        tokens = tokens.reshape(*batch, height * width, self.width)
        normal = nn.initializers.normal(0.02)
        first = self.param("class_token", nn.initializers.zeros, (self.width,))
        first = jnp.broadcast_to(first, (*batch, 1, self.width))
        positions = self.param("positions", normal, (1 + height * width, self.width))
        z = jnp.concatenate([first, tokens], axis=-2) + positions  # eq. 1
        for number in range(self.layers):
            z = Block(self.width, self.heads, name=f"block{number}")(z)
        z = nn.LayerNorm(epsilon=EPSILON, name="norm")(z)  # eq. 4, of every token
        if self.token:
            return jnp.asarray(z[..., :1, :].reshape(*batch, 1, 1, self.width))
        return jnp.asarray(z[..., 1:, :].reshape(*batch, height, width, self.width))


class Block(nn.Module):
    """Self-attention and two linear maps, each with its own norm before and a sum behind."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Map tokens f32[..., n, D] to the block's output."""
        normed = nn.LayerNorm(epsilon=EPSILON, name="norm1")(z)
        z = z + nn.MultiHeadDotProductAttention(self.heads, name="attention")(normed)  # eq. 2
        wide = nn.Dense(4 * self.width, name="widen")(
            nn.LayerNorm(epsilon=EPSILON, name="norm2")(z)
        )
        narrow = nn.Dense(self.width, name="narrow")
        return jnp.asarray(z + narrow(nn.gelu(wide, approximate=False)))  # eq. 3


def patches(images: Array, side: int) -> Array:
    """Cut `[..., H, W, 3]` into `[..., h, w, side * side * 3]`."""
    *batch, height, width, channels = images.shape
    if height % side or width % side:
        raise InputError(f"image of {height} x {width}: its sides must be multiples of {side}")
    cut = images.reshape(*batch, height // side, side, width // side, side, channels)
    cut = jnp.swapaxes(cut, -4, -3)
    return cut.reshape(*batch, height // side, width // side, side * side * channels)


def vit_b16(token: bool = False) -> ViT:
    """ViT-B/16: 768 channels, 12 layers, 12 heads."""
    return ViT(patch=16, width=768, layers=12, heads=12, token=token)
