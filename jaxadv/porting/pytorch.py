"""PyTorch checkpoints as numpy arrays, read without PyTorch and without executing them.

A checkpoint is a pickle (`torch_pickle`) and the raw numbers of its storages: in a zip file
(since PyTorch 1.6, `zip_directory`), or one after the other in a plain ("legacy") file.

Everything that a file may make this reader spend is bounded before it is spent: steps of the
pickle, its bytes, entries of the zip file, bytes of all arrays. So memory stays below twice the
size of the file and 200 MB, whatever the file says.
"""

import mmap
import pickle
from typing import Literal

import numpy as np

from jaxadv.formats.errors import listed
from jaxadv.formats.opening import FilePath, Refusal, checkpoint
from jaxadv.formats.torch_pickle import Machine
from jaxadv.formats.torch_tensors import (
    BFLOAT16,
    Number,
    Tensor,
    axes,
    describe,
    extent,
    itemsize,
    short,
)
from jaxadv.formats.zip_directory import zip_entries
from jaxadv.porting.wrapping import WRAPPERS

_Order = Literal["<", ">"]


def read_pytorch(path: FilePath) -> dict[str, np.ndarray]:
    """Read the tensors of a file that `torch.save` wrote, in order, as contiguous arrays by name.

    Both formats are read: zip files, and the plain files of PyTorch before 1.6 and of Python 2. Of
    a dict that holds one under a name that training code uses (`wrapping.WRAPPERS`), the inner dict
    is read, and all around it is passed over, as is every entry that is no tensor. bfloat16 becomes
    float32; other types stay.

    Raises `PortingError` for everything else: what is no such file, is damaged or too large, holds
    no tensors, or names anything but plain containers and dense tensors (`posix.system`, a class,
    a whole module, quantised, sparse and complex tensors).
    """
    with checkpoint(path) as (file, _):
        # Never closed by hand: views of it may live on in the frames of an exception.
        return _read(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _read(data: mmap.mmap) -> dict[str, np.ndarray]:
    """Tell the formats apart by their first bytes, as PyTorch does."""
    if data[:4] == b"PK\x03\x04":
        return _read_zip(data)
    if data[257:262] == b"ustar":
        raise Refusal("the oldest, tar format of PyTorch; load and save it with a newer one")
    if data[:1] != pickle.PROTO:
        raise Refusal("not a file that torch.save wrote")
    return _read_legacy(data)


# --- The two formats ------------------------------------------------------------------------------

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def _read_legacy(data: mmap.mmap) -> dict[str, np.ndarray]:
    """Read magic number, protocol, system, object, storage keys; then count and raw by key."""
    machine = Machine(data, 0, len(data), views=True)
    if machine.run() != _MAGIC:
        raise Refusal("a pickle, but not one that torch.save wrote")
    if (protocol := machine.run()) != _PROTOCOL:
        raise Refusal(f"legacy format {short(protocol)}, not {_PROTOCOL}")
    machine.run()
    tensors = _named_tensors(machine.run())
    keys = machine.run()
    if not isinstance(keys, list):
        raise Refusal(f"damaged: the storage keys are {describe(keys)}")
    places = _legacy_places(data, machine.position, keys, machine.storages)
    # Raw numbers are little-endian here also where a big-endian machine wrote them.
    return _arrays(data, tensors, places, "<")


def _legacy_places(
    data: mmap.mmap, position: int, keys: list[object], storages: dict[str, tuple[str, int]]
) -> dict[str, int]:
    """Where the raw numbers of each storage begin."""
    places: dict[str, int] = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages or key in places:
            raise Refusal(f"damaged: storage key {short(key)} is unknown or there twice")
        code, count = storages[key]
        stored = int.from_bytes(data[position : position + 8], "little", signed=True)
        places[key] = position + 8
        position += 8 + count * itemsize(code)
        if position > len(data):
            raise Refusal(f"truncated: storage {short(key)} ends after the file")
        if stored != count:
            raise Refusal(f"storage {short(key)} has {stored} elements, not {count}")
    for key in storages:
        if key not in places:
            raise Refusal(f"damaged: storage {short(key)} is missing")
    return places


def _read_zip(data: mmap.mmap) -> dict[str, np.ndarray]:
    """Read `<root>/data.pkl`, then of `<root>/data/<key>` what its tensors refer to."""
    entries = zip_entries(data)
    pickles = [name for name in entries if f"/{name}".endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refusal(
            f"a zip file with {len(pickles)} data.pkl, not one that PyTorch wrote; it holds "
            f"{listed(entries)}"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise Refusal("a TorchScript archive; save the network's state_dict() with torch.save")
    start, size = entries[pickles[0]]
    machine = Machine(data, start, start + size, views=False)
    tensors = _named_tensors(machine.run())
    places: dict[str, int] = {}
    for key in dict.fromkeys(tensor.storage.key for tensor in tensors.values()):
        code, count = machine.storages[key]
        if f"{root}data/{key}" not in entries:
            raise Refusal(f"storage {short(key)} is missing")
        places[key], size = entries[f"{root}data/{key}"]
        if size != count * itemsize(code):
            raise Refusal(
                f"storage {short(key)} has {size} bytes, not {count} times {itemsize(code)}"
            )
    return _arrays(data, tensors, places, _byte_order(data, entries.get(f"{root}byteorder")))


def _byte_order(data: mmap.mmap, place: tuple[int, int] | None) -> _Order:
    """The sign by which numpy knows it; files without a mark are little-endian."""
    if place is None:
        return "<"
    start, size = place
    mark = data[start : start + min(size, 8)]
    if mark not in (b"little", b"big"):
        raise Refusal(f"unknown byte order {mark!a}")
    return "<" if mark == b"little" else ">"


# --- Tensors --------------------------------------------------------------------------------------

_MOST_NESTED = 4  # wrappers of wrappers


def _named_tensors(top: object) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one inside a training checkpoint."""
    if not isinstance(top, dict):
        raise Refusal(f"holds {describe(top)}, not a dict of tensors")
    tensors = _state_dict(top, _MOST_NESTED, set())
    if not tensors:
        names = ", ".join(short(key) for key in list(top)[:8])
        raise Refusal(f"no tensors; the file holds {names or 'an empty dict'}")
    if any(isinstance(name, Number) for name in tensors):
        raise Refusal("a tensor is named by a number")
    return tensors


def _state_dict(value: object, depth: int, seen: set[int]) -> dict[str, Tensor]:
    """The tensors of the innermost dict that training code wrapped; none where there are none."""
    if not isinstance(value, dict) or not depth or id(value) in seen:
        return {}
    seen.add(id(value))  # a pickle may put a dict into itself
    nested = {key: _state_dict(value.get(key), depth - 1, seen) for key in WRAPPERS}
    found = [key for key, tensors in nested.items() if tensors]
    if len(found) > 1:
        names = " and in ".join(repr(key) for key in found)
        raise Refusal(f"tensors both in {names}; save the one that is meant alone")
    if found:
        return nested[found[0]]
    return {key: entry for key, entry in value.items() if isinstance(entry, Tensor)}


_SPARE_BYTES = 2**26  # of arrays, above twice the size of the file


def _arrays(
    data: mmap.mmap, tensors: dict[str, Tensor], places: dict[str, int], order: _Order
) -> dict[str, np.ndarray]:
    """Copy each tensor out, once it is known that all together are not too large."""
    total = sum(tensor.bytes_read for tensor in tensors.values())
    if total > 2 * len(data) + _SPARE_BYTES:
        raise Refusal(f"tensors that share storages make {total} bytes of a file of {len(data)}")
    arrays = {}
    for name, tensor in tensors.items():
        arrays[name] = _array(data, tensor, places[tensor.storage.key], order)
        if hasattr(mmap, "MADV_DONTNEED"):  # the pages just copied need not stay resident
            data.madvise(mmap.MADV_DONTNEED)
    return arrays


def _array(data: mmap.mmap, tensor: Tensor, place: int, order: _Order) -> np.ndarray:
    """One tensor as a contiguous array, in the byte order of this machine."""
    code = {BFLOAT16: "u2", "?": "u1"}.get(tensor.code, tensor.code)
    stored = np.dtype(code).newbyteorder(order)
    start = place + tensor.storage.start * itemsize(tensor.storage.code)
    elements = np.frombuffer(data, stored, extent(tensor), start + tensor.offset * stored.itemsize)
    steps = [step * stored.itemsize if n > 1 else 0 for n, step in axes(tensor)]
    view = np.lib.stride_tricks.as_strided(elements, tensor.size, steps, writeable=False)
    if tensor.code == BFLOAT16:
        wide = view.astype(np.uint32, order="C")
        wide <<= 16
        return wide.view(np.float32)
    if tensor.code == "?":
        return view.astype(np.bool_, order="C")
    return view.astype(stored.newbyteorder("="), order="C")
