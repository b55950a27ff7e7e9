"""A Vision Transformer and GPT-2 (Radford et al. 2019) with cross attention in every block.

`VisionEncoderDecoderModel` of `nlpconnect/vit-gpt2-image-captioning`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.subwords import number_of
from jaxadv.victims.nets.attention import (
    ACTIVATIONS,
    Attention,
    WideAndNarrow,
    extended,
    layer_norm,
    stacked,
    to_come,
)
from jaxadv.victims.nets.cached_captioner import CachedCaptioner, PublishedConfig
from jaxadv.victims.nets.hub_config import Section, TextConfig
from jaxadv.victims.nets.transformer import Memory, Said
from jaxadv.victims.nets.vision_tower import VisionConfig, VisionTower


@dataclass(frozen=True)
class GPT2Config(TextConfig):
    """The sizes of GPT-2."""

    @classmethod
    def from_section(cls, section: Section) -> "GPT2Config":
        """Read the part of a `config.json` that is the decoder's."""
        section.expect(
            model_type="gpt2",
            add_cross_attention=True,
            cross_attention_hidden_size=None,
            scale_attn_weights=True,
            scale_attn_by_inverse_layer_idx=False,
            tie_word_embeddings=True,
        )
        units, heads = section.parted("n_embd", "n_head")
        # null, as published, is four times as many
        wide = 4 * units if section.values.get("n_inner") is None else section.size("n_inner")
        return cls(
            vocabulary_size=section.size("vocab_size"),
            units=units,
            layers=section.size("n_layer"),
            heads=heads,
            wide=wide,
            positions=section.size("n_positions"),
            epsilon=section.epsilon("layer_norm_epsilon"),
            activation=section.choice("activation_function", *ACTIVATIONS),
        )


@dataclass(frozen=True)
class ViTGPT2Config(PublishedConfig):
    """What `ViTGPT2` is made of."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ViTGPT2Config":
        """Read a published `config.json`.

        Raises:
          InputError: a value is missing, or is of another network; it is named.
        """
        whole = Section(config)
        whole.expect(model_type="vision-encoder-decoder")
        encoder = whole.section("encoder")
        encoder.expect(model_type="vit", qkv_bias=True)
        decoder = GPT2Config.from_section(whole.section("decoder"))
        end = whole.token("eos_token_id", decoder.vocabulary_size)
        begin = whole.token("decoder_start_token_id", decoder.vocabulary_size)
        return cls(VisionConfig.from_section(encoder), decoder, number_of(begin, end), end)


class Block(nn.Module):
    """A layer of GPT-2: words, cells of the picture, two linear maps, each with a norm before."""

    config: TextConfig

    def setup(self) -> None:
        """Declare the parameters."""
        config = self.config
        self.words, self.cells = (Attention(config.units, config.heads) for _ in range(2))
        self.mlp = WideAndNarrow(config.units, config.wide, config.activation)
        self.norm_words, self.norm_cells, self.norm_wide = (
            layer_norm(config.epsilon) for _ in range(3)
        )

    def see(self, cells: Array) -> Memory:
        """Make keys and values of the cells f32[cells, units]."""
        return self.cells.remember(cells)

    def __call__(
        self, rows: Array, positions: Array, words: Memory | None, cells: Memory
    ) -> tuple[Array, Memory]:
        """Take in tokens f32[n, units] at positions; return their outputs and the words' memory."""
        normed = self.norm_words(rows)
        words = extended(words, self.words.remember(normed), positions)
        rows = rows + self.words(normed, words, hidden=to_come(words, positions))
        rows = rows + self.cells(self.norm_cells(rows), cells)
        return jnp.asarray(rows + self.mlp(self.norm_wide(rows))), words


class ViTGPT2(CachedCaptioner):
    """ViT-GPT2: every block of the decoder attends to all tokens of the tower."""

    config: ViTGPT2Config

    def setup(self) -> None:
        """Declare the parameters."""
        decoder = self.config.text
        self.vision = VisionTower(self.config.vision)
        if self.config.vision.width != decoder.units:
            self.project = nn.Dense(decoder.units)
        self.embed = nn.Embed(decoder.vocabulary_size, decoder.units)
        self.positions = nn.Embed(decoder.positions, decoder.units)
        self.blocks = [Block(decoder) for _ in range(decoder.layers)]
        self.norm = layer_norm(decoder.epsilon)

    def see(self, image: Array) -> Memory:
        """Make every layer's keys and values of a normalised image f32[H, W, 3]."""
        cells = self.vision(image)
        if self.config.vision.width != self.config.text.units:
            cells = self.project(cells)
        return stacked([block.see(cells) for block in self.blocks])

    def embedded(self, tokens: Array, positions: Array) -> Array:
        """Embed tokens i32[n] at positions i32[n] as f32[n, units]."""
        return jnp.asarray(self.embed(tokens) + self.positions(positions))

    def logits(self, said: Said) -> Array:
        """`Captioner.logits`: products with the words' embeddings."""
        return kept(self.embed.attend(self.norm(said.last)))
