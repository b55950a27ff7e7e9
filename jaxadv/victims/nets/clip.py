"""Dual encoders of pictures and texts: CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.errors import InputError
from jaxadv.hashing.hasher import unit
from jaxadv.victims.nets.attention import WideAndNarrow
from jaxadv.victims.nets.clip_encoder import Encoder, EncoderConfig
from jaxadv.victims.nets.clip_tower import CLIP, SIGLIP, Tower, TowerConfig
from jaxadv.victims.nets.hub_config import Section
from jaxadv.victims.nets.inference import normalised

#: what its pictures are normalised with
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

#: what the texts' part of a configuration need not say
_CLIP_TEXT: dict[str, Any] = {
    "vocab_size": 49_408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49_407,
}
_SIGLIP_TEXT: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "pad_token_id": 1,
}
INITIAL_LOG_SCALE = np.log(1 / 0.07)
_OLD_END = 2  # what CLIP's first configurations say by mistake: the last number ends their texts


@dataclass(frozen=True)
class TextConfig:
    """The sizes of what encodes texts.

    Attributes:
      encoder: those of its blocks.
      vocabulary_size: of the tokenizer.
      positions: the most tokens of a text.
    """

    encoder: EncoderConfig
    vocabulary_size: int
    positions: int

    @classmethod
    def read(cls, section: Section) -> Self:
        """Read the sizes from the `text_config` of a published configuration.

        Raises:
          InputError: a value is missing or not supported.
        """
        return cls(
            encoder=EncoderConfig.read(section),
            vocabulary_size=section.size("vocab_size"),
            positions=section.size("max_position_embeddings"),
        )


@dataclass(frozen=True)
class ClipConfig:
    """The sizes of CLIP.

    Attributes:
      tower: of what encodes pictures.
      text: of what encodes texts.
      size: of the embeddings.
      end: number of the token that ends a text, whose place is read; texts are filled up with it.
    """

    tower: TowerConfig
    text: TextConfig
    size: int
    end: int

    @property
    def pad(self) -> int:
        """The token that texts are filled up with."""
        return self.end


@dataclass(frozen=True)
class SiglipConfig:
    """The sizes of SigLIP.

    Attributes:
      tower: of what encodes pictures; its width is the size of the embeddings.
      text: of what encodes texts.
      pad: the token that texts are filled up with, which is read.
    """

    tower: TowerConfig
    text: TextConfig
    pad: int

    @property
    def size(self) -> int:
        """Of the embeddings."""
        return self.tower.encoder.width


def from_config(config: Mapping[str, Any]) -> ClipConfig | SiglipConfig:
    """Read the sizes from a published `config.json`.

    Raises:
      InputError: a value is missing or not supported.
    """
    whole = Section(config).with_defaults({"projection_dim": 512})
    if whole.choice("model_type", "clip", "siglip") == "clip":
        section = whole.section("text_config").with_defaults(_CLIP_TEXT)
        text = TextConfig.read(section)
        end = section.token("eos_token_id", text.vocabulary_size)
        return ClipConfig(
            tower=TowerConfig.read(whole, CLIP),
            text=text,
            size=whole.size("projection_dim"),
            end=text.vocabulary_size - 1 if end == _OLD_END else end,
        )
    tower = TowerConfig.read(whole, SIGLIP)
    section = whole.section("text_config").with_defaults(_SIGLIP_TEXT)
    text = TextConfig.read(section)
    section.with_defaults({"projection_size": text.encoder.width}).expect(
        projection_size=tower.encoder.width
    )
    return SiglipConfig(tower, text, section.token("pad_token_id", text.vocabulary_size))


class TextTower(nn.Module):
    """What encodes texts, up to its tokens.

    Attributes:
      config: the sizes.
      causal: whether a token attends only to itself and to those before it.
    """

    config: TextConfig
    causal: bool

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Encode tokens i32[T], or weights over all V tokens f32[T, V], as f32[T, width]."""
        size, width = self.config, self.config.encoder.width
        length = len(tokens)
        if length > size.positions:
            raise InputError(f"text of {length} tokens: the most are {size.positions}")
        normal = nn.initializers.normal(0.02)
        positions = self.param("positions", normal, (size.positions, width))
        embed = nn.Embed(size.vocabulary_size, width, name="embed")
        x = embed(tokens) if tokens.ndim == 1 else tokens @ embed.embedding
        x = x + positions[:length]
        seen = jnp.tril(jnp.ones((length, length), bool)) if self.causal else None
        x = Encoder(size.encoder, size.encoder.layers, name="encoder")(x, seen)
        return nn.LayerNorm(epsilon=size.encoder.epsilon, name="norm")(x)


