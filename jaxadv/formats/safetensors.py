"""Read `.safetensors` files: a JSON table of names, types, shapes and places, then raw numbers."""

import json
import math
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxadv.formats.errors import quoted
from jaxadv.formats.opening import FilePath, Refusal, checkpoint

# The table may become 25 times as large in memory as it is in the file.
MAX_HEADER = 4_000_000
MAX_RANK = 32

BFLOAT16 = "BF16"
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
    BFLOAT16: "<u2",
}
_WIDENED_AT_ONCE = 1 << 20


class _Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(path: FilePath) -> dict[str, np.ndarray]:
    """Read every tensor of a `.safetensors` file by its name; bfloat16 is widened to float32.

    The tensors must fill the file after its table exactly, without overlaps or gaps. Raises
    `PortingError` for everything else, and for types that numpy does not have (8-bit floats).
    """
    with checkpoint(path) as (file, size):
        if size < 8:
            raise Refusal("not a safetensors file (shorter than 8 bytes)")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > size - 8:
            sizes = f"table of {length} bytes in a file of {size}"
            raise Refusal(f"not a safetensors file, or truncated ({sizes})")
        if length > MAX_HEADER:
            raise Refusal(f"its table takes {length} bytes, {MAX_HEADER} at most are read")
        entries = _read_table(file.read(length))
        _check_places(entries, size - 8 - length)
        tensors = {}
        for name, dtype, shape, begin, _ in entries:
            file.seek(8 + length + begin)
            tensors[name] = read_tensor(file, dtype, shape)
        return tensors


def read_tensor(file: BinaryIO, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read little-endian numbers of a type in `DTYPES`, in C order, from where `file` stands."""
    count = math.prod(shape)
    if dtype == BFLOAT16:
        return _read_bfloat16(file, count).reshape(shape)
    values = np.fromfile(file, DTYPES[dtype], count)
    if dtype == "BOOL" and (values.view(np.uint8) > 1).any():
        raise Refusal("a truth value that is neither 0 nor 1")
    return values.reshape(shape)


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The length in the file of a tensor of a type in `DTYPES`."""
    return np.dtype(DTYPES[dtype]).itemsize * math.prod(shape)


def _read_bfloat16(file: BinaryIO, count: int) -> np.ndarray:
    """Upper halves of float32, piece by piece, as in one go they would take 3 times the file."""
    values = np.empty(count, np.float32)
    bits = values.view(np.uint32)
    for start in range(0, count, _WIDENED_AT_ONCE):
        halves = np.fromfile(file, "<u2", min(_WIDENED_AT_ONCE, count - start))
        np.left_shift(halves, 16, out=bits[start : start + len(halves)], dtype=np.uint32)
    return values


def _read_table(text: bytes) -> list[_Entry]:
    """The entries of the JSON table, in the order of their places."""
    if not text.startswith(b"{"):
        raise Refusal("not a safetensors file (its table does not begin with a brace)")
    try:
        table = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise Refusal("its table is nested too deep") from None
    except ValueError:  # of JSON, of UTF-8, or of a number of thousands of digits
        raise Refusal("damaged: its table is not JSON in UTF-8") from None
    table.pop("__metadata__", None)
    if not table:
        raise Refusal("holds no tensors")
    entries = [_entry(name, fields) for name, fields in table.items()]
    return sorted(entries, key=lambda entry: (entry.begin, entry.end))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refusal("its table has the same key twice")
    return found


def _entry(name: str, fields: Any) -> _Entry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"tensor {quoted(name)} is not described by dtype, shape and data_offsets")
    dtype, shape, places = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise Refusal(
            f"tensor {quoted(name)} is of type {quoted(dtype)}; read are {', '.join(DTYPES)}"
        )
    if not _are_sizes(shape) or not _are_sizes(places) or len(places) != 2:
        raise Refusal(f"tensor {quoted(name)} has an impossible shape or place")
    begin, end = places
    if end - begin != tensor_bytes(dtype, tuple(shape)):
        raise Refusal(
            f"tensor {quoted(name)} of type {dtype}, shape {shape} has {end - begin} bytes"
        )
    return _Entry(name, dtype, tuple(shape), begin, end)


def _are_sizes(numbers: Any) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) <= MAX_RANK
        and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
    )


def _check_places(entries: list[_Entry], size: int) -> None:
    """Each tensor must begin where the one before ends, the last must end with the file."""
    end = 0
    for entry in entries:
        if entry.begin != end:
            problem = "overlaps the tensor before it" if entry.begin < end else "follows a gap"
            raise Refusal(f"tensor {quoted(entry.name)} {problem}")
        end = entry.end
    if end != size:
        problem = "truncated" if end > size else "bytes that belong to no tensor"
        raise Refusal(f"{problem}: the tensors take {end} bytes, the file has {size}")
