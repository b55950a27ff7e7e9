"""Captioners of the Hugging Face Hub as victims."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jaxadv.formats.errors import PortingError, quoted
from jaxadv.porting.fitting import Arrays, Entry, Keys, fit
from jaxadv.porting.hub_llava_tables import llava_table, llava_unused
from jaxadv.porting.hub_tables import blip_table, git_table, vit_gpt2_table
from jaxadv.porting.port import Ported
from jaxadv.porting.published import Published
from jaxadv.subwords import SubwordVocabulary
from jaxadv.victims.hub_captioners import (
    PICTURE,
    HubCaptionerArchitecture,
    default_prompt,
    model_of,
)

MAX_LENGTH = 20  # tokens of a caption, where the publisher does not say: `generate`'s own

Table = Callable[[Any, HubCaptionerArchitecture, Arrays], dict[Keys, Entry]]
"""Names every leaf of a tree of variables, and leaves out of the arrays what no caption reads."""


def _llava(tree: Any, made: HubCaptionerArchitecture, arrays: Arrays) -> dict[Keys, Entry]:
    for name in llava_unused(made.sizes, arrays):
        del arrays[name]
    return llava_table(tree, made.sizes, arrays, made.end)


TABLES: dict[str, Table] = {
    "vision-encoder-decoder": lambda tree, made, _: vit_gpt2_table(tree, made.sizes),
    "blip": lambda tree, made, _: blip_table(tree, made.sizes),
    "git": lambda tree, made, _: git_table(tree, made.sizes),
    "llava": _llava,
    "idefics3": _llava,
}


def port_captioner(model: Published, prompt: str = "") -> Ported:
    """Turn a published captioner's files into Flax variables.

    Args:
      model: its files.
      prompt: what comes before a caption.

    Raises:
      PortingError: a file is missing or damaged.
    """
    architecture = _architecture(model)
    names = {"tokenizer": (model.tokenizer(),)}
    # before the weights, which may be large, are read
    architecture = _prompted(architecture, architecture.vocabulary(names), prompt)
    arrays, sources = model.weights()
    tree = architecture.shapes(names)
    table = TABLES[model.config["model_type"]](tree, architecture, arrays)
    variables, mapped = fit(arrays, table, tree, model.name)
    return Ported(architecture, names, variables, mapped, sources)


def _architecture(published: Published) -> HubCaptionerArchitecture:
    config, speaking = published.config, published.generation
    model = model_of(config)
    longest = speaking.get("max_length", config.get("max_length", MAX_LENGTH))
    return HubCaptionerArchitecture(
        dict(config),
        mean=published.colour("image_mean", model.mean),
        std=published.colour("image_std", model.std),
        end=_end(config, speaking),
        max_length=longest if isinstance(longest, int) and longest > 1 else MAX_LENGTH,
    )


def _prompted(
    architecture: HubCaptionerArchitecture, vocabulary: SubwordVocabulary, prompt: str
) -> HubCaptionerArchitecture:
    """Take in a prompt, or the model's own.

    Raises:
      PortingError: it has not one place for the picture, where the model sees it among words.
    """
    own = default_prompt(architecture.config)
    prompt = prompt or own
    if not own:
        return replace(architecture, prompt=tuple(vocabulary.encode(prompt)) if prompt else ())
    before, *after = prompt.split(PICTURE)
    if len(after) != 1:
        raise PortingError(f"prompt {quoted(prompt)}: must have {PICTURE} once")
    return replace(
        architecture,
        before=tuple(vocabulary.template(before, first=True)),
        prompt=tuple(vocabulary.template(after[0])),
    )


def _end(config: Mapping[str, Any], speaking: Mapping[str, Any]) -> int:
    """Return the id of the token that ends a caption.

    Raises:
      PortingError: nothing says it.
    """
    text = config.get("text_config")
    for found in (
        getattr(model_of(config).sizes(config), "end", None),
        speaking.get("eos_token_id"),
        config.get("eos_token_id"),
        text.get("eos_token_id") if isinstance(text, Mapping) else None,
    ):
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, int):
            return first
    raise PortingError("config.json: nothing says which token ends a caption (eos_token_id)")
