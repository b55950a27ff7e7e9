"""Read HDF5 files, as Keras and MATLAB 7.3 write them.

The HDF5 library is a large body of C that trusts files: a chunk of a few bytes may unpack to all of
the memory, and damage has crashed it or kept it running before. So it runs in a process of its own
(`hdf5_process`, 0.1 s) that sends names and numbers back through a pipe. When that process dies,
the file is refused and nothing else is lost.
"""

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from typing import Any, BinaryIO

import numpy as np

from jaxadv.formats.opening import MIB, FilePath, Refusal, checkpoint

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Of the 200 MB over twice the file's size the arrays have these, the other process the rest.
_ARRAYS_ROOM = 50 * MIB


def read_h5(path: FilePath) -> dict[str, np.ndarray]:
    """Read every dataset of numbers of an HDF5 file by its path, `dense/kernel:0`.

    Text, attributes and empty datasets are left out; links to a dataset inside the file give the
    same array under another name. Raises `PortingError` for everything else: links to and numbers
    in other files, virtual datasets, filters other than gzip and shuffle, records, references,
    complex numbers, files that unpack to more than twice their size and 50 MiB, and where h5py is
    missing.
    """
    with checkpoint(path) as (file, size):
        found = _read(path, file, size)
        arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
        if not arrays:
            raise Refusal("holds no arrays of numbers")
        return arrays


def is_hdf5(path: FilePath) -> bool:
    """Whether a file is HDF5, also behind the header that MATLAB 7.3 puts in front.

    Raises `PortingError` where it cannot be read.
    """
    with checkpoint(path) as (file, _):
        start = file.read(512 + len(SIGNATURE))
        return start.startswith(SIGNATURE) or start[512:] == SIGNATURE


def list_h5(path: FilePath) -> dict[str, tuple[int, ...]]:
    """List the shapes of the datasets of numbers in an HDF5 file, as it stores them.

    Raises `PortingError` as `read_h5` does.
    """
    with checkpoint(path) as (file, size):
        found = _read(path, file, size, mode="shapes")
        return {name: tuple(json.loads(str(shape))) for name, shape in found.items()}


def read_rows(path: FilePath, name: str, start: int, stop: int) -> np.ndarray:
    """Read some rows of one dataset of numbers, for what is larger than the memory.

    Raises `PortingError` as `read_h5` does, and where there is no such dataset.
    """
    with checkpoint(path) as (file, size):
        rows = _read(path, file, size, mode="rows", name=name, rows=[start, stop]).get(name)
        if not isinstance(rows, np.ndarray):
            raise Refusal(f"holds no numbers {name!r}")
        return rows


def read_texts(path: FilePath) -> dict[str, tuple[str, ...]]:
    """Read the datasets of texts, such as names of files; numbers are left out.

    Raises `PortingError` as `read_h5` does.
    """
    with checkpoint(path) as (file, size):
        found = _read(path, file, size, mode="texts")
        return {name: tuple(json.loads(str(texts))) for name, texts in found.items()}


def read_matlab(path: FilePath, file: BinaryIO, size: int) -> dict[str, np.ndarray | str]:
    """Read the variables of an open MATLAB 7.3 file, with MATLAB's axes, as `matlab` names them.

    Raises `Refusal`; short texts are given too.
    """
    found = _read(path, file, size, mode="matlab")
    return {k: v.T if isinstance(v, np.ndarray) else v for k, v in found.items()}


def _read(
    path: FilePath, file: BinaryIO, size: int, mode: str = "numbers", **what: Any
) -> dict[str, np.ndarray | str]:
    """Check that the file is whole, and let the other process read it."""
    _check_whole(file, size)
    if importlib.util.find_spec("h5py") is None:
        raise Refusal("HDF5 files need h5py: pip install 'jaxadv[port]'")
    limit = 2 * size + _ARRAYS_ROOM
    job = json.dumps({"path": os.path.abspath(path), "limit": limit, "mode": mode, **what})
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "jaxadv.formats.hdf5_process", job],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    assert isinstance(process.stdout, io.BufferedReader)
    with process.stdout as pipe:
        try:
            return _receive(pipe, limit)
        except EOFError:
            if process.wait() == -signal.SIGXCPU:
                raise Refusal("takes longer to read than a file of its size may take") from None
            raise Refusal("damaged, or needs too much memory: the HDF5 library stopped") from None
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    """This process's, with its import path, one thread, and no plug-ins that a file may name."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
    }


def _check_whole(file: BinaryIO, size: int) -> None:
    """Compare the length that the file's first block gives with its own."""
    place = 0
    while True:
        file.seek(place)
        block = file.read(64)
        if block.startswith(SIGNATURE):
            break
        place = max(512, 2 * place)
        if place >= size:
            raise Refusal("not an HDF5 file")
    if len(block) < 64 or block[8] > 3:
        raise Refusal("truncated, or of an unknown version of HDF5")
    old = block[8] < 2
    start = {0: 40, 1: 44}.get(block[8], 28)
    if block[13 if old else 9] != 8:
        raise Refusal("an HDF5 file whose addresses do not have 8 bytes")
    end = int.from_bytes(block[start : start + 8], "little")
    if end > size:
        raise Refusal(f"truncated: it should have {end} bytes, and has {size}")


def _receive(pipe: io.BufferedReader, limit: int) -> dict[str, np.ndarray | str]:
    """Collect what the other process sends: lines of JSON, and numbers in parts."""
    found: dict[str, np.ndarray | str] = {}
    while "end" not in (message := _message(pipe)):
        name = message["name"]
        if name in found:
            raise Refusal(f"there are two arrays {name!r}")
        if "text" in message:
            found[name] = message["text"]
        elif "same" in message:
            found[name] = found[message["same"]]
        else:
            values = np.empty(message["shape"], message["dtype"])
            limit -= values.nbytes
            if limit < 0:
                raise Refusal("unpacks to more than twice its size")
            _fill(pipe, values)
            found[name] = values
    return found


def _message(pipe: io.BufferedReader) -> dict[str, Any]:
    """The next line, which may be a refusal, even between two parts of an array."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message: dict[str, Any] = json.loads(line)
    if "refusal" in message:
        raise Refusal(message["refusal"])
    return message


def _fill(pipe: io.BufferedReader, values: np.ndarray) -> None:
    target = values.reshape(-1).view(np.uint8).data
    while len(target):
        size = _message(pipe)["part"]
        if pipe.readinto(target[:size]) < size:
            raise EOFError
        target = target[size:]
