"""Reading a set's own files: what cannot be used of one is left out and named, an entry each."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from jaxadv.data.records import FolderError
from jaxadv.formats.errors import quoted
from jaxadv.formats.files import read_bytes
from jaxadv.formats.values import ValueFault, as_texts
from jaxadv.vocabulary import tokenize

MOST_XML = 1 << 24  # bytes of one picture's annotation
MOST_LEFT_OUT = 100_000  # entries of one file


class LeftOut:
    """What cannot be used of one file, a line each.

    Args:
      path: the file.
      problems: takes the lines.
    """

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self._problems = problems
        self._count = 0

    def add(self, entry: str, reason: object) -> None:
        """Name an entry, or a part of one, and say why it is left out.

        Raises:
          FolderError: these are a hundred thousand: the file is not what it is taken for.
        """
        line = f"{self.path}, {entry}: {reason}; left out"
        self._problems.append(line)
        self._count += 1
        if self._count > MOST_LEFT_OUT:
            raise FolderError(f"{self.path}: more than {MOST_LEFT_OUT:,} such entries: {line}")

    def captions(self, value: Any, entry: str) -> tuple[str, ...] | None:
        """Check what an entry says of a picture; an empty caption is absent.

        A caption without a word (of emoji, or of dots) is left out.

        Raises:
          ValueFault: neither a text nor a list of texts.
        """
        texts = as_texts(value, "caption")
        if texts is None:
            return None
        said = []
        for text in texts:
            if tokenize(text):
                said.append(text)
            elif text.strip():
                self.add(entry, f"caption {quoted(text)} holds no word")
        return tuple(said)


def listing(contents: Any, name: str, path: Path, what: str) -> list[Any]:
    """Return a list that the object of a JSON file must hold.

    Raises:
      FolderError: it is no object, or holds no such list.
    """
    found = contents.get(name) if isinstance(contents, dict) else None
    if not isinstance(found, list):
        raise FolderError(f"{path}: not laid out as {what}: it must be an object whose {name!r} "
                          "is a list")  # fmt: skip
    return found


def fields(entry: Any) -> Mapping[str, Any]:
    """Return an entry of a list in JSON, which must be an object.

    Raises:
      ValueFault: it is none.
    """
    if not isinstance(entry, dict):
        raise ValueFault("must be an object")
    return entry


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file that declares nothing of its own: entities can fill a memory.

    Raises:
      FormatError: it cannot be read.
      FolderError: it is broken, or declares a document type.
    """
    contents = read_bytes(path, MOST_XML)
    if b"\0" in contents or b"<!DOCTYPE" in contents or b"<!ENTITY" in contents:
        raise FolderError(f"{path}: declares entities, or is no UTF-8; plain XML is read")
    try:
        return ElementTree.fromstring(contents)
    except ElementTree.ParseError as problem:
        line, _ = problem.position
        raise FolderError(f"{path}: not XML, or truncated (line {line})") from None
    except (LookupError, ValueError):
        raise FolderError(f"{path}: in an encoding that is not read; save it as UTF-8") from None


def read_flags(path: Path, count: int | None = None) -> np.ndarray:
    """Read a text of one 0 or 1 a line; bool[n].

    Raises:
      FormatError: it cannot be read.
      FolderError: something else in it, or not `count` of them.
    """
    contents = read_bytes(path).removeprefix(b"\xef\xbb\xbf").translate(None, b" \t\r\n")
    digits = np.frombuffer(contents, np.uint8)
    if not np.isin(digits, (48, 49)).all():
        raise FolderError(f"{path}: not a 0 or 1 a line")
    if count is not None and len(digits) != count:
        raise FolderError(f"{path}: {len(digits):,} lines, where {count:,} pictures are listed")
    return digits == 49


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Number names in their order."""
    return {name: number for number, name in enumerate(names)}
