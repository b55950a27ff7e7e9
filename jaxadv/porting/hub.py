"""Models of the Hugging Face Hub as victims: fetched by the Hub's own client, never executed.

A model is a folder of `config.json`, `tokenizer.json` and `*.safetensors`. Pickles are not fetched.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.formats.errors import PortingError, quoted
from jaxadv.porting.hub_captioners import port_captioner
from jaxadv.porting.hub_encoders import port_retriever, port_tagger
from jaxadv.porting.port import Ported
from jaxadv.porting.published import WANTED, read_published
from jaxadv.victims.hub_captioners import MODELS
from jaxadv.victims.hub_encoders import MODEL_TYPES

PREFIX = "hf://"
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


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
    client, which resumes an interrupted download.

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


def port_hub(name: str, prompt: str = "", classes: Sequence[str] = ()) -> Ported:
    """Turn a model of the Hub into Flax variables.

    Args:
      name: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`.
      prompt: as `port_published`.
      classes: as `port_published`.

    Raises:
      PortingError: as `fetch` and `port_published`.
    """
    folder, revision = fetch(name)
    return port_published(folder, prompt, classes, name)._replace(revision=revision)


def port_published(
    folder: Path, prompt: str = "", classes: Sequence[str] = (), name: str = ""
) -> Ported:
    """Turn a published model's files into Flax variables.

    Args:
      folder: of its files.
      prompt: what comes before a caption, such as "a picture of"; by default nothing, or the chat
        template of a model that has one. `<image>` in it is where such a model sees the picture.
        For a tagger, the text for each class, "a photo of a {}" by default.
      classes: what CLIP or SigLIP becomes a tagger of; a retriever without.
      name: what messages call it; the folder by default.

    Raises:
      PortingError: a file is missing or damaged, or is of a model that is not supported.
    """
    model = read_published(folder, name or str(folder))
    kind = model.config.get("model_type")
    if not isinstance(kind, str) or kind not in (*MODELS, *MODEL_TYPES):
        supported = ", ".join((*MODELS, *MODEL_TYPES))
        raise PortingError(f"config.json: model_type {quoted(kind)}; supported are {supported}")
    if kind in MODELS:
        if classes:
            raise PortingError(f"{model.name}: a captioner has no classes; its tokenizer has words")
        return port_captioner(model, prompt)
    if classes:
        return port_tagger(model, tuple(classes), prompt)
    if prompt:
        raise PortingError(f"{model.name}: a prompt is for a tagger; give its classes, too")
    return port_retriever(model)
