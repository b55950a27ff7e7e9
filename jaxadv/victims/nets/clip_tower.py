"""The Vision Transformers of CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023).

LLaVA and Idefics3 see with them, too. That of ViT-GPT2, BLIP and GIT is in `vision_tower`.
"""

from dataclasses import dataclass
from typing import Self

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.errors import InputError
from jaxadv.victims.nets.clip_encoder import Encoder, EncoderConfig
from jaxadv.victims.nets.hub_config import Section

CLIP, SIGLIP, IDEFICS3 = "clip_vision_model", "siglip_vision_model", "idefics3_vision"

_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
#: what a configuration of each kind of tower need not say
_DEFAULTS = {
    CLIP: {**_SIGLIP, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    SIGLIP: _SIGLIP,
    IDEFICS3: {**_SIGLIP, "hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32},
}


@dataclass(frozen=True)
class TowerConfig:
    """The sizes of a tower.

    Attributes:
      encoder: those of its blocks.
      image: side of the square picture, in pixels.
      patch: side of a patch; pixels behind the last whole one are not seen.
      class_token: CLIP's: a class token before the patches, a norm before the blocks, and patches
        embedded without biases.
    """

    encoder: EncoderConfig
    image: int
    patch: int
    class_token: bool

    @classmethod
    def read(cls, whole: Section, kind: str) -> Self:
        """Read the sizes from the `vision_config` of a published `config.json`.

        Raises:
          InputError: a value is missing or not supported.
        """
        section = whole.section("vision_config").with_defaults(_DEFAULTS[kind])
        image = section.size("image_size")
        patch = section.whole("patch_size", 1, image)
        return cls(EncoderConfig.read(section), image, patch, class_token=kind == CLIP)

    @property
    def side(self) -> int:
        """Number of patches along a side."""
        return self.image // self.patch


class Tower(nn.Module):
    """A tower up to its tokens.

    Attributes:
      config: the sizes.
      layers: how many of its blocks there are; fewer, where a later one is not read.
      norm: whether there is a norm behind them.
    """

    config: TowerConfig
    layers: int
    norm: bool

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Tokens f32[n, width] of a normalised picture f32[H, W, 3], row by row."""
        size, encoder = self.config, self.config.encoder
        if image.shape != (size.image, size.image, 3):
            raise InputError(f"image of {image.shape}: must be {(size.image, size.image, 3)}")
        patch = (size.patch, size.patch)
        embed = nn.Conv(
            encoder.width, patch, patch, "VALID", use_bias=not size.class_token, name="embed"
        )
        x = embed(image).reshape(-1, encoder.width)
        normal = nn.initializers.normal(0.02)
        if size.class_token:
            first = self.param("class_token", normal, (encoder.width,))
            x = jnp.concatenate([first[None], x])
        x = x + self.param("positions", normal, x.shape)
        if size.class_token:
            x = nn.LayerNorm(epsilon=encoder.epsilon, name="norm_before")(x)
        x = Encoder(encoder, self.layers, name="encoder")(x)
        if self.norm:
            x = nn.LayerNorm(epsilon=encoder.epsilon, name="norm")(x)
        return x