class Clip(nn.Module):
    """CLIP: the class token of a picture, the end of a text, each through a linear map.

    Attributes:
      config: the sizes.
      mean, std: what pictures are normalised with, a channel each.
    """

    config: ClipConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def setup(self) -> None:
        """Declare the parts."""
        size = self.config
        self.tower = Tower(size.tower, size.tower.encoder.layers, norm=False)
        self.norm = nn.LayerNorm(epsilon=size.tower.encoder.epsilon)
        self.text = TextTower(size.text, causal=True)
        self.visual_projection, self.text_projection = (
            nn.Dense(size.size, use_bias=False) for _ in range(2)
        )
        self.log_scale = self.param("log_scale", nn.initializers.constant(INITIAL_LOG_SCALE), ())

    def image_embedding(self, image: Array) -> Array:
        """Embed a picture f32[H, W, 3] in [0, 1] as f32[size], of length 1."""
        tokens = self.tower(normalised(image, self.mean, self.std))
        return unit(self.visual_projection(self.norm(tokens[0])))

    def text_embedding(self, tokens: Array) -> Array:
        """Embed a text i32[T], in which the end token is, as f32[size], of length 1.

        Weights f32[T, V] are read where the end token's is first the largest.
        """
        end = self.config.end
        place = jnp.argmax(tokens == end if tokens.ndim == 1 else tokens[:, end])
        return unit(self.text_projection(self.text(tokens)[place]))

    def logit_scale(self) -> Array:
        """Return the number f32[] that the inner product of two embeddings is multiplied by."""
        return jnp.exp(self.log_scale)

    def class_logits(self, similarities: Array) -> Array:
        """Turn a picture's similarities f32[c] to classes, at least two, into logits f32[c].

        The network tells which of c texts belongs to a picture: their probabilities are a softmax.
        A class's logit is the log-odds of its probability, `log(p / (1 - p))`.
        """
        scaled = self.logit_scale() * similarities
        others = jnp.where(jnp.eye(len(scaled), dtype=bool), -jnp.inf, scaled)
        return scaled - jax.nn.logsumexp(others, axis=-1)

    def __call__(self, image: Array, tokens: Array) -> tuple[Array, Array]:
        """Both embeddings; touches every parameter, for `init`."""
        return self.image_embedding(image), self.text_embedding(tokens)


class Siglip(nn.Module):
    """SigLIP: a picture's patches pooled by attention, the last token of a text.

    Attributes:
      config: the sizes.
      mean, std: what pictures are normalised with, a channel each.
    """

    config: SiglipConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def setup(self) -> None:
        """Declare the parts."""
        size = self.config
        self.tower = Tower(size.tower, size.tower.encoder.layers, norm=True)
        self.pool = AttentionPool(size.tower.encoder)
        self.text = TextTower(size.text, causal=False)
        self.text_head = nn.Dense(size.tower.encoder.width)
        self.log_scale = self.param("log_scale", nn.initializers.constant(np.log(10.0)), ())
        self.logit_bias = self.param("logit_bias", nn.initializers.constant(-10.0), ())

    def image_embedding(self, image: Array) -> Array:
        """Embed a picture f32[H, W, 3] in [0, 1] as f32[width], of length 1."""
        return unit(self.pool(self.tower(normalised(image, self.mean, self.std))))

    def text_embedding(self, tokens: Array) -> Array:
        """Embed a text i32[T] or weights f32[T, V], padded as SigLIP's are, as f32[width]."""
        return unit(self.text_head(self.text(tokens)[-1]))

    def logit_scale(self) -> Array:
        """Return the number f32[] that the inner product of two embeddings is multiplied by."""
        return jnp.exp(self.log_scale)

    def class_logits(self, similarities: Array) -> Array:
        """Turn a picture's similarities f32[c] to classes into logits f32[c], of a sigmoid each."""
        return self.logit_scale() * similarities + self.logit_bias

    def __call__(self, image: Array, tokens: Array) -> tuple[Array, Array]:
        """Both embeddings; touches every parameter, for `init`."""
        return self.image_embedding(image), self.text_embedding(tokens)


class ZeroShot(nn.Module):
    """A tagger of classes that are given by their names: what a picture and they have in common.

    Attributes:
      encoder: whose pictures' side is used; that of texts made the classes' embeddings.
      classes: c.
    """

    encoder: Clip | Siglip
    classes: int

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Logits f32[c] of a picture f32[H, W, 3] in [0, 1]."""
        embedding = self.encoder.image_embedding(image)
        normal = nn.initializers.normal(0.02)
        classes = self.param("classes", normal, (self.classes, embedding.shape[-1]))
        return jnp.asarray(self.encoder.class_logits(classes @ embedding))


class AttentionPool(nn.Module):
    """SigLIP's pooling: a learned query attends to all patches, and two linear maps behind it."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Pool tokens f32[n, width] to f32[width]."""
        size = self.config
        probe = self.param("probe", nn.initializers.normal(0.02), (size.width,))
        attention = nn.MultiHeadDotProductAttention(size.heads, name="attention")
        x = attention(probe[None], tokens)[0]
        normed = nn.LayerNorm(epsilon=size.epsilon, name="norm")(x)
        mlp = WideAndNarrow(size.width, size.hidden, size.activation, name="mlp")
        return jnp.asarray(x + mlp(normed))
