"""Captioners as they are published on the Hugging Face Hub: their `config.json` says all sizes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.subwords import SubwordVocabulary
from jaxadv.victims.architectures import (
    MOST_SIDE,
    MOST_WORDS,
    Colour,
    Names,
    Params,
    VictimError,
    check_sizes,
    shapes_of,
)
from jaxadv.victims.nets.blip import Blip, BlipConfig
from jaxadv.victims.nets.caption_net import as_captioner
from jaxadv.victims.nets.git import Git, GitConfig
from jaxadv.victims.nets.vit_gpt2 import ViTGPT2, ViTGPT2Config


class Model(NamedTuple):
    """A kind of captioner.

    Attributes:
      net: its Linen module.
      config: reads its sizes from a published `config.json`.
      mean, std: what pictures are normalised with where the publisher does not say.
    """

    net: Callable[..., nn.Module]
    config: Callable[[Mapping[str, Any]], Any]
    mean: Colour
    std: Colour


_HALF: Colour = (0.5, 0.5, 0.5)
_CLIP_MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Colour = (0.26862954, 0.26130258, 0.27577711)

MODELS: dict[str, Model] = {  # by what `config.json` calls its `model_type`
    "vision-encoder-decoder": Model(ViTGPT2, ViTGPT2Config.from_config, _HALF, _HALF),
    "blip": Model(Blip, BlipConfig.from_config, _CLIP_MEAN, _CLIP_STD),
    "git": Model(Git, GitConfig.from_config, _CLIP_MEAN, _CLIP_STD),
}


@dataclass(frozen=True)
class HubCaptionerArchitecture:
    """What a captioner of the Hub is made of; everything but its tokenizer and its weights.

    Attributes:
      config: the published `config.json`.
      mean, std: what pictures are normalised with, a channel each.
      prompt: what comes before a caption, as numbers of the vocabulary.
      max_length: most tokens in a caption.
      lead: what a caption begins with in the tokenizer's eyes (`SubwordVocabulary`).
    """

    kind: ClassVar[str] = "captioner of the hub"
    named: ClassVar[tuple[str, ...]] = ("tokenizer",)

    config: Mapping[str, Any]
    mean: Colour
    std: Colour
    prompt: tuple[int, ...] = ()
    max_length: int = 20
    lead: str = ""

    def __post_init__(self) -> None:
        for name in ("mean", "std", "prompt"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_sizes(self, max_length=MOST_WORDS)
        try:
            side = self.sizes.vision.side
        except InputError as problem:
            raise VictimError(str(problem)) from None
        if side > MOST_SIDE:
            raise VictimError(f"config.json: pictures of {side} pixels; the most is {MOST_SIDE}")

    @property
    def model(self) -> Model:
        """The kind of captioner."""
        return model_of(self.config)

    @property
    def sizes(self) -> Any:
        """The network's sizes."""
        return self.model.config(self.config)

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        text = self.sizes.text
        return f"{self.config['model_type']}, {text.layers} layers of {text.units}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        side = self.sizes.vision.side
        return (side, side, 3)

    def network(self) -> nn.Module:
        """Build the Linen module."""
        return self.model.net(self.sizes, self.mean, self.std, self.max_length, self.prompt)

    def vocabulary(self, names: Names) -> SubwordVocabulary:
        """Make the vocabulary of a tokenizer."""
        sizes = self.sizes
        (tokenizer,) = names["tokenizer"]
        return SubwordVocabulary(tokenizer, sizes.end, sizes.text.vocabulary_size, self.lead)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        return shapes_of(self.network(), self.image_shape)

    def functions(self, names: Names) -> Captioner:
        """Its pure functions."""
        return as_captioner(
            self.network(), self.vocabulary(names), self.max_length, self.image_shape
        )

    def __hash__(self) -> int:
        """Hash the configuration by its text."""
        return hash((json.dumps(self.config, sort_keys=True), self.prompt, self.max_length))


def model_of(config: Mapping[str, Any]) -> Model:
    """Return the kind of captioner that a `config.json` describes.

    Raises:
      VictimError: it is of another kind.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MODELS:
        raise VictimError(
            f"config.json: model_type {quoted(kind)}; supported are {', '.join(MODELS)}"
        )
    return MODELS[kind]
