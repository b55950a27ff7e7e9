"""Read `.mat` files of MATLAB 5 to 7.3, and the networks that MatConvNet keeps in them.

Files of MATLAB 5 to 7.2 are parsed here: `scipy.io.loadmat` allocates what a file declares and
recurses as deep as it is nested, both before it has seen that there is nothing behind it. Files of
MATLAB 7.3 are HDF5 and left to `hdf5`.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from jaxadv.formats import hdf5
from jaxadv.formats.opening import MIB, FilePath, Refusal, checkpoint, room

MAX_MATRICES = 100_000  # cells and empty ones included
MAX_DEPTH = 16
MAX_RANK = 32
MAX_NAME = 63  # of one variable or field, as in MATLAB itself
MAX_PATH = 300  # of an array with all that is around it
MAX_FIELDS = 4096
MAX_TEXT = 256  # bytes; longer texts are no names of layers

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = range(6, 16)
_OTHER = {3: "an object", 5: "a sparse matrix", 16: "a function", 17: "an object"}
_LOGICAL, _COMPLEX = 0x200, 0x800
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

# What MatConvNet's fields of a layer are called here.
_PARAMETERS = {
    "weights.0": "weight",
    "weights.1": "bias",
    "weights.2": "moments",
    "filters": "weight",
    "biases": "bias",
}

Found = dict[str, np.ndarray | str]


def read_mat(path: FilePath) -> dict[str, np.ndarray]:
    """Read every array of numbers of a `.mat` file, with MATLAB's axes, in the type it is stored.

    What lies in structs and cells is named by its way there, counted from 0 in MATLAB's order:
    `net.layers.2.pad`. The layers of a MatConvNet network go by their own names and those of their
    parameters: `conv1.weight` (`weights` or `filters`), `conv1.bias`, `conv1.pad`; what is under
    `meta.normalization` is under `normalization`. Text is left out.

    Raises `PortingError` for everything else: objects, functions, sparse and complex matrices,
    files of MATLAB 4, and files that unpack to more than twice their size and 90 MiB.
    """
    with checkpoint(path) as (file, size):
        header = file.read(_HEADER)
        if header.startswith(hdf5.SIGNATURE) or header[124:128] == b"\0\2IM":
            found = hdf5.read_matlab(path, file, size)
        else:
            found = _read_version_5(file, header, size)
        arrays = _rename_layers(found)
        if not arrays:
            raise Refusal("holds no arrays of numbers")
        return arrays


def _rename_layers(found: Found) -> dict[str, np.ndarray]:
    """The arrays of numbers, those of a MatConvNet network under the names of its layers."""
    arrays: dict[str, np.ndarray] = {}
    for key, value in found.items():
        if isinstance(value, str):
            continue
        name = re.sub(r"^(net\.)?(meta\.)?normalization\.", "normalization.", key)
        if match := re.match(r"((?:net\.)?layers\.\d+)\.(.+)", key):
            layer = found.get(f"{match[1]}.name")
            if isinstance(layer, str) and layer and layer.isprintable():
                name = f"{layer}.{_PARAMETERS.get(match[2], match[2])}"
        if name in arrays:
            raise Refusal(f"there are two arrays {name!r}")
        arrays[name] = value
    return arrays


def _read_version_5(file: BinaryIO, header: bytes, size: int) -> Found:
    """Read the variables one after the other; each is checked before it is unpacked."""
    order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(header[124:128])
    if order is None:
        raise Refusal("not a file of MATLAB 5 to 7.3, or truncated")
    reader = _Reader(order)
    left, position = room(size), _HEADER
    while position < size:
        tag = file.read(8)
        if len(tag) < 8:
            raise Refusal("truncated")
        kind, length = struct.unpack(f"{order}II", tag)
        position += 8 + length
        if position > size:
            raise Refusal(f"truncated: a variable ends at {position}, the file at {size}")
        if kind == _COMPRESSED:
            matrix = _unpack(_inflate(file, length), order, left)
        elif kind == _MATRIX:
            matrix = np.fromfile(file, np.uint8, length)
        else:
            raise Refusal(f"damaged: element of type {kind} where a variable should be")
        left -= len(matrix)
        reader.read(matrix, "", 0)
    return reader.found


def _inflate(file: BinaryIO, length: int) -> Iterator[bytes]:
    """Unpack a number of bytes of the file, in pieces of 1 MiB at most."""
    stream = zlib.decompressobj()
    while not stream.eof:
        packed = stream.unconsumed_tail or file.read(min(MIB, length))
        if not stream.unconsumed_tail:
            length -= len(packed)
        piece = stream.decompress(packed, MIB)
        if not packed and not piece:
            raise Refusal("truncated: a compressed variable has no end")
        yield piece
    if length or stream.unused_data:
        raise Refusal("damaged: bytes behind the end of a compressed variable")


def _unpack(pieces: Iterator[bytes], order: str, limit: int) -> np.ndarray:
    """The contents of the one element that is compressed, which begins with its length."""
    start = b""
    while len(start) < 8:
        piece = next(pieces, None)
        if piece is None:
            raise Refusal("damaged: a compressed variable is too short")
        start += piece
    kind, length = struct.unpack(f"{order}II", start[:8])
    if kind != _MATRIX:
        raise Refusal(f"damaged: element of type {kind} where a variable should be")
    if length > limit:
        raise Refusal(f"unpacks to more than twice its size ({length} bytes, {limit} are left)")
    unpacked = np.empty(length, np.uint8)
    filled, piece = 0, start[8:]
    while piece is not None:
        if filled + len(piece) > length:
            raise Refusal("damaged: a compressed variable is longer than it says")
        unpacked[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
        piece = next(pieces, None)
    if filled < length:
        raise Refusal("damaged: a compressed variable is shorter than it says")
    return unpacked


@dataclass
class _Reader:
    """Collects the arrays in variables, as views of their bytes, and short texts."""

    order: str
    found: Found = field(default_factory=dict)
    count: int = 0

    def read(self, data: np.ndarray, name: str, depth: int) -> None:
        """Add what a matrix (the contents of its element) holds; a variable has its own name."""
        self.count += 1
        if self.count > MAX_MATRICES:
            raise Refusal(f"more than {MAX_MATRICES} matrices")
        if not len(data):
            return  # an empty cell
        if depth > MAX_DEPTH:
            raise Refusal(f"nested more than {MAX_DEPTH} deep")
        elements = self._elements(data)
        flags = int(self._numbers(*_next(elements), 6)[0])
        sizes = self._numbers(*_next(elements), 5)
        if not 2 <= len(sizes) <= MAX_RANK or sizes.min() < 0:
            raise Refusal(f"damaged: {name or 'a variable'} has an impossible shape")
        shape = tuple(sizes.tolist())
        own = _name(self._numbers(*_next(elements), 1))
        name = name or own
        if not name:
            raise Refusal("a variable without a name, as functions and objects bring with them")
        kind = flags & 0xFF
        if kind == _CELL:
            self._read_cell(elements, shape, name, depth)
        elif kind == _STRUCT:
            self._read_struct(elements, shape, name, depth)
        elif kind == _CHAR:
            self._read_text(elements, name)
        elif kind in _NUMBERS:
            self._read_array(elements, shape, name, flags)
        else:
            raise Refusal(f"{name!r} is {_OTHER.get(kind, 'of an unknown class')}, not numbers")

    def _elements(self, data: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Types and contents of the elements in `data`, padded to 8 bytes each."""
        position, end = 0, len(data)
        while position + 8 <= end:
            kind, length = struct.unpack_from(f"{self.order}II", data.data, position)
            start = position + 8
            position = start + -(-length // 8) * 8
            if kind >> 16:  # a short element has its length and contents in the tag
                kind, length, start, position = kind & 0xFFFF, kind >> 16, start - 4, start
                if length > 4:
                    raise Refusal("damaged: a short element is too long")
            if start + length > end:
                raise Refusal("damaged: an element ends behind the one around it")
            yield kind, data[start : start + length]
        if position < end:
            raise Refusal("damaged: an element is cut off")

    def _numbers(self, kind: int, data: np.ndarray, wanted: int | None = None) -> np.ndarray:
        """The numbers in an element, in native byte order."""
        if kind not in _STORED or wanted not in (None, kind):
            raise Refusal(f"damaged: element of type {kind} where numbers should be")
        dtype = np.dtype(self.order + _STORED[kind])
        if len(data) % dtype.itemsize:
            raise Refusal("damaged: an element ends within a number")
        values = data.view(dtype)
        return values if dtype.isnative else _to_native(values)

    def _read_array(
        self,
        elements: Iterator[tuple[int, np.ndarray]],
        shape: tuple[int, ...],
        name: str,
        flags: int,
    ) -> None:
        if flags & _COMPLEX:
            raise Refusal(f"{name!r} is complex, not real numbers")
        values = self._numbers(*_next(elements))
        if len(values) != math.prod(shape):
            raise Refusal(f"damaged: {name!r} of shape {shape} has {len(values)} numbers")
        if flags & _LOGICAL:
            if values.dtype != np.uint8 or (values > 1).any():
                raise Refusal(f"damaged: {name!r} has a truth value that is neither 0 nor 1")
            values = values.view(np.bool_)
        self._add(name, values.reshape(shape, order="F"))

    def _read_text(self, elements: Iterator[tuple[int, np.ndarray]], name: str) -> None:
        kind, data = _next(elements)
        if kind not in _TEXT:
            raise Refusal(f"damaged: {name!r} is text of unknown type {kind}")
        encoding = _TEXT[kind]
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        if len(data) <= MAX_TEXT:
            self._add(name, data.tobytes().decode(encoding, "replace"))

    def _read_cell(
        self,
        elements: Iterator[tuple[int, np.ndarray]],
        shape: tuple[int, ...],
        name: str,
        depth: int,
    ) -> None:
        for index in range(math.prod(shape)):
            self.read(_next_matrix(elements), f"{name}.{index}", depth + 1)

    def _read_struct(
        self,
        elements: Iterator[tuple[int, np.ndarray]],
        shape: tuple[int, ...],
        name: str,
        depth: int,
    ) -> None:
        """Read a struct, `name.field`, or an array of them, `name.index.field`."""
        width = self._numbers(*_next(elements), 5)
        names = self._numbers(*_next(elements), 1)
        if width.shape != (1,) or not 0 < width[0] <= MAX_NAME + 1 or len(names) % width[0]:
            raise Refusal(f"damaged: the fields of {name!r} have impossible names")
        if len(names) > MAX_FIELDS * width[0]:
            raise Refusal(f"{name!r} has more than {MAX_FIELDS} fields")
        fields = [_name(row) for row in names.reshape(-1, int(width[0]))]
        if not fields:
            return
        count = math.prod(shape)
        for index in range(count):
            prefix = name if count == 1 else f"{name}.{index}"
            for key in fields:
                self.read(_next_matrix(elements), f"{prefix}.{key}", depth + 1)

    def _add(self, name: str, value: np.ndarray | str) -> None:
        if name in self.found:
            raise Refusal(f"there are two arrays {name!r}")
        if len(name) > MAX_PATH:
            raise Refusal(f"a name of more than {MAX_PATH} characters")
        self.found[name] = value


def _to_native(values: np.ndarray) -> np.ndarray:
    """In place: each byte of a file is in one element only."""
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))


def _next(elements: Iterator[tuple[int, np.ndarray]]) -> tuple[int, np.ndarray]:
    element = next(elements, None)
    if element is None:
        raise Refusal("damaged: an element is missing")
    return element


def _next_matrix(elements: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    kind, data = _next(elements)
    if kind != _MATRIX:
        raise Refusal(f"damaged: element of type {kind} in a cell or struct")
    return data


def _name(characters: np.ndarray) -> str:
    """The name of a variable or field, up to its first 0."""
    name = characters[: MAX_NAME + 1].tobytes().split(b"\0")[0].decode("latin-1")
    if len(name) > MAX_NAME or not name.isprintable():
        raise Refusal(f"damaged: a variable or field is named {name!r}")
    return name
