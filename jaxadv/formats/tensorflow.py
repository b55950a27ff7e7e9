"""Read TensorFlow checkpoints of format V2 ("tensor bundles") without TensorFlow.

A bundle is `<prefix>.index`, a LevelDB table of one protobuf message for each variable (type,
shape, shard, offset, length, checksum), and `<prefix>.data-00000-of-00001` and so on, the raw
numbers. Blocks of the table and tensors carry CRC-32C checksums, which are all verified.
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxadv.formats.errors import quoted
from jaxadv.formats.opening import FilePath, Refusal, checkpoint
from jaxadv.formats.safetensors import read_tensor, tensor_bytes

# Keys of a table are stored as differences, so that short files can declare long ones.
MAX_INDEX = 16_000_000
MAX_KEY = 1_000
MAX_VALUE = 10_000
MAX_ENTRIES = 50_000
MAX_RANK = 32

_PART = r"\.(index|data-\d{5}-of-\d{5})"

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # a block's compression and checksum

_MOST_NUMBER = 7  # of the fields that are read
_SLICES = 7  # a variable's field of its partitions
_STRING = 7
_DTYPES = {
    1: "F32",
    2: "F64",
    3: "I32",
    4: "U8",
    5: "I16",
    6: "I8",
    9: "I64",
    10: "BOOL",
    14: "BF16",
    17: "U16",
    19: "F16",
    22: "U32",
    23: "U64",
}

_CHECKED_AT_ONCE = 1 << 23


class _Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def read_tensorflow(path: FilePath) -> dict[str, np.ndarray]:
    """Read every variable of a TensorFlow V2 checkpoint by its name.

    `path` is the checkpoint's prefix (`model.ckpt-2000000`), its `.index` or one of its `.data-`
    files; all of its files must be there. bfloat16 is widened to float32, text is left out. Raises
    `PortingError` for everything else: partitioned variables, other types, compressed tables (which
    TensorFlow does not write), big-endian numbers, wrong checksums.
    """
    prefix = _prefix(path)
    with checkpoint(f"{prefix}.index") as (file, size):
        if size > MAX_INDEX:
            raise Refusal(f"an index of {size} bytes, {MAX_INDEX} at most are read")
        shards, entries = _read_index(file.read())
    tensors: dict[str, np.ndarray] = {}
    for shard in sorted({entry.shard for entry in entries}):
        name = f"{prefix}.data-{shard:05d}-of-{shards:05d}"
        with checkpoint(name) as (file, size):
            tensors |= _read_shard(file, size, [e for e in entries if e.shard == shard])
    return {entry.name: tensors[entry.name] for entry in entries}


def is_index(end: bytes) -> bool:
    """Whether the last 8 bytes of a file are those of a bundle's index."""
    return int.from_bytes(end, "little") == _MAGIC


def is_data(path: FilePath) -> bool:
    """Whether a file has the name of a bundle's data, `.data-00000-of-00001`."""
    return re.search(r"\.data-\d{5}-of-\d{5}\Z", os.fspath(path)) is not None


def bundle_files(path: FilePath) -> list[Path]:
    """Return the files of a checkpoint that is there: its index, then its data."""
    prefix = Path(_prefix(path))
    part = re.compile(re.escape(prefix.name) + _PART)
    files = sorted(file for file in prefix.parent.iterdir() if part.fullmatch(file.name))
    return [files[-1], *files[:-1]]


def _prefix(path: FilePath) -> str:
    return re.sub(_PART + r"\Z", "", os.fspath(path))


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli) of `data`, or of what had the checksum `crc` with `data` behind it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    state = crc ^ 0xFFFFFFFF
    lanes = 4096
    length = len(data) // lanes
    if length > 16:
        # Parts of equal length side by side, each from 0, then put together in pairs.
        parts = np.frombuffer(data, np.uint8, lanes * length).reshape(lanes, length)
        states = np.zeros(lanes, np.uint32)
        for column in np.ascontiguousarray(parts.T):
            states = _TABLE[(states ^ column) & 0xFF] ^ (states >> np.uint32(8))
        behind = _zeros(length)
        while len(states) > 1:
            states = _apply(behind, states[0::2]) ^ states[1::2]
            behind = _apply(behind, behind)
        state = int(_apply(behind, np.array([state], np.uint32))[0] ^ states[0])
        data = data[lanes * length :]
    for byte in data:
        state = _LIST[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def _make_table() -> np.ndarray:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, np.uint32(0x82F63B78), np.uint32(0)) ^ (values >> 1)
    return values.astype(np.uint32)


