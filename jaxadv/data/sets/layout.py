"""What the readers share: finding files, and putting together a set whose names are keys."""

import itertools
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data.images import SUFFIXES
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.reading import MOST_LEFT_OUT
from jaxadv.formats.errors import listed, printable, quoted
from jaxadv.formats.values import ValueFault, is_whole


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


def picture_name(name: str) -> str:
    """Check the name that annotations give a picture: a path inside of their folder.

    Raises:
      ValueFault: it leads out of the folder, or is no path of a file.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise ValueFault(f"picture {quoted(name)} is outside of the folder")
    if parts[-1] in ("", "."):
        raise ValueFault(f"picture {quoted(name)} is no name of a file")
    return name


def there(records: Iterable[Record], problems: list[str]) -> list[Record]:
    """Keep the records whose picture is a file that is there; name the others.

    Raises:
      FolderError: of a hundred thousand there is none: the pictures are elsewhere.
    """
    kept = []
    missing = 0
    for record in records:
        # `isfile` takes names of any length, and a pipe or a device is none
        if not isinstance(record.picture, Path) or os.path.isfile(record.picture):
            kept.append(record)
        else:
            problems.append(f"{shown(record.picture)}: no such picture")
            missing += 1
            if missing > MOST_LEFT_OUT:
                line = f"more than {MOST_LEFT_OUT:,} pictures are not there"
                raise FolderError(f"{shown(record.picture)}: no such picture; {line}")
    return kept


def list_folder(folder: Path) -> list[Path]:
    """List what is directly in a folder, sorted; what is hidden (`._a.json`) is none of the set's.

    Raises:
      FolderError: it is no folder, or cannot be listed.
    """
    names = (name for name in names_in(folder) if not name.startswith("."))
    return sorted(folder / name for name in names)


def names_in(folder: Path) -> set[str]:
    """Return the names of what is directly in a folder, hidden or not.

    Raises:
      FolderError: it is no folder, or cannot be listed.
    """
    try:
        return set(os.listdir(folder))
    except OSError as problem:
        raise FolderError(f"{folder}: cannot be listed ({problem.strerror})") from None


def find_files(folder: Path, suffixes: Collection[str], problems: list[str]) -> list[Path]:
    """List the files of a folder and those in it by their suffixes, sorted.

    Hidden ones (`._a.jpg`, `.ipynb_checkpoints/`) are none of the set's. A name that is not UTF-8
    could be neither printed nor written, and is left out.

    Raises:
      FolderError: one of the folders cannot be listed.
    """
    found = []
    walked: set[str] = set()
    for top, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(top)
        if real in walked:  # a link that leads back
            folders.clear()
            continue
        walked.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(top, name)
            if name.startswith(".") or path.suffix.lower() not in suffixes:
                continue
            if not is_whole(str(path)):
                problems.append(f"{shown(path)}: its name is not UTF-8; rename it")
            elif os.path.isfile(path):
                found.append(path)
            else:
                problems.append(f"{shown(path)}: no file, or none that can be read")
    return sorted(found)


def _refuse(problem: OSError) -> None:
    raise FolderError(f"{problem.filename}: cannot be listed ({problem.strerror})")


def find_pictures(folder: Path, problems: list[str]) -> list[Path]:
    """List the pictures of a folder and those in it, sorted; hidden files are none.

    Raises:
      FolderError: one of the folders cannot be listed.
    """
    return find_files(folder, SUFFIXES, problems)


def shown(path: Path) -> str:
    """Write the path of a picture, whose name comes from a file, for a message."""
    text = str(path)
    return printable(text if len(text) <= 300 else f"...{text[-300:]}")


def in_order(names: Iterable[str], place: Mapping[str, int]) -> tuple[str, ...]:
    """Sort names as a set's classes or tags are, each once."""
    return tuple(sorted(set(names), key=place.__getitem__))


def make(
    name: str,
    folder: Path,
    records: Sequence[Record],
    problems: Sequence[str] = (),
    **known: Any,
) -> DataSet:
    """Put a data set together, its records by id, and check that ids and names are unique.

    Selections lose the ids of what is not there.

    Raises:
      FolderError: an id, a class, a tag or a word comes twice, or there is no record.
    """
    if ids := twice(r.id for r in records):
        raise FolderError(f"{folder}: {len(ids)} duplicate ids, such as {quoted(ids[0])}")
    for what in ("classes", "tags", "vocabulary"):
        if names := twice(known.get(what) or ()):
            raise FolderError(
                f"{folder}: of its {what}, {listed(names)} come twice; each needs a name of its own"
            )
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


def twice(names: Iterable[Any]) -> list[Any]:
    """List what comes more than once."""
    return [name for name, times in Counter(names).items() if times > 1]


def draw(ids: Collection[str], *shares: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Part ids into shares of these sizes and the rest, at random but always the same.

    >>> draw(["c", "a", "b", "d"], 1, 2)
    [('c',), ('a', 'b'), ('d',)]
    """
    ordered = sorted(ids)
    order = np.random.default_rng(seed).permutation(len(ordered))
    ends = np.cumsum([0, *shares, max(0, len(ordered) - sum(shares))])
    return [tuple(ordered[i] for i in order[start:end]) for start, end in itertools.pairwise(ends)]
