"""Records as lines of JSON, each with a checksum of its own.

A line counts once it ends: what a kill cut off is read by nobody. A line that is damaged is left
out and named; the others count. Files of earlier versions have no checksums (and another ending);
what can be seen of their lines is checked.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.errors import InputError
from jaxadv.formats.errors import FormatError
from jaxadv.formats.text import parse_json

ENDING = ".sealed.jsonl"
FOLDER = "records"
RESUMES = "what was recorded is whole, and the same command resumes from there"
_SEAL = ', "seal": "{}"}}\n'
_DIGITS = 12
_TAIL = len(_SEAL.format("0" * _DIGITS))
_NAMED = 5  # lines of a file, in a message

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("image", "setting", "target", "said", "said_8bit", "data"), str),
    **dict.fromkeys(("success", "success_8bit"), bool),
    **dict.fromkeys(("steps", "k", "excluded", "bits", "samples"), int),
    **dict.fromkeys(("precision", "recall", "norm", "linf", "seconds", "distortion"), (int, float)),
    **dict.fromkeys(("specified", "relevant", "before", "after", "after_8bit"), list),
}
_NUMBERS = ("delta_", "ap_")  # how names of further numbers begin


class StoreError(InputError):
    """A folder of records that cannot be written or read."""


def unwritable(path: Path, problem: OSError) -> StoreError:
    """Make the error of a file that cannot be written while a sweep runs."""
    reason = problem.strerror or type(problem).__name__
    return StoreError(f"{path}: cannot be written ({reason}); {RESUMES}")


class Writer:
    """Appends records to a file of its own; what `append` has written outlasts a kill."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`; the file is made with the first record."""
        self._path = folder / FOLDER / f"{time.time_ns()}-{os.getpid()}{ENDING}"
        self._file: int | None = None

    def append(self, row: dict[str, Any]) -> None:
        """Write a record.

        Raises:
          StoreError: the folder cannot be written; what was written before is whole.
        """
        left = memoryview(seal(json.dumps(row, allow_nan=False)))
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY
                self._file = os.open(self._path, flags, 0o644)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as problem:
            raise unwritable(self._path, problem) from None

    def close(self) -> None:
        """Close the file, once it is on the disk.

        Raises:
          StoreError: the disk does not take it.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.fsync(file)
        except OSError as problem:
            raise unwritable(self._path, problem) from None
        finally:
            os.close(file)


def seal(text: str) -> bytes:
    """Make a line of an object in JSON, with a checksum as its last entry."""
    digits = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return (text[:-1] + _SEAL.format(digits)).encode()


class Line(NamedTuple):
    """A whole record, and where it is."""

    file: Path
    offset: int
    raw: bytes
    row: dict[str, Any]


def read_lines(folder: Path, problems: list[str]) -> Iterator[Line]:
    """Walk through all whole records of a folder; `problems` gets a line for each damaged file."""
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        damaged: list[int] = []
        try:
            yield from _lines_of(path, damaged)
        except OSError as problem:
            problems.append(f"{path}: cannot be read ({problem.strerror}); left out")
        if damaged:
            named = ", ".join(map(str, damaged[:_NAMED]))
            more = f" and {len(damaged) - _NAMED:,} more" if len(damaged) > _NAMED else ""
            what = "line is" if len(damaged) == 1 else "lines are"
            problems.append(f"{path}: {len(damaged):,} {what} damaged and left out ({named}{more})")


def _lines_of(path: Path, damaged: list[int]) -> Iterator[Line]:
    with path.open("rb") as file:
        offset = 0
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                break  # cut off by a kill, or being written
            row = row_of(raw, path)
            if row is None:
                damaged.append(number)
            else:
                yield Line(path, offset, raw, row)
            offset += len(raw)


def row_of(raw: bytes, path: Path) -> dict[str, Any] | None:
    """Return the record of a line; None where it is damaged."""
    sealed = path.name.endswith(ENDING)
    try:
        text = raw.decode()
        if sealed:
            text = text[:-_TAIL] + "}"
            if seal(text) != raw:
                return None
        row = parse_json(text, path.name)
    except (UnicodeDecodeError, FormatError):
        return None
    return row if _is_record(row, sealed) else None


def _is_record(row: Any, sealed: bool) -> bool:
    if not isinstance(row, dict) or not {"cell", "id", "failed"} <= row.keys():
        return False
    whole = isinstance(row["cell"], str) and type(row["id"]) is int
    if not whole or not isinstance(row["failed"], str | None):
        return False
    return sealed or all(_fits(name, value) for name, value in row.items())


def _fits(name: str, value: Any) -> bool:
    """Return whether a value may be that of a column, as far as that is known."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, int) and abs(value) >= 2**63:
        return False
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        return False
    kind = (int, float) if name.startswith(_NUMBERS) else _KINDS.get(name)
    if value is None or kind is None:
        return not isinstance(value, dict)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
