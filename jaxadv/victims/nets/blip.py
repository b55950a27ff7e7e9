"""BLIP (Li et al. 2022): a Vision Transformer, and BERT's layers with cross attention.

`BlipForConditionalGeneration` of `Salesforce/blip-image-captioning-base` and `-large`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.subwords import number_of
from jaxadv.victims.nets.attention import ACTIVATIONS, extended, layer_norm, stacked, to_come
from jaxadv.victims.nets.bert import BertConfig, PostNormAttention, PostNormMLP
from jaxadv.victims.nets.cached_captioner import CachedCaptioner, PublishedConfig
from jaxadv.victims.nets.hub_config import Section, TextConfig
from jaxadv.victims.nets.transformer import Memory, Said
from jaxadv.victims.nets.vision_tower import VisionConfig, VisionTower


@dataclass(frozen=True)
class BlipConfig(PublishedConfig):
    """What `Blip` is made of."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "BlipConfig":
        """Read a published `config.json`.

        Raises:
          InputError: a value is missing, or is of another network; it is named.
        """
        whole = Section(config)
        whole.expect(model_type="blip", tie_word_embeddings=True)
        text = whole.section("text_config")
        text.expect(is_decoder=True, tie_word_embeddings=True)
        sizes = BertConfig.from_section(text)
        begin, end = (
            text.token(key, sizes.vocabulary_size) for key in ("bos_token_id", "sep_token_id")
        )
        vision = VisionConfig.from_section(whole.section("vision_config"))
        return cls(vision, sizes, number_of(begin, end), end)


class Layer(nn.Module):
    """A layer of the decoder: words, cells of the picture, two linear maps."""

    config: TextConfig

    def setup(self) -> None:
        """Declare the parameters."""
        self.words, self.cells = (PostNormAttention(self.config) for _ in range(2))
        self.mlp = PostNormMLP(self.config)

    def see(self, cells: Array) -> Memory:
        """Make keys and values of the cells f32[cells, channels]."""
        return self.cells.remember(cells)

    def __call__(
        self, rows: Array, positions: Array, words: Memory | None, cells: Memory
    ) -> tuple[Array, Memory]:
        """Take in tokens f32[n, units] at positions; return their outputs and the words' memory."""
        words = extended(words, self.words.remember(rows), positions)
        rows = self.words(rows, words, hidden=to_come(words, positions))
        return self.mlp(self.cells(rows, cells)), words


class Blip(CachedCaptioner):
    """BLIP, which begins a caption with a prompt: as published, the numbers of "a picture of"."""

    config: BlipConfig

    def setup(self) -> None:
        """Declare the parameters."""
        text = self.config.text
        self.vision = VisionTower(self.config.vision)
        self.embed = nn.Embed(text.vocabulary_size, text.units)
        self.positions = nn.Embed(text.positions, text.units)
        self.blocks = [Layer(text) for _ in range(text.layers)]
        self.transform = nn.Dense(text.units)
        self.norm_embedded, self.norm = (layer_norm(text.epsilon) for _ in range(2))
        self.bias = self.param("bias", nn.initializers.zeros, (text.vocabulary_size,))

    def see(self, image: Array) -> Memory:
        """Make every layer's keys and values of a normalised image f32[H, W, 3]."""
        cells = self.vision(image)
        return stacked([block.see(cells) for block in self.blocks])

    def embedded(self, tokens: Array, positions: Array) -> Array:
        """Embed tokens i32[n] at positions i32[n] as f32[n, units]."""
        return jnp.asarray(self.norm_embedded(self.embed(tokens) + self.positions(positions)))

    def logits(self, said: Said) -> Array:
        """`Captioner.logits`: products with the words' embeddings."""
        activation = ACTIVATIONS[self.config.text.activation]
        last = self.norm(activation(kept(self.transform(said.last))))
        return kept(self.embed.attend(last)) + self.bias
