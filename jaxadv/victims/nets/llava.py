"""Decoder-only captioners that read a picture as if it were words, in the middle of a prompt.

LLaVA (Liu et al. 2023) and Idefics3 (Laurençon et al. 2024), of which SmolVLM is one, differ in
their towers, in their decoders, and in what stands between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.victims.nets.clip_tower import CLIP, IDEFICS3, SIGLIP, Tower, TowerConfig
from jaxadv.victims.nets.hub_config import Section
from jaxadv.victims.nets.inference import normalised
from jaxadv.victims.nets.llama import Llama, LlamaConfig, Prefix, Said

#: what a configuration need not say
_DEFAULTS = {
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "scale_factor": 2,
}


@dataclass(frozen=True)
class LlavaConfig:
    """The sizes of a captioner.

    Attributes:
      tower: of what sees.
      tower_layers: how many of its blocks are run.
      skip: how many tokens are left out, from the first: the class token or none.
      shuffle: side of the squares of patches that become one token by one linear map, Idefics3's;
        None is LLaVA's, two linear maps of each patch.
      decoder: of what speaks.
    """

    tower: TowerConfig
    tower_layers: int
    skip: int
    shuffle: int | None
    decoder: LlamaConfig

    @property
    def side(self) -> int:
        """Side of a picture, in pixels."""
        return self.tower.image

    @property
    def text(self) -> LlamaConfig:
        """The sizes of what reads words."""
        return self.decoder

    @property
    def tokens(self) -> int:
        """Number of tokens that a picture becomes."""
        return self.tower.side**2 // (self.shuffle or 1) ** 2 + self.tower.class_token - self.skip


def from_config(config: Mapping[str, Any]) -> LlavaConfig:
    """Read the sizes from a published `config.json`.

    Raises:
      InputError: a value is missing or not supported.
    """
    whole = Section(config).with_defaults(_DEFAULTS)
    if whole.choice("model_type", "llava", "idefics3") == "llava":
        return _llava(whole)
    tower = TowerConfig.read(whole, IDEFICS3)
    shuffle = whole.size("scale_factor")
    if tower.side % shuffle:
        whole.refuse("scale_factor", f"a divisor of {tower.side}, the patches along a side")
    return LlavaConfig(tower, tower.encoder.layers, 0, shuffle, LlamaConfig.read(whole))


def _llava(whole: Section) -> LlavaConfig:
    whole.expect(projector_hidden_act="gelu", multimodal_projector_bias=True)
    kind = whole.section("vision_config").choice("model_type", CLIP, SIGLIP)
    tower = TowerConfig.read(whole, kind)
    layers = tower.encoder.layers
    layer = whole.whole("vision_feature_layer", -layers - 1, layers)
    strategy = whole.choice("vision_feature_select_strategy", "default", "full")
    return LlavaConfig(
        tower=tower,
        tower_layers=layer % (layers + 1),  # number 0 is what goes into the first block
        skip=int(strategy == "default"),
        shuffle=None,
        decoder=LlamaConfig.read(whole),
    )


class Llava(nn.Module):
    """The captioner.

    Attributes:
      config: the sizes.
      mean, std: what pictures are normalised with, a channel each.
      before, after: the prompt, with the picture in the middle: numbers of words, which are the
        tokenizer's but for 0 and the end of a caption, which have changed places.
      max_length: the most words of a caption.
    """

    config: LlavaConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    before: tuple[int, ...]
    after: tuple[int, ...]
    max_length: int

    def setup(self) -> None:
        """Declare the parts."""
        size = self.config
        # Idefics3 reads what is behind the tower's norm, LLaVA what is before it
        self.tower = Tower(size.tower, size.tower_layers, norm=size.shuffle is not None)
        width = size.decoder.width
        if size.shuffle is None:
            self.project_in, self.project_out = nn.Dense(width), nn.Dense(width)
        else:
            self.project = nn.Dense(width, use_bias=False)
        self.decoder = Llama(size.decoder, self.max_length)

    def see(self, image: Array) -> Array:
        """Turn a picture f32[H, W, 3] in [0, 1] into words of the decoder, f32[n, width]."""
        size = self.config
        tokens = self.tower(normalised(image, self.mean, self.std))[size.skip :]
        if size.shuffle is None:
            return self.project_out(nn.gelu(self.project_in(tokens), approximate=False))
        return self.project(_shuffled(tokens, size.tower.side, size.shuffle))

    def encode(self, image: Array) -> Prefix:
        """`Captioner.encode`: read the prompt and the picture."""
        before, after = (
            self.decoder.embed(jnp.asarray(words, jnp.int32)) for words in (self.before, self.after)
        )
        return self.decoder.read(jnp.concatenate([before, self.see(image), after]))

    def begin(self, features: Prefix) -> Said:
        """`Captioner.begin`."""
        return self.decoder.begin(features)

    def advance(self, features: Prefix, state: Said, token: Array) -> Said:
        """`Captioner.advance`."""
        return self.decoder.advance(features, state, token)

    def logits(self, state: Said) -> Array:
        """`Captioner.logits`."""
        return self.decoder.logits(state)

    def __call__(self, image: Array) -> Array:
        """Score the first word; touches every parameter, for `init`."""
        return self.logits(self.begin(self.encode(image)))


def _shuffled(tokens: Array, side: int, square: int) -> Array:
    """Put tokens f32[side * side, C] of each square together: f32[n, square * square * C]."""
    rows = side // square
    cut = tokens.reshape(rows, square, rows, square, tokens.shape[-1])
    return jnp.swapaxes(cut, 1, 2).reshape(rows * rows, -1)
