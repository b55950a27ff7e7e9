"""The decoders Llama (Touvron et al. 2023) and Qwen2 (Yang et al. 2024), one word at a time.

What comes before a caption is the same for all captions of a picture. Its keys and values are made
once and shared; those of a caption's own words are in the state.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import kept
from jaxadv.victims.nets.attention import extended, to_come
from jaxadv.victims.nets.hub_config import Section
from jaxadv.victims.nets.transformer import Memory

#: what a configuration of each kind of decoder need not say
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "qwen2": {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 22_016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
_COMMON = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10_000.0}


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a decoder.

    Attributes:
      vocabulary_size: words and the end of a caption.
      width: channels of a token.
      hidden: channels between the linear maps of a block.
      layers: blocks.
      heads: of each attention.
      key_heads: of its keys and values, each for `heads / key_heads` of its queries.
      head_size: channels of a head.
      theta: base of the wave lengths of the rotary embeddings.
      epsilon: of the norms.
      biases: whether queries, keys and values have biases, as Qwen2's.
      tied: whether words are scored by their embeddings.
    """

    vocabulary_size: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    theta: float
    epsilon: float
    biases: bool
    tied: bool

    @classmethod
    def read(cls, whole: Section) -> Self:
        """Read the sizes from the `text_config` of a published configuration.

        Whether embeddings are tied may be said there or in the configuration itself.

        Raises:
          InputError: a value is missing or not supported.
        """
        section = whole.section("text_config").with_defaults({"model_type": "llama"})
        kind = section.choice("model_type", *_DEFAULTS)
        section = section.with_defaults({**_COMMON, **_DEFAULTS[kind]})
        section.expect(
            hidden_act="silu", attention_bias=False, mlp_bias=False, use_sliding_window=False
        )
        width, heads = section.size("hidden_size"), section.size("num_attention_heads")
        section = section.with_defaults({"num_key_value_heads": heads, "head_dim": width // heads})
        _, key_heads = section.parted("num_attention_heads", "num_key_value_heads")
        return cls(
            vocabulary_size=section.size("vocab_size"),
            width=width,
            hidden=section.size("intermediate_size"),
            layers=section.size("num_hidden_layers"),
            heads=heads,
            key_heads=key_heads,
            head_size=section.size("head_dim"),
            theta=_theta(section),
            epsilon=section.epsilon("rms_norm_eps"),
            biases=kind == "qwen2",
            tied=any(bool(s.values.get("tie_word_embeddings")) for s in (whole, section)),
        )


def _theta(section: Section) -> float:
    """Read the base of rotary embeddings, which `transformers` 5 wrote elsewhere than those before.

    Raises:
      InputError: wave lengths are scaled, which is not supported.
    """
    for key in ("rope_parameters", "rope_scaling"):
        if section.values.get(key):
            rotary = section.section(key)
            rotary.expect(rope_type="default", type="default")
            if "rope_theta" in rotary.values:
                return rotary.epsilon("rope_theta")
    return section.epsilon("rope_theta")


class Prefix(NamedTuple):
    """What every caption of a picture begins with: prompt and picture.

    Attributes:
      memories: of every block, f32[n, key_heads, head_size].
      last: f32[width], what the last block makes of the last token.
    """

    memories: tuple[Memory, ...]
    last: Array


class Said(NamedTuple):
    """A caption so far.

    Attributes:
      words: of every block, f32[max_length, key_heads, head_size]; zero at places to come.
      position: i32[], how many words there are.
      last: f32[width], what the last block makes of the last one.
    """

    words: tuple[Memory, ...]
    position: Array
    last: Array


class Angles(NamedTuple):
    """Cosines and sines of positions, f32[n, 1, head_size / 2]."""

    cosines: Array
    sines: Array


def angles_of(positions: Array, size: int, theta: float, dtype: jnp.dtype) -> Angles:
    """Turn positions i32[n] into angles: the i-th of size / 2 is `position / theta^(2i / size)`."""
    # bfloat16 cannot tell the positions apart
    exact = jnp.promote_types(dtype, jnp.float32)
    frequencies = theta ** -(jnp.arange(0, size, 2, dtype=exact) / size)
    angles = (positions[:, None].astype(exact) * frequencies)[:, None]
    return Angles(jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype))


def rotated(x: Array, angles: Angles) -> Array:
    """Rotate heads f32[n, heads, size]: channel i with channel i + size / 2, by the i-th angle."""
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [
            first * angles.cosines - second * angles.sines,
            second * angles.cosines + first * angles.sines,
        ],
        axis=-1,
    )


