"""One way in for every format: a file to `{name: array}`, nothing in it executed.

The first bytes say what a file is. Suffixes do not: Lightning and TensorFlow call different files
`.ckpt`, and anything may be called `.bin`.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxadv.formats import hdf5
from jaxadv.formats.matlab import read_mat
from jaxadv.formats.numpy_archive import read_npz
from jaxadv.formats.opening import Refusal, checkpoint
from jaxadv.formats.safetensors import read_safetensors
from jaxadv.formats.tensorflow import bundle_files, is_data, is_index, read_tensorflow
from jaxadv.porting.pytorch import read_pytorch
from jaxadv.porting.wrapping import unwrapped

Reader = Callable[[Path], dict[str, np.ndarray]]

_FORMATS = (
    "PyTorch's (torch.save), .safetensors, .npz, MATLAB's .mat, HDF5 and TensorFlow's bundles "
    "(.index and .data-...)"
)
_HEAD = 600  # bytes that are looked at

# What else people hand over, by the first bytes.
_OTHERS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file; fetch it: git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, not the file; fetch it: git annex get"),
    (b"\x1f\x8b", "compressed (gzip); unpack it first"),
    (b"BZh", "compressed (bzip2); unpack it first"),
    (b"\xfd7zXZ\0", "compressed (xz); unpack it first"),
    (b"(\xb5/\xfd", "compressed (Zstandard); unpack it first"),
    (b"7z\xbc\xaf'\x1c", "an archive (7-Zip); unpack it first"),
    (b"Rar!", "an archive (RAR); unpack it first"),
    (b"PK\5\6", "an empty zip archive"),
    (b"\x93NUMPY", "a single array (.npy); save all of them by name with numpy.savez"),
    (b"GGUF", "a GGUF file of quantised weights"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint of any known format, told by its first bytes.

    Prefixes that wrappers put before all names (`module.`, `_orig_mod.`, ...) are taken off.

    Raises:
      PortingError: another file, which is told by what it looks like, or what the format's reader
        refuses.
    """
    return unwrapped(_reader(path)(path), str(path))


def parts(path: Path) -> list[Path]:
    """Return the files that a checkpoint lies in: several, where it is a TensorFlow bundle."""
    return bundle_files(path) if _reader(path) is read_tensorflow else [path]


def _reader(path: Path) -> Reader:
    """Choose the reader of a file."""
    prefix = not os.path.isfile(path) and os.path.isfile(f"{path}.index")
    if prefix or is_data(path):  # a bundle's data are numbers alone: only its names tell it
        return read_tensorflow
    with checkpoint(path) as (file, size):
        head = file.read(_HEAD)
        if reader := _known(head, size, path):
            return reader
        if path.suffix == ".index":
            return read_tensorflow
        file.seek(max(0, size - 8))
        if is_index(file.read()):
            raise Refusal(
                "a table of TensorFlow: give a bundle's .index under that name, with its "
                ".data-... files; checkpoints of format V1 are not read"
            )
        raise Refusal(f"{_looks_like(head)}; checkpoints are {_FORMATS}")


def _known(head: bytes, size: int, path: Path) -> Reader | None:
    """The reader of what begins like this, if there is one."""
    if head.startswith(b"PK\3\4"):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return read_npz if name.endswith(b".npy") else read_pytorch
    if head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5":
        return read_pytorch
    if head[257:262] == b"ustar" and head.startswith((b"sys_info", b"pickle", b"storages")):
        return read_pytorch  # refuses it, as the oldest format
    if head[124:128] in (b"\0\1IM", b"\1\0MI", b"\0\2IM"):
        return read_mat
    if hdf5.SIGNATURE in (head[:8], head[512:520]):
        return read_mat if path.suffix.lower() == ".mat" else hdf5.read_h5
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(size, 1 << 32):
        return read_safetensors
    return None


def _looks_like(head: bytes) -> str:
    """Say in a few words what else begins like this."""
    for first, what in _OTHERS:
        if head.startswith(first):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if not head.strip(b"\0"):
        return "nothing but zeros, as an interrupted download leaves"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < _HEAD else "ignore").strip()
    except UnicodeDecodeError:
        return "bytes that no known format begins with"
    if any(ord(character) < 32 and not character.isspace() for character in text):
        return "bytes that no known format begins with"
    if re.match(r"<!doctype html|<html|<head", text, re.IGNORECASE):
        return "an HTML page, not the file: the download failed or wants to be confirmed"
    if text.startswith("<"):
        return "an XML text"
    if text.startswith("model_checkpoint_path"):
        return "TensorFlow's list of checkpoints; give one that it names"
    return "a JSON text" if text[:1] in ("{", "[") else "a text"
