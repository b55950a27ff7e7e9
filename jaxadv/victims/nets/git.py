"""GIT (Wang et al. 2022): CLIP's Vision Transformer, and BERT's layers over its tokens and words.

`GitForCausalLM` of `microsoft/git-base-coco`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.subwords import number_of
from jaxadv.victims.nets.attention import extended, layer_norm, stacked, to_come
from jaxadv.victims.nets.bert import BertConfig, PostNormAttention, PostNormMLP
from jaxadv.victims.nets.cached_captioner import CachedCaptioner, PublishedConfig
from jaxadv.victims.nets.hub_config import Section, TextConfig
from jaxadv.victims.nets.transformer import Memory, Said
from jaxadv.victims.nets.vision_tower import VisionConfig, VisionTower


@dataclass(frozen=True)
class GitConfig(PublishedConfig):
    """What `Git` is made of."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "GitConfig":
        """Read a published `config.json`.

        Raises:
          InputError: a value is missing, or is of another network; it is named.
        """
        whole = Section(config)
        whole.expect(model_type="git", num_image_with_embedding=None, tie_word_embeddings=False)
        text = BertConfig.from_section(whole)
        begin, end = (
            whole.token(key, text.vocabulary_size) for key in ("bos_token_id", "eos_token_id")
        )
        vision = VisionConfig.from_section(whole.section("vision_config"))
        return cls(vision, text, number_of(begin, end), end)


class Layer(nn.Module):
    """A layer: one attention to the cells of the picture and to words, two linear maps."""

    config: TextConfig

    def setup(self) -> None:
        """Declare the parameters."""
        self.attention, self.mlp = PostNormAttention(self.config), PostNormMLP(self.config)

    def see(self, cells: Array) -> tuple[Array, Memory]:
        """Map the cells f32[cells, units], which see one another; return their memory, too."""
        memory = self.attention.remember(cells)
        return self.mlp(self.attention(cells, memory)), memory

    def __call__(
        self, rows: Array, positions: Array, words: Memory | None, cells: Memory
    ) -> tuple[Array, Memory]:
        """Take in tokens f32[n, units] at positions; return their outputs and the words' memory."""
        words = extended(words, self.attention.remember(rows), positions)
        rows = self.attention(rows, cells, words, hidden=to_come(words, positions))
        return self.mlp(rows), words


class Git(CachedCaptioner):
    """GIT: no cell sees a word, so that what the layers make of the cells is the same for all."""

    config: GitConfig

    def setup(self) -> None:
        """Declare the parameters."""
        text = self.config.text
        self.vision = VisionTower(self.config.vision, clip=True)
        self.project = nn.Dense(text.units)
        self.norm_projected = layer_norm(self.config.vision.epsilon)
        self.embed = nn.Embed(text.vocabulary_size, text.units)
        self.positions = nn.Embed(text.positions, text.units)
        self.norm_embedded = layer_norm(text.epsilon)
        self.blocks = [Layer(text) for _ in range(text.layers)]
        self.output = nn.Dense(text.vocabulary_size)

    def see(self, image: Array) -> Memory:
        """Make every layer's keys and values of a normalised image f32[H, W, 3]."""
        cells = self.norm_projected(self.project(self.vision(image)))
        memories = []
        for block in self.blocks:
            cells, memory = block.see(cells)
            memories.append(memory)
        return stacked(memories)

    def embedded(self, tokens: Array, positions: Array) -> Array:
        """Embed tokens i32[n] at positions i32[n] as f32[n, units]."""
        return jnp.asarray(self.norm_embedded(self.embed(tokens) + self.positions(positions)))

    def logits(self, said: Said) -> Array:
        """`Captioner.logits`."""
        return kept(self.output(said.last))
