"""A model's files as they are published on the Hugging Face Hub, in a folder on this machine."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.formats.errors import FormatError, PortingError, listed, quoted
from jaxadv.formats.text import read_json, read_text
from jaxadv.porting.fitting import Arrays
from jaxadv.porting.port import Source, source_of, together
from jaxadv.victims.architectures import Colour

WANTED = ("config.json", "tokenizer.json", "preprocessor_config.json", "generation_config.json")


class Published(NamedTuple):
    """A published model.

    Attributes:
      folder: of its files.
      name: what messages call it.
      config: `config.json`.
      pictures: `preprocessor_config.json`; empty where there is none.
      generation: `generation_config.json`; empty where there is none.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    pictures: Mapping[str, Any]
    generation: Mapping[str, Any]

    def colour(self, key: str, default: Colour) -> Colour:
        """Return what pictures are normalised with.

        Raises:
          PortingError: it is not three numbers.
        """
        found = self.pictures.get(key, default)
        three = isinstance(found, list | tuple) and len(found) == 3
        if not three or not all(isinstance(x, int | float) for x in found):
            raise PortingError(
                f"preprocessor_config.json: {key} is {quoted(found)}, not three numbers"
            )
        red, green, blue = map(float, found)
        return red, green, blue

    def tokenizer(self) -> str:
        """Return the text of `tokenizer.json`.

        Raises:
          PortingError: there is none.
        """
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise PortingError(
                f"{self.name}: has no tokenizer.json; "
                "AutoTokenizer.from_pretrained(...).save_pretrained of `transformers` writes one"
            )
        return read_text(path)

    def weights(self) -> tuple[Arrays, list[Source]]:
        """Read all weights, and say what each file is that a victim is made of.

        Raises:
          PortingError: a file is missing or damaged, or has not the bytes that the Hub names.
        """
        files = _weights(self.folder, self.name)
        others = [self.folder / part for part in WANTED if (self.folder / part).is_file()]
        sources = [_checked(file, self.name) for file in (*others, *files)]
        return together(files), sources


def read_published(folder: Path, name: str) -> Published:
    """Read all but the weights of a published model.

    Args:
      folder: of its files.
      name: what messages call it.

    Raises:
      PortingError: a file is missing or damaged.
    """
    pictures, generation = (
        _object(folder / part, needed=False)
        for part in ("preprocessor_config.json", "generation_config.json")
    )
    return Published(folder, name, _object(folder / "config.json"), pictures, generation)


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