_TABLE = _make_table()
_LIST = _TABLE.tolist()


def _apply(operator: np.ndarray, states: np.ndarray) -> np.ndarray:
    """A linear map of 32 bits, given as its values for each byte at each of four places."""
    return (
        operator[0][states & 0xFF]
        ^ operator[1][(states >> 8) & 0xFF]
        ^ operator[2][(states >> 16) & 0xFF]
        ^ operator[3][states >> 24]
    )


def _zeros(count: int) -> np.ndarray:
    """The linear map of a checksum's state that `count` bytes of 0 are."""
    places = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    result, power = places, _TABLE[places & 0xFF] ^ (places >> 8)
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _unmask(masked: int) -> int:
    """The checksum that was stored; LevelDB rotates it and adds a constant."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _read_index(data: bytes) -> tuple[int, list[_Entry]]:
    """The number of shards, and the entries of the variables that are numbers."""
    if len(data) < _FOOTER or not is_index(data[-8:]):
        raise Refusal("not the index of a TensorFlow checkpoint, or truncated")
    footer = data[-_FOOTER:]
    _, position = _handle(footer, 0)
    place, _ = _handle(footer, position)
    pairs = _pairs(data, place)
    key, header = next(pairs, (b"", b""))
    if key or not header:
        raise Refusal("its index does not begin with a bundle's header")
    shards = _read_header(header)
    entries = [entry for key, value in pairs if (entry := _read_entry(key, value, shards))]
    if not entries:
        raise Refusal("holds no variables of numbers")
    return shards, entries


def _pairs(data: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, strictly in the order of the keys, from its index block."""
    last, count, end = None, 0, 0
    for _, handle in _block(data, place):
        (offset, size), _ = _handle(handle, 0)
        if offset < end:
            raise Refusal("damaged index: its blocks overlap")
        end = offset + size
        for key, value in _block(data, (offset, size)):
            count += 1
            if last is not None and key <= last:
                raise Refusal(
                    f"damaged index: variable {quoted(_text(key))} is out of order, or twice"
                )
            if count > MAX_ENTRIES:
                raise Refusal(f"more than {MAX_ENTRIES} variables")
            last = key
            yield key, value


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """The offset and length of a block, and the position behind them."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _block(data: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; each key says what it shares with the one before."""
    offset, size = place
    end = offset + size
    if size < 4 or end + _TRAILER > len(data) - _FOOTER:
        raise Refusal("damaged index: a block lies outside of the file")
    (masked,) = struct.unpack_from("<I", data, end + 1)
    if crc32c(data[offset : end + 1]) != _unmask(masked):
        raise Refusal("damaged index: a block's checksum is wrong")
    if data[end] != 0:
        raise Refusal("its index is compressed; restore and save it with TensorFlow 1.2 or later")
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    end -= 4 + 4 * restarts
    if end < offset:
        raise Refusal("damaged index: a block has more restarts than bytes")
    key = b""
    while offset < end:
        shared, offset = _varint(data, offset)
        rest, offset = _varint(data, offset)
        length, offset = _varint(data, offset)
        too_long = shared + rest > MAX_KEY or length > MAX_VALUE or offset + rest + length > end
        if shared > len(key) or too_long:
            raise Refusal("damaged index: a name or value does not fit its block")
        key = key[:shared] + data[offset : offset + rest]
        offset += rest + length
        yield key, data[offset - length : offset]


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer of up to 64 bits, 7 in each byte, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise Refusal("damaged index: a number is cut off")
        value |= (data[position] & 0x7F) << shift
        position += 1
        if data[position - 1] < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise Refusal("damaged index: a number has more than 64 bits")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message, as they come."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire not in (1, 2, 5):
            raise Refusal("damaged index: a message has a field of unknown form")
        length = {1: 8, 5: 4}.get(wire)
        if length is None:
            length, position = _varint(message, position)
        position += length
        if position > len(message):
            raise Refusal("damaged index: a message is cut off")
        part = message[position - length : position]
        yield tag >> 3, part if wire == 2 else int.from_bytes(part, "little")