def attend(queries: Array, memories: list[Memory], hidden: Array) -> Array:
    """Attend from queries f32[m, heads, size] to memories, one behind another.

    Their scores are put together, not they: what all captions share is not copied for each.
    `hidden` bool[m, n] says to which of all places a query does not attend.
    """
    m, heads, size = queries.shape
    shared = memories[0].keys.shape[1]
    grouped = queries.reshape(m, shared, heads // shared, size)
    scores = [jnp.einsum("mkgd,nkd->kgmn", grouped, memory.keys) for memory in memories]
    together = jnp.concatenate(scores, axis=-1) / math.sqrt(size)
    weights = nn.softmax(jnp.where(hidden, -jnp.inf, together))
    attended, start = jnp.zeros_like(grouped), 0
    for memory in memories:
        end = start + len(memory.values)
        part = weights[..., start:end]
        attended, start = attended + jnp.einsum("kgmn,nkd->mkgd", part, memory.values), end
    return attended.reshape(m, heads, size)


class Block(nn.Module):
    """A layer: attention, then a gated linear unit, each with its own norm before."""

    config: LlamaConfig

    def setup(self) -> None:
        """Declare the parameters."""
        size = self.config
        self.query = nn.DenseGeneral((size.heads, size.head_size), use_bias=size.biases)
        self.key, self.value = (
            nn.DenseGeneral((size.key_heads, size.head_size), use_bias=size.biases)
            for _ in range(2)
        )
        self.out = nn.DenseGeneral(size.width, axis=(-2, -1), use_bias=False)
        self.gate, self.widen = (nn.Dense(size.hidden, use_bias=False) for _ in range(2))
        self.narrow = nn.Dense(size.width, use_bias=False)
        self.norm1, self.norm2 = (nn.RMSNorm(epsilon=size.epsilon) for _ in range(2))

    def read(self, x: Array, angles: Angles) -> tuple[Array, Memory]:
        """Take in tokens f32[n, width], each of which sees those before it; return their memory."""
        queries, memory = self._projected(x, angles)
        attended = attend(queries, [memory], hidden=to_come(memory, jnp.arange(len(x))))
        return self._finished(x, attended), memory

    def __call__(
        self, x: Array, angles: Angles, position: Array, prefix: Memory, words: Memory
    ) -> tuple[Array, Memory]:
        """Take in the word x f32[1, width] at a position; return its output and words' memory."""
        queries, new = self._projected(x, angles)
        words = extended(words, new, position)
        later = to_come(words, position[None])
        hidden = jnp.concatenate([jnp.zeros((1, len(prefix.keys)), bool), later], axis=-1)
        return self._finished(x, attend(queries, [prefix, words], hidden)), words

    def _projected(self, x: Array, angles: Angles) -> tuple[Array, Memory]:
        """Make queries, and the keys and values to remember."""
        normed = self.norm1(x)
        queries = rotated(kept(self.query(normed)), angles)
        keys = rotated(kept(self.key(normed)), angles)
        return queries, Memory(keys, kept(self.value(normed)))

    def _finished(self, x: Array, attended: Array) -> Array:
        """Add what was attended to, and what the gated linear unit makes of it."""
        x = x + kept(self.out(attended))
        normed = self.norm2(x)
        gated = nn.silu(kept(self.gate(normed))) * kept(self.widen(normed))
        return x + kept(self.narrow(gated))


class Llama(nn.Module):
    """The decoder.

    Attributes:
      config: the sizes.
      max_length: the most words that are fed; the state has room for them.
    """

    config: LlamaConfig
    max_length: int

    def setup(self) -> None:
        """Declare the parameters."""
        size = self.config
        self.embedding = nn.Embed(size.vocabulary_size, size.width)
        self.blocks = [Block(size) for _ in range(size.layers)]
        self.norm = nn.RMSNorm(epsilon=size.epsilon)
        if not size.tied:
            self.head = nn.Dense(size.vocabulary_size, use_bias=False)

    def embed(self, words: Array) -> Array:
        """Embed words i32[...] as f32[..., width]."""
        return self.embedding(words)

    def read(self, x: Array) -> Prefix:
        """Take in what all captions begin with, embedded: f32[n, width]."""
        angles = self._angles(jnp.arange(len(x)), x.dtype)
        memories = []
        for block in self.blocks:
            x, memory = block.read(x, angles)
            memories.append(memory)
        return Prefix(tuple(memories), x[-1])

    def begin(self, prefix: Prefix) -> Said:
        """Say nothing yet."""
        size = self.config
        shape = (self.max_length, size.key_heads, size.head_size)
        nothing = jnp.zeros(shape, prefix.last.dtype)
        words = (Memory(nothing, nothing),) * size.layers
        return Said(words, jnp.zeros((), jnp.int32), prefix.last)

    def advance(self, prefix: Prefix, said: Said, word: Array) -> Said:
        """Feed a word at the next place."""
        x = self.embed(word)[None]
        place = len(prefix.memories[0].keys) + said.position
        angles = self._angles(place[None], x.dtype)
        words = []
        for block, before, own in zip(self.blocks, prefix.memories, said.words, strict=True):
            x, memory = block(x, angles, said.position, before, own)
            words.append(memory)
        return Said(tuple(words), said.position + 1, x[0])

    def logits(self, said: Said) -> Array:
        """Score the next word."""
        normed = self.norm(said.last)
        return jnp.asarray(self.embedding.attend(normed) if self.config.tied else self.head(normed))

    def _angles(self, positions: Array, dtype: jnp.dtype) -> Angles:
        return angles_of(positions, self.config.head_size, self.config.theta, dtype)
