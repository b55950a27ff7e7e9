"""The process in which HDF5 files are read for `hdf5`, with limits on memory and time.

It checks each object before it is read, and writes what there is to its standard output: lines of
JSON, and the numbers of an array in parts, each behind a line with its length.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxadv.formats.opening import MIB, Refusal

MAX_OBJECTS = 10_000  # each takes some 0.5 ms
MAX_DEPTH = 32
MAX_NAME = 300  # with all groups around
MAX_RANK = 32
MAX_TEXT = 256
MAX_TEXTS = 1_000_000  # of one dataset
MAX_CHUNK = 8 * MIB

_ROOM = 80 * MIB  # of memory, in addition to some 50 that the process has to begin with
_AT_ONCE = 4 * MIB

_GZIP, _SHUFFLE = 1, 2
_MATLAB_NUMBERS = {
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


class _Job(NamedTuple):
    """What is to be read: of which file, how many bytes at most, and what of it.

    Attributes:
      path: the file.
      limit: how many bytes of arrays it may turn into.
      mode: all `numbers`, the same with the names of `matlab`, only the `shapes` of numbers, some
        `rows` of one dataset, or the `texts`.
      name: the dataset of which rows are wanted.
      rows: the first of them, and the one behind the last.
    """

    path: str
    limit: int
    mode: str
    name: str = ""
    rows: tuple[int, int] = (0, 0)


def _serve(job: _Job, pipe: BinaryIO) -> None:
    """Read the file of a job in this process and send what is in it."""

    def send(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message).encode() + b"\n")

    try:
        import h5py

        _limit_resources(job.limit)
        with h5py.File(job.path, "r") as file:
            _Sender(file, job, send, pipe).send_all()
        send({"end": True})
    except Refusal as refusal:
        send({"refusal": str(refusal)})
    except MemoryError:
        send({"refusal": "needs more memory than a file of its size may take"})
    except Exception:  # of damaged files h5py raises nearly anything
        send({"refusal": "damaged: the HDF5 library cannot read it"})
    pipe.flush()


def _limit_resources(limit: int) -> None:
    """Bound this process's memory, where the system says what it has, and its time."""
    import resource

    seconds = 6 + limit // (32 * MIB)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            memory = int(file.read().split()[5]) * resource.getpagesize() + _ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


