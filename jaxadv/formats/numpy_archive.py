"""Read `.npz` archives of plain numbers; nothing in them is unpickled."""

import io
import math
import zipfile
import zlib
from typing import IO, BinaryIO

import numpy as np

from jaxadv.formats.opening import MIB, FilePath, Refusal, checkpoint, clip, room

# `zipfile` makes an object of some 600 bytes of each entry of 50 bytes or more.
MAX_DIRECTORY = 4_000_000
MAX_MEMBERS = 20_000  # each takes some 0.1 ms
MAX_HEADER = 1_000  # characters that say an array's shape and type; numpy's own take 118

_END, _END_64 = b"PK\5\6", b"PK\6\6"


def read_npz(path: FilePath) -> dict[str, np.ndarray]:
    """Read every array of a `.npz` archive by its name, stored or deflated.

    Arrays of text are left out where there are numbers, too. Raises `PortingError` for
    object arrays (which are pickles), records, complex numbers, other members than arrays, names
    that lead out of the archive, encryption, and archives that unpack to more than twice their
    size and 90 MiB.
    """
    with checkpoint(path) as (file, size):
        _check_directory(file, size)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, room(size))
                read = {member.filename[:-4]: _read_member(archive, member) for member in members}
        except (zipfile.BadZipFile, zlib.error):
            raise Refusal("damaged: a checksum does not fit, or a member is not in place") from None
        arrays = {name: array for name, array in read.items() if array is not None}
        if not arrays:
            raise Refusal("holds no arrays of numbers")
        return arrays


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse what is not a zip file that ends as numpy ends it, and too long a list of members."""
    if size < 22:
        raise Refusal("not a zip file")
    file.seek(-min(size, 98), 2)
    tail = file.read()
    end, end_64 = tail[-22:], tail[:56]
    if not end.startswith(_END):
        raise Refusal("not a zip file, or truncated")
    length = int.from_bytes(end[12:16], "little")
    if len(tail) == 98 and end_64.startswith(_END_64):
        length = max(length % 0xFFFFFFFF, int.from_bytes(end_64[40:48], "little"))
    if length > MAX_DIRECTORY:
        raise Refusal(f"its list of members takes {length} bytes, {MAX_DIRECTORY} at most are read")


def _check_members(members: list[zipfile.ZipInfo], limit: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise Refusal(f"has {len(members):,} members, {MAX_MEMBERS:,} at most are read")
    seen = set()
    for member in members:
        name = member.filename
        if name in seen:
            raise Refusal(f"member {name!r} is there twice")
        seen.add(name)
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise Refusal(f"member {name!r} leads out of the archive")
        if not name.endswith(".npy") or not name.isprintable():
            raise Refusal(f"member {name!r} is not an array (.npy)")
        if member.flag_bits & 1:
            raise Refusal(f"member {name!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal(f"member {name!r} is neither stored nor deflated")
    unpacked = sum(member.file_size for member in members)
    if unpacked > limit:
        raise Refusal(f"unpacks to {unpacked} bytes, {limit} at most are read")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray | None:
    """The array of one member, None of text."""
    with archive.open(member) as file:
        shape, fortran_order, dtype = _read_header(file, member.filename)
        if dtype.kind in "SU":
            return None
        if dtype.hasobject:
            raise Refusal(f"member {member.filename!r} holds objects (pickles)")
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            hint = "; bfloat16 is to be saved as float32" if dtype.str == "|V2" else ""
            raise Refusal(f"member {member.filename!r} is of type {dtype}, not numbers{hint}")
        count = math.prod(shape)
        if min(shape, default=0) < 0 or file.tell() + count * dtype.itemsize != member.file_size:
            shown = f"type {dtype}, shape {clip(str(shape))}"
            raise Refusal(f"member {member.filename!r} of {shown} has {member.file_size} bytes")
        values = _read_values(file, count, dtype)
    if dtype.kind == "b" and (values.view(np.uint8) > 1).any():
        raise Refusal(f"member {member.filename!r} has a truth value that is neither 0 nor 1")
    return values.reshape(shape[::-1]).T if fortran_order else values.reshape(shape)


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type, which numpy reads as literals."""
    magic = file.read(8)
    if magic not in (b"\x93NUMPY\1\0", b"\x93NUMPY\2\0"):
        raise Refusal(f"member {name!r} is no array in version 1.0 or 2.0 of numpy's format")
    size = file.read(2 if magic[6] == 1 else 4)
    length = int.from_bytes(size, "little")
    if length > MAX_HEADER:
        raise Refusal(f"member {name!r} has a header of {length:,} bytes, {MAX_HEADER:,} are read")
    header = io.BytesIO(size + file.read(length))
    try:
        if magic[6] == 1:
            return np.lib.format.read_array_header_1_0(header)
        return np.lib.format.read_array_header_2_0(header)
    except Exception:  # of a broken literal Python raises what it likes
        raise Refusal(f"member {name!r} has a damaged header") from None


def _read_values(file: IO[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    """Fill an array piece by piece, as read in one go it would be there twice; to native order."""
    values = np.empty(count, dtype)
    target = values.view(np.uint8).data
    filled = 0
    while filled < len(target):
        piece = file.read(min(MIB, len(target) - filled))
        if not piece:
            raise Refusal("truncated")
        target[filled : filled + len(piece)] = piece
        filled += len(piece)
    file.read(1)  # at the end the checksum is verified
    if not dtype.isnative:
        values = values.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return values
