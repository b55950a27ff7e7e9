"""Reading a file's bytes, and writing a file so that it is whole or absent."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxadv.formats.errors import FormatError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: Path) -> int:
    """Return the size in bytes of a regular file.

    Reading a pipe or a device would wait forever or never end, so nothing else is opened.

    Raises:
      FormatError: it is absent, may not be looked at, or is no regular file.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        reason = getattr(problem, "strerror", None) or "not a file name"
        raise FormatError(f"{path}: cannot be read ({reason})") from None
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            raise FormatError(f"{path}: {kind}, where a file is expected")
    return found.st_size


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a regular file whole.

    Args:
      path: the file.
      most: the largest size in bytes that is read; any size by default.

    Raises:
      FormatError: it cannot be read, is no regular file, or is larger than `most`.
    """
    size = check_file(path)
    if most is not None and size > most:
        raise FormatError(f"{path}: {size:,} bytes, more than the {most:,} that are read")
    try:
        return path.read_bytes()
    except OSError as problem:
        raise FormatError(f"{path}: cannot be read ({problem.strerror})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file in the folder of `path` to write to, and move it into place at the end.

    The name is of this call alone, so that two processes do not write one file. Where the block
    raises, `path` stays as it was and the new file is removed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        mask = os.umask(0)
        os.umask(mask)
        scratch.chmod(0o666 & ~mask)  # mkstemp lets the owner alone read it
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; the file is whole or absent."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def user_cache(name: str) -> Path | None:
    """Make a folder of this project in the user's own cache, readable by no one else.

    None where the user has none: in a container, the user may have no home.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "jaxadv" / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except (OSError, RuntimeError):
        return None
    return folder
