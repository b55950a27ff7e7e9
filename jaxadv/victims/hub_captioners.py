"""Captioners as they are published on the Hugging Face Hub: their `config.json` says all sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn

from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.subwords import SubwordVocabulary
from jaxadv.victims.architectures import (
    HALF,
    MOST_SIDE,
    MOST_WORDS,
    Colour,
    Names,
    Params,
    VictimError,
    check_sizes,
    shapes_of,
)
from jaxadv.victims.nets import llava
from jaxadv.victims.nets.blip import Blip, BlipConfig
from jaxadv.victims.nets.caption_net import as_captioner
from jaxadv.victims.nets.clip import CLIP_MEAN, CLIP_STD
from jaxadv.victims.nets.git import Git, GitConfig
from jaxadv.victims.nets.vit_gpt2 import ViTGPT2, ViTGPT2Config

PICTURE = "<image>"  # where a prompt has the picture


class Model(NamedTuple):
    """A kind of captioner.

    Attributes:
      sizes: reads a network's sizes from a published `config.json`; among them are the `side` of
        its pictures and the sizes of what reads words, `text`.
      net: its Linen module, by its architecture and its sizes.
      mean, std: what pictures are normalised with where the publisher does not say.
      prompt: what comes before a caption by default, with `PICTURE` where the picture is among it.
      lead: what a caption begins with in the tokenizer's eyes.
    """

    sizes: Callable[[Mapping[str, Any]], Any]
    net: Callable[["HubCaptionerArchitecture", Any], nn.Module]
    mean: Colour
    std: Colour
    prompt: str = ""
    lead: str = ""


def _behind(
    net: Callable[..., nn.Module],
) -> Callable[["HubCaptionerArchitecture", Any], nn.Module]:
    """Build a network that sees a picture apart from the words."""
    return lambda made, sizes: net(sizes, made.mean, made.std, made.max_length, made.prompt)


def _among(made: "HubCaptionerArchitecture", sizes: Any) -> nn.Module:
    """Build a network that reads a picture among the words of its prompt."""
    return llava.Llava(sizes, made.mean, made.std, made.before, made.prompt, made.max_length)


_ASK = "Describe the picture in one sentence."

MODELS: dict[str, Model] = {  # by what `config.json` calls its `model_type`
    "vision-encoder-decoder": Model(
        ViTGPT2Config.from_config,
        _behind(ViTGPT2),
        HALF,
        HALF,
    ),
    "blip": Model(
        BlipConfig.from_config,
        _behind(Blip),
        CLIP_MEAN,
        CLIP_STD,
    ),
    "git": Model(
        GitConfig.from_config,
        _behind(Git),
        CLIP_MEAN,
        CLIP_STD,
    ),
    "llava": Model(
        llava.from_config,
        _among,
        CLIP_MEAN,
        CLIP_STD,
        f"USER: {PICTURE}\n{_ASK} ASSISTANT:",
    ),
    "idefics3": Model(
        llava.from_config,
        _among,
        HALF,
        HALF,
        f"<|im_start|>User:<fake_token_around_image><global-img>{PICTURE}<fake_token_around_image>"
        f"{_ASK}<end_of_utterance>\nAssistant:",
        " ",
    ),
}
_QWEN = f"<|im_start|>user\n{PICTURE}\n{_ASK}<|im_end|>\n<|im_start|>assistant\n"


def default_prompt(config: Mapping[str, Any]) -> str:
    """Return what comes before a caption where nothing is said: a model's chat template, filled."""
    speaks = config.get("text_config")
    if isinstance(speaks, Mapping) and speaks.get("model_type") == "qwen2":
        return _QWEN
    return model_of(config).prompt


@dataclass(frozen=True)
class HubCaptionerArchitecture:
    """What a captioner of the Hub is made of; everything but its tokenizer and its weights.

    Attributes:
      config: the published `config.json`.
      mean, std: what pictures are normalised with, a channel each.
      end: the tokenizer's id of what ends a caption.
      before: the prompt before a picture that is read among words, as numbers of the vocabulary.
      prompt: what comes before a caption, likewise.
      max_length: most tokens in a caption.
    """

    kind: ClassVar[str] = "captioner of the hub"
    named: ClassVar[tuple[str, ...]] = ("tokenizer",)

    config: Mapping[str, Any]
    mean: Colour
    std: Colour
    end: int
    before: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    max_length: int = 20

    def __post_init__(self) -> None:
        for name in ("mean", "std", "before", "prompt"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_sizes(self, max_length=MOST_WORDS)
        try:
            side, words = self.image_shape[0], self.sizes.text.vocabulary_size
        except InputError as problem:
            raise VictimError(str(problem)) from None
        if side > MOST_SIDE:
            raise VictimError(f"config.json: pictures of {side} pixels; the most is {MOST_SIDE}")
        if not 0 <= self.end < words:
            raise VictimError(f"the token {self.end}, which ends captions, is none of {words:,}")

    @property
    def model(self) -> Model:
        """The kind of captioner."""
        return model_of(self.config)

    @property
    def sizes(self) -> Any:
        """The network's sizes."""
        return self.model.sizes(self.config)

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        return f"{self.config['model_type']}, {self.sizes.text.layers} layers"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        side = self.sizes.side
        return (side, side, 3)

    def network(self) -> nn.Module:
        """Build the Linen module."""
        return self.model.net(self, self.sizes)

    def vocabulary(self, names: Names) -> SubwordVocabulary:
        """Make the vocabulary of a tokenizer."""
        (tokenizer,) = names["tokenizer"]
        rows = self.sizes.text.vocabulary_size
        return SubwordVocabulary(tokenizer, self.end, rows, self.model.lead)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        return shapes_of(self.network(), self.image_shape)

    def functions(self, names: Names) -> Captioner:
        """Its pure functions."""
        return as_captioner(
            self.network(), self.vocabulary(names), self.max_length, self.image_shape
        )


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
