"""What JPEG and PNG files are made of, checked and reduced to what their pixels need.

Pillow goes through comments, profiles and padding byte by byte, and takes minutes for 10 MB of
them. So a file is gone through here first, and Pillow sees its pixels and one EXIF tag.
"""

import re
import struct
import zlib
from typing import NamedTuple

MOST_SCANS = 100  # a progressive JPEG has some 10; each goes over the whole picture
MOST_TABLES = 2_000  # segments of a JPEG that are neither scans nor remarks
MOST_PARTS = 100_000  # segments or chunks in all; a large file has some thousands

_PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # not 0, which is a byte 255, nor restarts
_BARE, _START, _END, _SCAN = 0x01, 0xD8, 0xD9, 0xDA
_KEPT_APPLICATIONS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_ORIENTED = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
_ORIENTED_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_MOST_EXIF = 1 << 20
_OTHERS = {
    "GIF": rb"GIF8",
    "BMP": rb"BM",
    "TIFF": rb"II\*\x00|MM\x00\*",
    "WEBP": rb"RIFF....WEBP",
    "PPM": rb"P[1-6]\s",
    "ICO": rb"\x00\x00\x01\x00",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PSD": rb"8BPS",
    "JPEG 2000": rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
}


class ContainerError(ValueError):
    """What is wrong with a file, in words for a message that names it."""


class Reduced(NamedTuple):
    """A file without what its pixels do not need."""

    format: str
    contents: bytes


def reduce(contents: bytes) -> Reduced:
    """Check the structure of a JPEG or PNG file, and leave out what the pixels do not need.

    Raises:
      ContainerError: another format, an animation, damage, or too many scans.
    """
    if contents.startswith(_PNG):
        return Reduced("PNG", _reduce_png(contents))
    if contents.startswith(b"\xff\xd8\xff"):
        return Reduced("JPEG", _reduce_jpeg(contents))
    for name, start in _OTHERS.items():
        if re.match(start, contents[:16], re.DOTALL):
            raise ContainerError(f"{name} image")
    raise ContainerError("not an image, or a damaged one")


def reduce_header(start: bytes) -> Reduced | None:
    """Reduce the start of a JPEG to what says its size and orientation.

    Returns None where that takes the whole file.
    """
    if not start.startswith(b"\xff\xd8\xff"):
        return None
    try:
        return Reduced("JPEG", _reduce_jpeg(start, header=True))
    except ContainerError:
        return None


def _reduce_jpeg(contents: bytes, header: bool = False) -> bytes:
    """Keep tables, scans and one EXIF tag; stop at the picture's end, as phones write more."""
    kept = [contents[:2]]
    position, scans, tables, parts = 2, 0, 0, 0
    wanted = list(_ORIENTED)
    while found := _MARKER.search(contents, position):
        kind, position = found[1][0], found.end()
        if kind == _END:
            kept.append(found[0])
            return b"".join(kept)
        if kind == _BARE:
            continue
        stop = position + int.from_bytes(contents[position : position + 2], "big")
        if kind == _START or stop < position + 2 or stop > len(contents):
            raise ContainerError("damaged or truncated")
        parts = _count(parts)
        segment = found[0] + contents[position:stop]
        position = stop
        if kind == _SCAN:
            scans += 1
            if scans > MOST_SCANS:
                raise ContainerError(f"a JPEG of more than {MOST_SCANS:,} scans, which is not read")
            following = None if header else _MARKER.search(contents, stop)
            position = following.start() if following else len(contents)
            kept.append(segment + contents[stop:position])
            if header:
                return b"".join(kept)
        elif _is_needed(kind, segment[4:], wanted):
            tables += 1
            if tables > MOST_TABLES:
                raise ContainerError(
                    f"a JPEG of more than {MOST_TABLES:,} tables, which is not read"
                )
            kept.append(segment)
    raise ContainerError("damaged or truncated")


def _count(parts: int) -> int:
    if parts == MOST_PARTS:
        raise ContainerError(f"made of more than {MOST_PARTS:,} parts, which is not read")
    return parts + 1


def _is_needed(kind: int, contents: bytes, wanted: list[bytes]) -> bool:
    """Whether a segment of a JPEG says how its pixels look, or is the first on the orientation."""
    if kind in _KEPT_APPLICATIONS:
        return contents.startswith(_KEPT_APPLICATIONS[kind])
    if kind == 0xE1:
        for start in wanted:
            if contents.startswith(start):
                wanted.remove(start)
                return True
        return False
    return kind < 0xE0  # above are applications, extensions and remarks


def _reduce_png(contents: bytes) -> bytes:
    """Keep what describes the pixels, join their parts, and check all checksums."""
    view = memoryview(contents)
    kept, pixels = [_PNG], [b""]
    oriented: dict[bytes, bytes] = {}
    position, before, parts = len(_PNG), b"", 0
    while True:
        parts = _count(parts)
        start = position + 8
        if start > len(contents):
            raise ContainerError("damaged or truncated")
        length, kind = struct.unpack_from(">I4s", contents, position)
        stop = start + length
        if stop + 4 > len(contents):
            raise ContainerError("damaged or truncated")
        if zlib.crc32(view[position + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            raise ContainerError("damaged (a checksum does not fit)")
        if kind == b"IDAT":
            if len(pixels) > 1 and before != kind:
                raise ContainerError("damaged (its pixels are in several places)")
            pixels.append(contents[start:stop])
        elif kind == b"IEND":
            break
        elif kind in (b"IHDR", b"PLTE", b"tRNS") and len(pixels) == 1:
            kept.append(contents[position : stop + 4])
        elif kind == b"acTL" and (frames := int.from_bytes(view[start : start + 4], "big")) > 1:
            raise ContainerError(f"animated PNG of {frames} frames")
        elif length <= _MOST_EXIF and (tag := _oriented(kind, contents, start)):
            oriented.setdefault(tag, contents[position : stop + 4])
        position, before = stop + 4, kind
    joined = b"".join(pixels)
    return b"".join([*kept, *oriented.values(), _chunk(b"IDAT", joined), _chunk(b"IEND", b"")])


def _oriented(kind: bytes, contents: bytes, start: int) -> bytes | None:
    """Which of the tags that may say the orientation a chunk of a PNG is, if any."""
    if kind == b"eXIf":
        return kind
    texts = _ORIENTED_TEXTS if kind in (b"tEXt", b"zTXt", b"iTXt") else ()
    return next((text for text in texts if contents.startswith(text, start)), None)


def _chunk(kind: bytes, contents: bytes) -> bytes:
    return (
        struct.pack(">I", len(contents))
        + kind
        + contents
        + struct.pack(">I", zlib.crc32(contents, zlib.crc32(kind)))
    )
