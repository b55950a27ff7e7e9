"""CLIP and SigLIP as they are published on the Hub: retrievers, and taggers by classes' names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.subwords import TextTokens
from jaxadv.victims.architectures import (
    MOST_SIDE,
    Colour,
    Names,
    Params,
    VictimError,
    shapes_of,
)
from jaxadv.victims.nets.classifier_net import as_classifier
from jaxadv.victims.nets.clip import Clip, ClipConfig, Siglip, SiglipConfig, ZeroShot, from_config
from jaxadv.victims.nets.hash_net import as_retriever

MODEL_TYPES = ("clip", "siglip")  # what `config.json` calls them


@dataclass(frozen=True)
class _Encoders:
    """A pair of encoders; everything but the tokenizer and the weights.

    Attributes:
      config: the published `config.json`.
      mean, std: what pictures are normalised with, a channel each.
    """

    config: Mapping[str, Any]
    mean: Colour
    std: Colour

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        try:
            side = self.image_shape[0]
        except InputError as problem:
            raise VictimError(str(problem)) from None
        if side > MOST_SIDE:
            raise VictimError(f"config.json: pictures of {side} pixels; the most is {MOST_SIDE}")

    @property
    def sizes(self) -> ClipConfig | SiglipConfig:
        """The network's sizes."""
        return from_config(self.config)

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        return f"{self.config['model_type']}, {self.sizes.tower.encoder.layers} layers"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        side = self.sizes.tower.image
        return (side, side, 3)

    def encoders(self) -> Clip | Siglip:
        """Build the Linen module of both encoders."""
        sizes = self.sizes
        if isinstance(sizes, ClipConfig):
            return Clip(sizes, self.mean, self.std)
        return Siglip(sizes, self.mean, self.std)


@dataclass(frozen=True)
class HubRetrieverArchitecture(_Encoders):
    """What a retriever of the Hub is made of; everything but its tokenizer and its weights."""

    kind: ClassVar[str] = "retriever of the hub"
    named: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def reader(self, names: Names) -> TextTokens:
        """Make what turns texts into tokens."""
        (tokenizer,) = names["tokenizer"]
        text = self.sizes.text
        return TextTokens(tokenizer, text.positions, text.vocabulary_size, self.sizes.pad)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        image = jax.ShapeDtypeStruct(self.image_shape, jnp.zeros(()).dtype)
        tokens = jax.ShapeDtypeStruct((self.sizes.text.positions,), jnp.int32)
        return jax.eval_shape(self.encoders().init, jax.random.key(0), image, tokens)

    def functions(self, names: Names) -> CrossModalHasher:
        """Its pure functions."""
        net = self.encoders()
        return as_retriever(net, self.image_shape, self.sizes.size, self.reader(names))


@dataclass(frozen=True)
class HubTaggerArchitecture(_Encoders):
    """What a tagger of the Hub's encoders is made of; everything but its classes and its weights.

    Attributes:
      prompt: the text for each class, with `{}` for its name.
    """

    kind: ClassVar[str] = "tagger of the hub"
    named: ClassVar[tuple[str, ...]] = ("classes",)

    prompt: str = "a photo of a {}"

    def network(self, classes: int) -> ZeroShot:
        """Build the Linen module."""
        return ZeroShot(self.encoders(), classes)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        return shapes_of(self.network(len(names["classes"])), self.image_shape)

    def functions(self, names: Names) -> MultiLabelClassifier:
        """Its pure functions."""
        net = self.network(len(names["classes"]))
        return as_classifier(net, names["classes"], self.image_shape)
