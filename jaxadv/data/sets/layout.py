"""What the readers share: finding files, reading text, and saying in one line what is wrong."""

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from jaxadv.data.records import DataSet, FolderError, Record


class Download(NamedTuple):
    """Something a data set consists of, and where its owner offers it.

    Attributes:
      path: where it lies in the data set's folder, in the owner's own layout.
      archive: the file to download, which holds it.
      where: the page or address of its owner.
      optional: the set can be read without it.
    """

    path: str
    archive: str
    where: str
    optional: bool = False


def find(folder: Path, *paths: str) -> Path | None:
    """Return the first of the paths that is there; names may differ in upper and lower case."""
    for path in paths:
        place = folder
        for part in path.split("/"):
            exact = place / part
            place = exact if exact.exists() else _same_but_for_case(place, part) or exact
        if place.exists():
            return place
    return None


def _same_but_for_case(folder: Path, name: str) -> Path | None:
    if not folder.is_dir():
        return None
    return next((p for p in folder.iterdir() if p.name.lower() == name.lower()), None)


def need(folder: Path, download: Download, *elsewhere: str) -> Path:
    """Return where a download lies.

    Raises:
      FolderError: it does not; the message names the file, its owner's offer and the folder.
    """
    found = find(folder, download.path, *elsewhere)
    if found is None:
        raise FolderError(
            f"{folder / download.path}: missing; unpack {download.archive} from {download.where} "
            f"into {folder}"
        )
    return found


@contextmanager
def laid_out_as(what: str, path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes a reader raise into one line that names it.

    Raises:
      FolderError: instead of everything else that is about the contents.
    """
    try:
        yield
        return
    except FolderError:
        raise
    except json.JSONDecodeError as problem:
        line = f"not JSON, or truncated ({problem.msg}, line {problem.lineno})"
    except (UnicodeDecodeError, RecursionError) as problem:
        line = f"not {what} ({type(problem).__name__})"
    except OSError as problem:
        line = f"cannot be read ({problem.strerror})"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        line = f"not laid out as {what} ({' '.join(repr(problem).split())[:120]})"
    raise FolderError(f"{path}: {line}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file; use inside `laid_out_as`."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Read the lines of a text that are not empty.

    Raises:
      FolderError: not such a text.
    """
    with laid_out_as("text", path):
        lines = path.read_text(encoding=encoding).splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file that declares nothing of its own: entities can fill a memory.

    Raises:
      FolderError: it is broken, or declares a document type.
    """
    with laid_out_as("XML", path):
        contents = path.read_bytes()
    if b"\0" in contents or b"<!DOCTYPE" in contents or b"<!ENTITY" in contents:
        raise FolderError(f"{path}: declares entities, or is no UTF-8; plain XML is read")
    try:
        return ElementTree.fromstring(contents)
    except ElementTree.ParseError as problem:
        raise FolderError(f"{path}: not XML, or truncated ({problem})") from None


def read_flags(path: Path, count: int | None = None) -> np.ndarray:
    """Read a text of one 0 or 1 a line; bool[n].

    Raises:
      FolderError: something else in it, or not `count` of them.
    """
    with laid_out_as("a 0 or 1 a line", path):
        contents = path.read_bytes().translate(None, b" \t\r\n")
    digits = np.frombuffer(contents, np.uint8)
    if not np.isin(digits, (48, 49)).all():
        raise FolderError(f"{path}: not a 0 or 1 a line")
    if count is not None and len(digits) != count:
        raise FolderError(f"{path}: {len(digits):,} lines, where {count:,} pictures are listed")
    return digits == 49


def inside(folder: Path, file: str) -> Path:
    """Find a picture by the name that annotations give it.

    Raises:
      FolderError: the name leads out of the folder.
    """
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise FolderError(f"{folder}: picture {file!r} is outside of the folder")
    return folder / file


def there(records: Iterable[Record], problems: list[str]) -> list[Record]:
    """Keep the records whose picture is a file that is there; name the others."""
    kept = []
    for record in records:
        if not isinstance(record.picture, Path) or record.picture.is_file():
            kept.append(record)
        else:
            problems.append(f"{record.picture}: no such picture")
    return kept


def make(
    name: str,
    folder: Path,
    records: Sequence[Record],
    problems: Sequence[str] = (),
    **known: Any,
) -> DataSet:
    """Put a data set together, its records by id, and check that ids are unique.

    Selections lose the ids of what is not there.

    Raises:
      FolderError: an id comes twice, or there is no record.
    """
    twice = [i for i, times in Counter(r.id for r in records).items() if times > 1]
    if twice:
        raise FolderError(f"{folder}: {len(twice)} duplicate ids, such as {twice[0]!r}")
    if not records:
        reason = f"; {problems[0]}" if problems else ""
        raise FolderError(f"{folder}: its annotations name no picture that is there{reason}")
    ordered = tuple(sorted(records, key=lambda r: r.id))
    present = {record.id for record in ordered}
    selections = {
        key: kept
        for key, ids in known.pop("selections", {}).items()
        if (kept := tuple(i for i in ids if i in present))
    }
    return DataSet(name, ordered, selections=selections, problems=tuple(problems), **known)


def draw(ids: Collection[str], *shares: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Part ids into shares of these sizes and the rest, at random but always the same.

    >>> draw(["c", "a", "b", "d"], 1, 2)
    [('c',), ('a', 'b'), ('d',)]
    """
    ordered = sorted(ids)
    order = np.random.default_rng(seed).permutation(len(ordered))
    ends = np.cumsum([0, *shares, max(0, len(ordered) - sum(shares))])
    return [tuple(ordered[i] for i in order[start:end]) for start, end in itertools.pairwise(ends)]
