"""The Vision Transformers of ViT-GPT2, BLIP and GIT (Dosovitskiy et al. 2021).

Those of CLIP, SigLIP and LLaVA's family are in `clip_tower`.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.attention import ACTIVATIONS, Attention, WideAndNarrow, layer_norm
from jaxadv.victims.nets.hub_config import Section
from jaxadv.victims.nets.vit import patches


@dataclass(frozen=True)
class VisionConfig:
    """The sizes of a tower.

    Attributes:
      side: of an image, in pixels.
      patch: side of a patch, in pixels.
      width: channels of a token.
      layers: blocks.
      heads: of each self-attention.
      wide: channels between the two linear maps of a block.
      epsilon: of the layer norms.
      activation: between the two linear maps, as `ACTIVATIONS` names it.
    """

    side: int
    patch: int
    width: int
    layers: int
    heads: int
    wide: int
    epsilon: float
    activation: str

    @classmethod
    def from_section(cls, section: Section) -> "VisionConfig":
        """Read the part of a `config.json` that is the tower's."""
        section.expect(num_channels=3)
        width, heads = section.parted("hidden_size", "num_attention_heads")
        side, _ = section.parted("image_size", "patch_size")
        return cls(
            side=side,
            patch=section.size("patch_size"),
            width=width,
            layers=section.size("num_hidden_layers"),
            heads=heads,
            wide=section.size("intermediate_size"),
            epsilon=section.epsilon("layer_norm_eps"),
            activation=section.choice("hidden_act", *ACTIVATIONS),
        )


class VisionTower(nn.Module):
    """A Vision Transformer up to its last tokens.

    Attributes:
      config: its sizes.
      clip: CLIP's form, which normalises tokens before the first block, too, and adds nothing to
        the patches but their positions.
    """

    config: VisionConfig
    clip: bool = False

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Tokens f32[1 + patches, width] of a normalised image [H, W, 3], the class token first."""
        config = self.config
        cut = patches(image, config.patch)
        tokens = nn.Dense(config.width, use_bias=not self.clip, name="embed")(
            cut.reshape(-1, cut.shape[-1])
        )
        normal = nn.initializers.normal(0.02)
        first = self.param("class_token", normal, (config.width,))
        positions = self.param("positions", normal, (1 + len(tokens), config.width))
        tokens = jnp.concatenate([first[None], tokens]) + positions
        if self.clip:
            tokens = layer_norm(config.epsilon, name="norm_first")(tokens)
        for number in range(config.layers):
            tokens = Block(config, name=f"blocks_{number}")(tokens)
        return jnp.asarray(layer_norm(config.epsilon, name="norm")(tokens))


class Block(nn.Module):
    """Self-attention and two linear maps, each with its own norm before and a sum behind."""

    config: VisionConfig

    def setup(self) -> None:
        """Declare the parameters."""
        config = self.config
        self.attention = Attention(config.width, config.heads)
        self.mlp = WideAndNarrow(config.width, config.wide, config.activation)
        self.norm1, self.norm2 = (layer_norm(config.epsilon) for _ in range(2))

    def __call__(self, tokens: Array) -> Array:
        """Map tokens f32[n, width] to the block's output."""
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, self.attention.remember(normed))
        return jnp.asarray(tokens + self.mlp(self.norm2(tokens)))
