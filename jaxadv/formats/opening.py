"""What the readers share: how a file is opened and refused, and how much memory it may take."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from jaxadv.errors import InputError
from jaxadv.formats.errors import PortingError

FilePath = str | os.PathLike[str]

MIB = 1 << 20


class Refusal(Exception):
    """What is wrong with the file that `checkpoint` has open; it becomes a `PortingError`."""


@contextmanager
def checkpoint(path: FilePath) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, with its size; whatever goes wrong inside leaves as a `PortingError`.

    Damaged files make readers raise nearly anything, `MemoryError` and `RecursionError` included.
    Warnings are about the file too, and stay inside.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_regular_file(path)
            with open(path, "rb") as file:
                yield file, os.fstat(file.fileno()).st_size
            return
        except InputError:
            raise
        except Refusal as refusal:
            problem = str(refusal)
        except OSError as error:
            problem = f"cannot be read ({error.strerror or 'damaged'})"
        except MemoryError:
            problem = "needs more memory than there is"
        except RecursionError:
            problem = "not read: nested too deep"
        except Exception:  # of the reader's library, in words that say nothing to a person
            problem = "damaged: its parts do not fit together"
    raise _error(path, problem) from None


def room(size: int) -> int:
    """How many bytes of arrays a file of `size` bytes may turn into.

    Twice the file and half of the 200 MB of which the other half is left to the readers.
    """
    return 2 * size + 90 * MIB


def _check_regular_file(path: FilePath) -> None:
    """Refuse folders, devices and pipes (which might never end), and files of 0 bytes."""
    try:
        status = os.stat(path)
    except ValueError:  # a NUL in the name
        raise Refusal("not a file name") from None
    if stat.S_ISDIR(status.st_mode):
        raise Refusal("this is a folder; give the checkpoint's file")
    if not stat.S_ISREG(status.st_mode):
        raise Refusal("not a regular file")
    if status.st_size == 0:
        raise Refusal("the file is empty (0 bytes)")


def _error(path: FilePath, problem: str) -> PortingError:
    """A `PortingError` on one line, whatever the names of the file and of what is in it."""
    name = str(path)
    if not name or not name.isprintable():
        name = ascii(name)
    line = " ".join(problem.split())
    if not line.isprintable():
        line = ascii(line)[1:-1]
    return PortingError(f"{name}: {line if len(line) <= 300 else line[:297] + '...'}")


def quote(name: str) -> str:
    """A name from the file, fit for one line."""
    return clip(ascii(name[:80]))


def clip(text: str) -> str:
    """A text, cut where it has more than 80 characters."""
    return text if len(text) <= 80 else f"{text[:76]}..."
