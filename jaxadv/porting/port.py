"""From foreign files to a victim in `ported_weights/`: read, fit, save."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data.vocabulary import Vocabulary
from jaxadv.porting.errors import PortingError
from jaxadv.porting.readers import read
from jaxadv.porting.tables import Mapped, captioner_table, fit
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Architecture


class Source(NamedTuple):
    """A file that weights came from."""

    file: str
    bytes: int
    sha256: str


class Ported(NamedTuple):
    """A victim's variables, how they were mapped, and where they came from."""

    variables: Any
    mapped: list[Mapped]
    sources: list[Source]


def port(files: Sequence[Path], architecture: Architecture, vocabulary: Vocabulary) -> Ported:
    """Turn the files of a captioner, backbone and decoder together, into Flax variables.

    Raises:
      PortingError: a file cannot be read or holds something else; nothing is written.
    """
    tree = architecture.variables(vocabulary.size)
    arrays: dict[str, np.ndarray] = {}
    for file in files:
        found = read(file)
        twice = sorted(arrays.keys() & found.keys())
        if twice:
            raise PortingError(f"{file}: also in another of the files: {', '.join(twice)}")
        arrays |= found
    names = ", ".join(str(file) for file in files)
    variables, mapped = fit(arrays, captioner_table(architecture, tree), tree, names)
    return Ported(variables, mapped, [_source(file) for file in files])


def save(folder: Path, ported: Ported, architecture: Architecture, vocabulary: Vocabulary) -> None:
    """Write the victim's folder, whole or not at all."""
    zoo.save(
        folder,
        architecture,
        vocabulary,
        ported.variables,
        source="jaxadv port",
        files=[source._asdict() for source in ported.sources],
    )


def architecture_of(name: str) -> Architecture:
    """Return a published architecture by name.

    Raises:
      PortingError: there is none of that name.
    """
    if name not in zoo.PUBLISHED:
        known = ", ".join(zoo.PUBLISHED)
        raise PortingError(f"unknown architecture {name!r}: must be one of {known}")
    return zoo.PUBLISHED[name]


def _source(file: Path) -> Source:
    digest = hashlib.sha256()
    for part in _parts(file):
        digest.update(part)
    return Source(file.name, file.stat().st_size, digest.hexdigest())


def _parts(file: Path, size: int = 1 << 20) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while part := stream.read(size):
            yield part
