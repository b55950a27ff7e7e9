"""Models of the Hugging Face Hub as victims: fetched by the Hub's own client, never executed.

A model is a folder of `config.json`, `tokenizer.json` and `*.safetensors`. Pickles are not fetched.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.formats.errors import FormatError, PortingError, listed, quoted
from jaxadv.formats.text import read_json, read_text
from jaxadv.porting.fitting import Arrays, Entry, Keys, fit
from jaxadv.porting.hub_llava_tables import llava_table, llava_unused
from jaxadv.porting.hub_tables import blip_table, git_table, vit_gpt2_table
from jaxadv.porting.port import Ported, Source, source_of, together
from jaxadv.subwords import SubwordVocabulary
from jaxadv.victims.hub_captioners import (
    PICTURE,
    HubCaptionerArchitecture,
    default_prompt,
    model_of,
)

PREFIX = "hf://"
WANTED = ("config.json", "tokenizer.json", "preprocessor_config.json", "generation_config.json")
MAX_LENGTH = 20  # tokens of a caption, where the publisher does not say: `generate`'s own
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")

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


class Snapshot(NamedTuple):
    """A model's files on this machine.

    Attributes:
      folder: where they are.
      revision: the commit that they are of.
    """

    folder: Path
    revision: str


def fetch(name: str) -> Snapshot:
    """Fetch a model's files, or find them in the Hub's cache; what is there is not fetched again.

    `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to the Hub's
    client, which goes on with an interrupted download.

    Args:
      name: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`.

    Raises:
      PortingError: there is no such model, it may not be read, it has no safetensors, or it is not
        on this machine and cannot be fetched.
    """
    found = _NAME.fullmatch(name.removeprefix(PREFIX))
    if found is None:
        raise PortingError(f"{quoted(name)}: write hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    hub, errors = _client()
    repository, revision = found.groups()
    try:
        folder = hub.snapshot_download(
            repository, revision=revision, allow_patterns=[*WANTED, "*.safetensors"]
        )
    except errors.GatedRepoError:
        raise PortingError(
            f"{name}: its owner asks for terms to be accepted on its page; then set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise PortingError(f"{name}: there is no such revision") from None
    except errors.RepositoryNotFoundError:
        raise PortingError(
            f"{name}: there is no such model, or it is private and HF_TOKEN may not read it"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise PortingError(
            f"{name}: not on this machine, and the Hub cannot be reached (or HF_HUB_OFFLINE is set)"
        ) from None
    except (errors.HfHubHTTPError, OSError, ValueError) as problem:
        line = str(problem).strip().split("\n")[0]
        raise PortingError(f"{name}: cannot be fetched ({line})") from None
    return Snapshot(Path(folder), Path(folder).name)


def _client() -> tuple[Any, Any]:
    """Return the Hub's client and its errors."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise PortingError(
            "models of the Hub: pip install 'jaxadv[hub]' brings `huggingface_hub`"
        ) from None
    return huggingface_hub, errors


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a model as it is published, and no victim of ours."""
    return os.path.isfile(folder / "config.json") and not os.path.isfile(folder / "record.json")


def port_hub(name: str, prompt: str = "") -> Ported:
    """Turn a captioner of the Hub into Flax variables.

    Args:
      name: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`.
      prompt: as `port_published`.

    Raises:
      PortingError: as `fetch` and `port_published`.
    """
    folder, revision = fetch(name)
    return port_published(folder, prompt, name)._replace(revision=revision)


def port_published(folder: Path, prompt: str = "", name: str = "") -> Ported:
    """Turn a published captioner's files into Flax variables.

    Args:
      folder: of its files.
      prompt: what comes before a caption, such as "a picture of"; by default nothing, or the chat
        template of a model that has one. `<image>` in it is where such a model sees the picture.
      name: what messages call it; the folder by default.

    Raises:
      PortingError: a file is missing or damaged, or is of a model that is not supported.
    """
    name = name or str(folder)
    config = _object(folder / "config.json")
    architecture = _architecture(folder, config)
    names = {"tokenizer": (_tokenizer(folder, name),)}
    # before the weights, which may be large, are read
    architecture = _prompted(architecture, architecture.vocabulary(names), prompt)
    files = _weights(folder, name)
    others = [folder / part for part in WANTED if (folder / part).is_file()]
    sources = [_checked(file, name) for file in (*others, *files)]
    arrays = together(files)
    tree = architecture.shapes(names)
    table = TABLES[config["model_type"]](tree, architecture, arrays)
    variables, mapped = fit(arrays, table, tree, name)
    return Ported(architecture, names, variables, mapped, sources)


def _checked(file: Path, name: str) -> Source:
    """Say of a file what it is; one in the Hub's cache must have the SHA-256 it is kept under.

    Raises:
      PortingError: it has another.
    """
    found, kept = source_of(file), file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", kept) and kept != found.sha256:
        raise PortingError(
            f"{name}: {file.name} has not the bytes that the Hub names; delete {file.resolve()} "
            "and try again"
        )
    return found


def _architecture(folder: Path, config: Mapping[str, Any]) -> HubCaptionerArchitecture:
    model = model_of(config)
    pictures = _object(folder / "preprocessor_config.json", needed=False)
    speaking = _object(folder / "generation_config.json", needed=False)
    longest = speaking.get("max_length", config.get("max_length", MAX_LENGTH))
    return HubCaptionerArchitecture(
        dict(config),
        mean=_colour(pictures, "image_mean", model.mean),
        std=_colour(pictures, "image_std", model.std),
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


def _colour(pictures: Mapping[str, Any], key: str, default: Any) -> Any:
    found = pictures.get(key, default)
    three = isinstance(found, list | tuple) and len(found) == 3
    if not three or not all(isinstance(x, int | float) for x in found):
        raise PortingError(f"preprocessor_config.json: {key} is {quoted(found)}, not three numbers")
    return tuple(map(float, found))


def _object(path: Path, needed: bool = True) -> dict[str, Any]:
    if not needed and not path.is_file():
        return {}
    try:
        found = read_json(path)
    except FormatError as problem:
        raise PortingError(str(problem)) from None
    if not isinstance(found, dict):
        raise PortingError(f"{path}: must be an object")
    return found


def _tokenizer(folder: Path, name: str) -> str:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise PortingError(
            f"{name}: has no tokenizer.json; AutoTokenizer.from_pretrained(...).save_pretrained "
            "of `transformers` writes one"
        )
    return read_text(path)


def _weights(folder: Path, name: str) -> list[Path]:
    """Return the files of the weights: one, or all that the index names.

    Raises:
      PortingError: there are none, or one that the index names is not there.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = _object(index).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(x, str) for x in parts.values()):
            raise PortingError(f"{index}: must have a weight_map of file names")
        names = sorted(set(parts.values()))
        outside = [part for part in names if os.path.basename(part) != part]
        if outside:
            raise PortingError(f"{index}: names files outside its folder: {listed(outside)}")
        missing = [part for part in names if not (folder / part).is_file()]
        if missing:
            raise PortingError(f"{name}: half downloaded; missing are {listed(missing)}")
        return [folder / part for part in names]
    found = folder / "model.safetensors"
    if found.is_file():
        return [found]
    raise PortingError(
        f"{name}: has no model.safetensors; pickles are not read from the Hub: convert the model, "
        "or look for a revision with safetensors (refs/pr/N of its page)"
    )
