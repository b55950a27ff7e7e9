"""What the pickle of a PyTorch checkpoint may describe: names, storages, checked views of them.

Nothing here holds a number of a storage. A `Tensor` is known to lie inside its storage before it
is made. How a refusal quotes such values (`short`, `describe`) is here as well.
"""

import math
from dataclasses import dataclass

import numpy as np

from jaxadv.formats.opening import Refusal, clip, quote

_DIMENSIONS = 32
_INDEX = 2**48  # sizes above are refused even where another dimension is 0

# numpy has no bfloat16: the code stands for the upper half of a float32.
BFLOAT16 = "bfloat16"
STORAGES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.UntypedStorage": "u1",
    "torch.storage.UntypedStorage": "u1",
    "torch.storage._UntypedStorage": "u1",
}
DTYPES = {
    "torch.float32": "f4",
    "torch.float64": "f8",
    "torch.float16": "f2",
    "torch.bfloat16": BFLOAT16,
    "torch.int64": "i8",
    "torch.int32": "i4",
    "torch.int16": "i2",
    "torch.int8": "i1",
    "torch.uint8": "u1",
    "torch.bool": "?",
    "torch.uint16": "u2",
    "torch.uint32": "u4",
    "torch.uint64": "u8",
}


@dataclass(frozen=True, slots=True)
class Name:
    """A global of the pickle: only its name, whatever it would mean to Python."""

    name: str


class Number(str):
    """A number that is the key of a dict, as a text that no name is equal to.

    Python hashes numbers to themselves, so that a file could choose ones that collide, and each new
    key would be held against all before it. Texts are hashed with a secret.
    """

    __slots__ = ()

    def __new__(cls, number: int) -> "Number":
        """Write the number behind a 0 byte."""
        return super().__new__(cls, f"\0{number}")


@dataclass(frozen=True, slots=True)
class Storage:
    """`count` elements from element `start` on of the stored numbers named `key`."""

    key: str
    code: str
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A checked view of a storage: no index that it describes lies outside."""

    storage: Storage
    code: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes_read(self) -> int:
        """Size of the array that the view becomes."""
        return math.prod(self.size) * (4 if self.code == BFLOAT16 else itemsize(self.code))


def checked_tensor(fields: tuple[object, ...], code: str | None) -> Tensor:
    """Describe a view (storage, offset, size, stride); its type is `code`, or the storage's."""
    storage, offset, size, stride = fields
    if not isinstance(storage, Storage):
        raise Refusal(f"a tensor of {describe(storage)}, not of a storage")
    if type(size) is not tuple or type(stride) is not tuple:
        raise Refusal("a tensor whose size or stride is not a tuple")
    if len(size) != len(stride) or len(size) > _DIMENSIONS:
        raise Refusal(f"a tensor with {len(size)} sizes and {len(stride)} strides")
    if not all(map(is_natural, (offset, *size, *stride))):
        wrong = next(n for n in (offset, *size, *stride) if not is_natural(n))
        raise Refusal(f"a tensor whose offset, size or stride is {short(wrong)}")
    tensor = Tensor(storage, code or storage.code, offset, size, stride)  # type: ignore[arg-type]
    _check_inside(tensor)
    return tensor


def axes(tensor: Tensor) -> list[tuple[int, int]]:
    """Size and stride of each dimension."""
    return list(zip(tensor.size, tensor.stride, strict=True))


def extent(tensor: Tensor) -> int:
    """Number of stored elements from a view's first to its last."""
    return 1 + sum((n - 1) * step for n, step in axes(tensor)) if all(tensor.size) else 0


def _check_inside(tensor: Tensor) -> None:
    """Refuse a view that leaves its storage, or that repeats so much that it is larger."""
    storage = tensor.storage
    available = storage.count * itemsize(storage.code) // itemsize(tensor.code)
    if tensor.offset + extent(tensor) > available or math.prod(tensor.size) > available:
        raise Refusal(
            f"a tensor of size {_dims(tensor.size)}, stride {_dims(tensor.stride)} and offset "
            f"{tensor.offset} in storage {short(storage.key)} of {available} elements"
        )
    if math.prod(max(n, 1) for n in tensor.size) > _INDEX:
        raise Refusal(f"a tensor of size {_dims(tensor.size)}")


def itemsize(code: str) -> int:
    """Bytes of one stored element of a type."""
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize


def is_natural(value: object) -> bool:
    """Whether `value` is an int in [0, 2^48], not a bool."""
    return type(value) is int and 0 <= value <= _INDEX


def short(value: object) -> str:
    """A name or number from the file, fit for one line; of other values only what they are."""
    if isinstance(value, Number):
        return value[1:]
    if isinstance(value, str):
        return quote(value)
    return clip(str(value)) if isinstance(value, int) else describe(value)


def _dims(numbers: tuple[int, ...]) -> str:
    return clip("x".join(map(str, numbers)) or "()")


def describe(value: object) -> str:
    """What a value of the pickle is, in a few words."""
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, Storage):
        return "a storage"
    if isinstance(value, Name):
        return value.name
    return "a dict" if isinstance(value, dict) else f"a value of type {type(value).__name__}"
