"""Where the entries of a zip file lie, read from its directory by hand.

Only what PyTorch writes is read: one file, whose entries are neither compressed nor encrypted.
What the directory says is held against the file and against the headers of the entries, so that
they lie inside it and nowhere overlap.
"""

import itertools
import mmap
import struct

from jaxadv.formats.opening import Refusal, quote

# Records of a zip file, without what is not looked at (versions, dates, checksums).
_END = struct.Struct("<4sHHHHIIH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_CENTRAL = struct.Struct("<4s4xHH8xIIHHH8xI")
_LOCAL = struct.Struct("<4s2xHH16xHH")
_ENCRYPTED = 1 | 1 << 6 | 1 << 13  # by a password, strongly, or the directory itself

_DIRECTORY_BYTES = 2**24
_ENTRIES = 100_000


def zip_entries(data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Where each entry's bytes begin, and how many they are, by name.

    Python's `zipfile` makes objects of all entries before it can be asked how many there are, and
    believes what names, sizes and offsets say; PyTorch's files need little of what it can do.
    """
    start, size, count = _directory(data)
    if size > _DIRECTORY_BYTES or count > _ENTRIES:
        raise Refusal(f"a zip file with {count} entries")
    entries: dict[str, tuple[int, int]] = {}
    spans = []
    position = start
    for _ in range(count):
        name, header, length, position = _entry(data, position, start + size)
        if name in entries:
            raise Refusal(f"a zip file with two entries {quote(name)}")
        entries[name] = (_contents(data, name, header, length, start), length)
        spans.append((header, entries[name][0] + length))
    if position != start + size:
        raise Refusal("damaged zip file: its directory has another size than it says")
    spans.sort()
    if any(end > following for (_, end), (following, _) in itertools.pairwise(spans)):
        raise Refusal("a zip file whose entries overlap")
    return entries


def _directory(data: mmap.mmap) -> tuple[int, int, int]:
    """Offset, size and number of entries of the central directory."""
    end = len(data) - _END.size
    if end < 0 or data[end : end + 4] != b"PK\x05\x06":
        raise Refusal("truncated or damaged zip file: it has no directory at its end")
    _, disk, first_disk, _, count, size, start, _ = _END.unpack_from(data, end)
    locator = end - _LOCATOR.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        _, disk, end, _ = _LOCATOR.unpack_from(data, locator)
        if end + _END64.size != locator or data[end : end + 4] != b"PK\x06\x06":
            raise Refusal("damaged zip file: its end is not where it says")
        *_, first_disk, _, count, size, start = _END64.unpack_from(data, end)
    if disk or first_disk or start + size != end:
        raise Refusal("damaged zip file: its directory is not where it says")
    return start, size, count


def _entry(data: mmap.mmap, position: int, end: int) -> tuple[str, int, int, int]:
    """Name, offset of the header and size of an entry, and where the next one stands."""
    if position + _CENTRAL.size > end or data[position : position + 4] != b"PK\x01\x02":
        raise Refusal("damaged zip file: an entry of its directory is broken")
    fields = _CENTRAL.unpack_from(data, position)
    flags, method, packed, size, name_size, extra_size, comment_size, header = fields[1:]
    position += _CENTRAL.size
    following = position + name_size + extra_size + comment_size
    if following > end:
        raise Refusal("damaged zip file: an entry of its directory is broken")
    name = _entry_name(data[position : position + name_size])
    extra = data[position + name_size : position + name_size + extra_size]
    size, packed, header = _wide(extra, size, packed, header)
    _check_plain(name, flags, method)
    if packed != size:
        raise Refusal(f"a zip file whose entry {quote(name)} has two sizes")
    return name, header, size, following


def _contents(data: mmap.mmap, name: str, header: int, size: int, end: int) -> int:
    """Where the bytes of an entry begin, after its own header, which must tell the same."""
    if header + _LOCAL.size > end or data[header : header + 4] != b"PK\x03\x04":
        raise Refusal(f"damaged zip file: entry {quote(name)} is not where it says")
    flags, method, name_size, extra_size = _LOCAL.unpack_from(data, header)[1:]
    _check_plain(name, flags, method)
    start = header + _LOCAL.size
    if data[start : start + name_size] != name.encode():
        raise Refusal(f"damaged zip file: entry {quote(name)} has two names")
    start += name_size + extra_size
    if start + size > end:
        raise Refusal(f"damaged zip file: entry {quote(name)} does not lie inside it")
    return start


def _entry_name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Refusal("a zip file with a name that is not UTF-8") from None
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise Refusal(f"a zip file with an entry {quote(name)}, outside of its folder")
    return name


def _check_plain(name: str, flags: int, method: int) -> None:
    """Refuse encrypted and compressed entries: PyTorch writes neither."""
    if flags & _ENCRYPTED:
        raise Refusal(f"a zip file whose entry {quote(name)} is encrypted")
    if method:
        raise Refusal(f"a zip file whose entry {quote(name)} is compressed")


def _wide(extra: bytes, *numbers: int) -> list[int]:
    """Replace the numbers that are too large for 32 bits by those of the zip64 field."""
    wide = _zip64_field(extra)
    found = []
    for number in numbers:
        if number == 0xFFFFFFFF:
            if len(wide) < 8:
                raise Refusal("damaged zip file: a size of 64 bits is missing")
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        found.append(number)
    return found


def _zip64_field(extra: bytes) -> bytes:
    """The field with number 1 of an entry's extra fields, empty where there is none."""
    position = 0
    while position + 4 <= len(extra):
        number, size = struct.unpack_from("<HH", extra, position)
        position += 4 + size
        if number == 1:
            return extra[position - size : position]
    return b""
