"""What is measured on: full-size victims with random weights, random pictures, fixed targets."""

import json
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import Captioner
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.core.attack import Params, Target
from jaxadv.core.precision import Arithmetic, Victim, in_arithmetic
from jaxadv.hashing.cmla import Known, hash_target
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.target import LabelTarget
from jaxadv.victims.architectures import (
    BACKBONES,
    CaptionerArchitecture,
    ClassifierArchitecture,
    HasherArchitecture,
)
from jaxadv.victims.hub_captioners import HubCaptionerArchitecture
from jaxadv.vocabulary import Vocabulary

LABELS, WORDS, LENGTH, CONTEXT, BITS, TAGS, CLASSES = 80, 9487, 10, 10_000, 32, 1386, 24


class Setting(NamedTuple):
    """The size of everything.

    Attributes:
      backbone: of all victims, a key of `BACKBONES`.
      side: of the pictures, in pixels.
      batch: pictures at once.
      steps: in one timed loop.
      units: of the captioners.
      arithmetic: of the victims; None leaves it to the device.
    """

    backbone: str = "resnet101"
    side: int = 224
    batch: int = 4
    steps: int = 5
    units: int = 512
    arithmetic: Arithmetic | None = None

    def of(self, victim: Victim) -> Victim:
        """Put a victim in the arithmetic."""
        return victim if self.arithmetic is None else in_arithmetic(victim, self.arithmetic)

    def pictures(self) -> Array:
        """Random pictures f32[batch, side, side, 3]."""
        return jax.random.uniform(jax.random.key(0), (self.batch, self.side, self.side, 3))


class Tagger(NamedTuple):
    """A classifier with weights and a target a picture."""

    functions: MultiLabelClassifier
    params: Params
    targets: LabelTarget


class Speaker(NamedTuple):
    """A captioner with weights."""

    functions: Captioner
    params: Params


class Hasher(NamedTuple):
    """A hasher with weights, a context, and a target a picture."""

    functions: CrossModalHasher
    known: Known
    targets: Target


def _drawn(net: nn.Module, *inputs: Array) -> Params:
    return jax.jit(net.init)(jax.random.key(0), *inputs)


def tagger(setting: Setting) -> Tagger:
    """A tagger of 80 labels; three to six are relevant to a picture, one is to go, k = 3."""
    made = ClassifierArchitecture(setting.backbone, setting.side)
    names = tuple(f"label {i}" for i in range(LABELS))
    params = _drawn(made.network(LABELS), jnp.zeros(made.image_shape))
    labels, rows = jnp.arange(LABELS), jnp.arange(setting.batch)[:, None]
    targets = LabelTarget(
        relevant=labels < 4 + rows % 3,
        specified=(labels == 0) & (rows >= 0),
        k=jnp.full(setting.batch, 3),
    )
    functions = setting.of(made.functions({"classes": names}))
    return Tagger(functions, params, targets)


def speaker(setting: Setting, decoder: str) -> Speaker:
    """A captioner of 9,487 words and at most 16 of them; it attends to 14x14 cells, if to any."""
    made = CaptionerArchitecture(
        decoder, setting.backbone, setting.units, grid=14, side=setting.side
    )
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS)))
    params = _drawn(made.network(vocabulary.size), jnp.zeros(made.image_shape))
    return Speaker(setting.of(made.captioner(vocabulary)), params)


def hub_speaker(setting: Setting) -> Speaker:
    """ViT-GPT2 of its published sizes, ViT-B/16 and GPT-2 of 50,257 tokens; small for small sides.

    It says at most 16 tokens, as the other captioners say words.
    """
    whole = setting.side >= 224
    units, layers, heads, tokens = (768, 12, 12, 50_257) if whole else (32, 2, 2, 300)
    decoder = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "add_cross_attention": True,
        "layer_norm_epsilon": 1e-5,
        "n_embd": units,
        "n_head": heads,
        "n_layer": layers,
        "n_positions": 1024,
        "vocab_size": tokens,
    }
    encoder = {
        "model_type": "vit",
        "hidden_act": "gelu",
        "hidden_size": units,
        "image_size": setting.side,
        "intermediate_size": 4 * units,
        "layer_norm_eps": 1e-12,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "patch_size": 16,
        "qkv_bias": True,
    }
    config = {
        "model_type": "vision-encoder-decoder",
        "decoder_start_token_id": tokens - 1,
        "eos_token_id": tokens - 1,
        "encoder": encoder,
        "decoder": decoder,
    }
    half = (0.5, 0.5, 0.5)
    made = HubCaptionerArchitecture(config, half, half, end=tokens - 1, max_length=16)
    names = {"tokenizer": (_tokenizer(tokens),)}
    rng = np.random.default_rng(0)  # to compile `init` would take minutes
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.02, x.shape), x.dtype), made.shapes(names)
    )
    functions = made.functions(names)
    return Speaker(setting.of(functions), params)


def _tokenizer(tokens: int) -> str:
    """Write a `tokenizer.json` with that many words."""
    words = {f"w{i}": i for i in range(tokens)}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "w0"}
    return json.dumps({"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}})


def sentences(setting: Setting, latent: int, words: int = WORDS) -> Target:
    """A target of ten words a picture, a number of them latent, at the same places in all.

    The places are spread over the caption, as the paper's are in the mean.
    """
    drawn = np.random.default_rng(0).integers(1, words, (setting.batch, LENGTH))
    places = set(np.linspace(1, LENGTH - 2, latent).round().astype(int).tolist())
    return stack_targets([make_target(row.tolist(), 16, places) for row in drawn])


def hasher(setting: Setting) -> Hasher:
    """DCMH over the backbone, with a context of 10,000 items."""
    made = HasherArchitecture("dcmh", hashable(setting.backbone), BITS, setting.side, units=64)
    tags, classes = (tuple(map(str, range(n))) for n in (TAGS, CLASSES))
    params = _drawn(made.network(CLASSES), jnp.zeros(made.image_shape), jnp.zeros(TAGS))
    rng = np.random.default_rng(0)
    codes = jnp.asarray(rng.normal(size=(2, CONTEXT, BITS)), jnp.float32)
    labels = jnp.asarray(rng.random((setting.batch + CONTEXT, CLASSES)) < 0.15)
    targets = jax.vmap(hash_target, in_axes=(0, None))(
        labels[: setting.batch], labels[setting.batch :]
    )
    functions = made.functions({"tags": tags, "classes": classes})
    return Hasher(setting.of(functions), Known(params, *codes), targets)


def hashable(backbone: str) -> str:
    """Return the hashers' backbone nearest to another: they have ResNet-50 and the small one."""
    return "resnet-small" if BACKBONES[backbone].side < 224 else "resnet50"