class _Sender:
    """Walks a file and sends its datasets; the first thing that is not accepted is refused."""

    def __init__(
        self, file: Any, job: _Job, send: Callable[[dict[str, Any]], None], pipe: BinaryIO
    ) -> None:
        self._file, self._send, self._pipe = file, send, pipe
        self._left, self._matlab, self._job = job.limit, job.mode == "matlab", job
        self._inside: set[int] = set()
        self._names: dict[int, str] = {}

    def send_all(self) -> None:
        """Send every dataset, after a look at all links: soft ones may lead through others."""
        self._survey()
        levels = [(_address(self._file["/"]), self._members("", self._file))]
        count = 0
        while levels:
            name, item = next(levels[-1][1], ("", None))
            if item is None:
                levels.pop()
                continue
            address = _address(item)
            if any(address == around for around, _ in levels):
                raise Refusal(f"{name!r} is a link that leads back to what it is in")
            count += 1
            if count > MAX_OBJECTS or len(levels) > MAX_DEPTH or len(name) > MAX_NAME:
                raise Refusal(
                    f"more than {MAX_OBJECTS} objects, {MAX_DEPTH} levels of groups or "
                    f"{MAX_NAME} characters in a name"
                )
            levels.append((address, self._visit(name, item)))

    def _survey(self) -> None:
        """Collect what hard links reach; there must be no link to another file."""
        import h5py

        pending = [self._file["/"]]
        while pending:
            group = pending.pop()
            for name in group:
                try:
                    link = group.get(name, getlink=True)
                except TypeError:
                    raise Refusal(f"{name!r} is a link of an unknown kind") from None
                if isinstance(link, h5py.ExternalLink):
                    raise Refusal(f"{name!r} is a link to another file")
                if not isinstance(link, h5py.HardLink):
                    continue
                item = group[name]
                if (address := _address(item)) in self._inside:
                    continue
                self._inside.add(address)
                if len(self._inside) > MAX_OBJECTS:
                    raise Refusal(f"more than {MAX_OBJECTS} objects")
                if isinstance(item, h5py.Group):
                    pending.append(item)

    def _members(self, prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name in group:
            if self._matlab and not prefix and name.startswith("#"):
                continue  # where MATLAB keeps the contents of cells
            if not name.isprintable():
                raise Refusal(f"an object is named {name!r}")
            separator = "." if self._matlab else "/"
            try:
                item = group[name]
            except (KeyError, OSError, RuntimeError):
                raise Refusal(f"{name!r} is a link that leads nowhere, or damaged") from None
            yield f"{prefix}{separator}{name}" if prefix else name, item

    def _visit(self, name: str, item: Any) -> Iterator[tuple[str, Any]]:
        """Send a dataset; give what is in a group, or in a cell."""
        import h5py

        if self._matlab and "MATLAB_sparse" in item.attrs:
            raise Refusal(f"{name!r} is a sparse matrix")
        if isinstance(item, h5py.Group):
            yield from self._members(name, item)
        elif isinstance(item, h5py.Dataset) and item.shape is not None:
            if self._matlab and h5py.check_ref_dtype(item.dtype) is h5py.Reference:
                yield from self._targets(name, item)
            elif self._matlab:
                self._send_variable(name, item)
            else:
                self._send_numbers(name, item, str(item.dtype))

    def _targets(self, name: str, item: Any) -> Iterator[tuple[str, Any]]:
        """The contents of a cell, `name.index`, or of a field in an array of structs."""
        self._check_storage(name, item)
        if item.size > MAX_OBJECTS:
            raise Refusal(f"{name!r} has {item.size} cells, {MAX_OBJECTS} at most are read")
        is_cell = _matlab_class(item) == "cell"
        outer, _, field = name.rpartition(".")
        for index, reference in enumerate(item[()].reshape(-1)):
            target = self._file[reference]
            if _address(target) not in self._inside:
                raise Refusal(f"{name!r} refers to what is not in the file")
            yield f"{name}.{index}" if is_cell else f"{outer}.{index}.{field}", target

    def _send_variable(self, name: str, item: Any) -> None:
        """Send a dataset of MATLAB: numbers, truth values, text or an empty array of those."""
        kind = _matlab_class(item)
        if item.attrs.get("MATLAB_empty"):
            if kind in _MATLAB_NUMBERS:
                self._send_empty(name, item)
        elif kind == "char":
            if item.dtype.kind == "u" and item.size * item.dtype.itemsize <= MAX_TEXT:
                self._check_storage(name, item)
                text = "".join(map(chr, item[()].reshape(-1).tolist()))
                self._send({"name": name, "text": text})
        elif kind not in _MATLAB_NUMBERS:
            raise Refusal(f"{name!r} is an object of class {kind!r}, not numbers")
        else:
            self._send_numbers(name, item, "bool" if kind == "logical" else str(item.dtype))

    def _send_empty(self, name: str, item: Any) -> None:
        """MATLAB stores the shape of an empty array in its place."""
        if item.ndim != 1 or item.size > MAX_RANK or item.dtype.kind not in "iu":
            raise Refusal(f"damaged: {name!r} is empty, without a shape")
        shape = [int(size) for size in item[()]][::-1]
        if math.prod(shape) != 0 or min(shape) < 0:
            raise Refusal(f"damaged: {name!r} is empty, but of shape {shape}")
        self._send({"name": name, "dtype": "float64", "shape": shape})

    def _send_numbers(self, name: str, item: Any, dtype: str) -> None:
        import h5py

        text = h5py.check_string_dtype(item.dtype) is not None or item.dtype.kind == "S"
        if text != (self._job.mode == "texts") or self._job.name not in ("", name):
            return
        if text:
            self._send_texts(name, item)
            return
        if item.dtype.kind not in "biuf" or item.dtype.itemsize > 8:
            raise Refusal(f"dataset {name!r} is of type {item.dtype}, not numbers")
        self._check_storage(name, item)
        if self._job.mode == "shapes":
            self._send({"name": name, "text": json.dumps(item.shape)})
            return
        shape, first = item.shape, 0
        if self._job.mode == "rows":
            first = min(max(0, self._job.rows[0]), item.shape[0] if item.shape else 0)
            last = min(max(first, self._job.rows[1]), item.shape[0] if item.shape else 0)
            shape = (last - first, *item.shape[1:])
        address = _address(item)
        if address in self._names:
            self._send({"name": name, "same": self._names[address]})
            return
        self._names[address] = name
        self._left -= math.prod(shape) * item.dtype.itemsize
        if self._left < 0:
            raise Refusal(f"dataset {name!r} of shape {shape}: more than twice the file's size")
        native = np.dtype(dtype).newbyteorder("=")
        self._send({"name": name, "dtype": native.str, "shape": shape})
        for part in _parts(shape, _AT_ONCE // item.dtype.itemsize, first):
            numbers = np.ascontiguousarray(item[part]).astype(native, copy=False)
            self._send({"part": numbers.nbytes})
            self._pipe.write(numbers.data)

    def _send_texts(self, name: str, item: Any) -> None:
        """Send a list of texts in one line; each is short, as names of files are."""
        self._check_storage(name, item)
        if item.ndim != 1 or item.size > MAX_TEXTS:
            raise Refusal(f"{name!r} is no list of at most {MAX_TEXTS} texts")
        texts: list[str] = []
        for start in range(0, item.size, 1000):
            some = (
                v if isinstance(v, bytes) else str(v).encode() for v in item[start : start + 1000]
            )
            texts += [value.rstrip(b"\0").decode("utf-8", "replace") for value in some]
            self._left -= sum(map(len, texts[-1000:]))
            if self._left < 0:
                raise Refusal(f"the texts of {name!r} are more than twice the file's size")
        self._send({"name": name, "text": json.dumps(texts)})

    def _check_storage(self, name: str, item: Any) -> None:
        """Refuse numbers that are elsewhere, or behind filters other than gzip and shuffle."""
        import h5py

        properties = item.id.get_create_plist()
        if properties.get_layout() not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            raise Refusal(f"dataset {name!r} is virtual: its numbers are in other files")
        if properties.get_external_count():
            raise Refusal(f"dataset {name!r} has its numbers in another file")
        for index in range(properties.get_nfilters()):
            number = properties.get_filter(index)[0]
            if number not in (_GZIP, _SHUFFLE):
                raise Refusal(f"dataset {name!r} needs filter {number}; read are gzip and shuffle")
        if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > MAX_CHUNK:
            raise Refusal(f"dataset {name!r} has chunks of {item.chunks}, more than {MAX_CHUNK} B")


def _parts(shape: tuple[int, ...], limit: int, first: int = 0) -> Iterator[tuple[int | slice, ...]]:
    """Selections of at most `limit` numbers that make up an array in C order, from row `first` on.

    >>> list(_parts((2, 3), 2))
    [(0, slice(0, 2, None)), (0, slice(2, 3, None)), (1, slice(0, 2, None)), (1, slice(2, 3, None))]
    """
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:])
    if row > limit:
        for index in range(first, first + shape[0]):
            for part in _parts(shape[1:], limit):
                yield index, *part
    elif row:
        step = limit // row
        for start in range(first, first + shape[0], step):
            yield (slice(start, min(start + step, first + shape[0])),)


def _matlab_class(item: Any) -> str:
    """What MATLAB calls the type of a dataset; those that others have added are just numbers."""
    value = item.attrs.get("MATLAB_class", b"double")
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)


def _address(item: Any) -> int:
    """What is the same for all links to an object in a file."""
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


if __name__ == "__main__":
    _serve(_Job(**json.loads(sys.argv[1])), sys.stdout.buffer)