def _last(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field with a number that is known here.

    Others are passed over: a file could choose numbers that collide in the dict.
    """
    return {number: value for number, value in _fields(message) if number <= _MOST_NUMBER}


def _read_header(message: bytes) -> int:
    """The number of shards of a `BundleHeaderProto`."""
    fields = _last(message)
    shards = fields.get(1, 0)
    if not isinstance(shards, int) or not 0 < shards < 100_000:
        raise Refusal("damaged index: an impossible number of data files")
    if fields.get(2, 0) != 0:
        raise Refusal("its numbers are big-endian")
    return shards


def _read_entry(key: bytes, message: bytes, shards: int) -> _Entry | None:
    """What a `BundleEntryProto` says of a variable, None of text."""
    name = _text(key)
    last = _last(message)
    if _SLICES in last:
        raise Refusal(f"variable {quoted(name)} is partitioned; save it in one piece")
    kind = last.get(1, 0)
    if kind == _STRING:
        return None
    if not isinstance(kind, int) or kind not in _DTYPES:
        raise Refusal(f"variable {quoted(name)} is of TensorFlow's type {kind!s:.20}, not numbers")
    shape = _read_shape(name, last.get(2, b""))
    numbers = [last.get(number, 0) for number in (3, 4, 5, 6)]
    shard, offset, size, masked = (n if isinstance(n, int) else -1 for n in numbers)
    if not 0 <= shard < shards or min(offset, size, masked) < 0:
        raise Refusal(f"variable {quoted(name)} has an impossible place")
    dtype = _DTYPES[kind]
    if size != tensor_bytes(dtype, shape):
        raise Refusal(f"variable {quoted(name)} of type {dtype}, shape {shape} has {size} bytes")
    return _Entry(name, dtype, shape, shard, offset, size, _unmask(masked))


def _read_shape(name: str, message: int | bytes) -> tuple[int, ...]:
    """The sizes of a `TensorShapeProto`."""
    if not isinstance(message, bytes):
        raise Refusal(f"variable {quoted(name)} has no shape")
    sizes = []
    for number, value in _fields(message):
        if number != 2 or not isinstance(value, bytes):
            raise Refusal(f"variable {quoted(name)} has an unknown shape")
        size = _last(value).get(1, 0)
        if not isinstance(size, int) or size >= 1 << 63:
            raise Refusal(f"variable {quoted(name)} has an impossible shape")
        sizes.append(size)
    if len(sizes) > MAX_RANK:
        raise Refusal(
            f"variable {quoted(name)} has {len(sizes)} dimensions, {MAX_RANK} at most are read"
        )
    return tuple(sizes)


def _read_shard(file: BinaryIO, size: int, entries: list[_Entry]) -> dict[str, np.ndarray]:
    """The variables that lie in one data file, which must not share bytes with each other."""
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.size)):
        if entry.offset < end:
            raise Refusal(f"variable {quoted(entry.name)} overlaps another one")
        end = entry.offset + entry.size
        if end > size:
            raise Refusal(
                f"truncated: variable {quoted(entry.name)} ends at {end}, the file at {size}"
            )
    tensors = {}
    for entry in entries:
        _verify(file, entry)
        file.seek(entry.offset)
        tensors[entry.name] = read_tensor(file, entry.dtype, entry.shape)
    return tensors


def _verify(file: BinaryIO, entry: _Entry) -> None:
    """Compare a variable's bytes with its checksum."""
    file.seek(entry.offset)
    crc, left = 0, entry.size
    while left:
        piece = file.read(min(_CHECKED_AT_ONCE, left))
        if not piece:
            raise Refusal("truncated while it was read")
        crc = crc32c(piece, crc)
        left -= len(piece)
    if crc != entry.checksum:
        raise Refusal(f"damaged: the checksum of variable {quoted(entry.name)} is wrong")


def _text(key: bytes) -> str:
    try:
        name = key.decode()
    except UnicodeDecodeError:
        raise Refusal(f"damaged index: a variable is named {quoted(key)}") from None
    if not name.isprintable():
        raise Refusal(f"damaged index: a variable is named {quoted(name)}")
    return name
