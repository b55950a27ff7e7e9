"""The pickle of a PyTorch checkpoint, interpreted without executing it.

A pickle is a program that may call anything. Here a small interpreter runs the few opcodes that
`torch.save` writes. Names stay names: nothing is imported, and the only calls are to the functions
of this module and of `torch_tensors`, which describe a tensor or make a plain container. Whatever
else the pickle asks for is refused by name. What comes out are dicts, lists and views of storages
that are known to lie inside them; no number of a storage is read.
"""

import mmap
import pickle
import pickletools
import struct
from collections.abc import Callable

from jaxadv.formats.opening import Refusal
from jaxadv.formats.torch_tensors import (
    DTYPES,
    STORAGES,
    Name,
    Number,
    Storage,
    Tensor,
    checked_tensor,
    describe,
    is_natural,
    short,
)

_STEPS = 1_000_000  # of all pickles of a file; a tensor takes about 25
_PICKLE_BYTES = 2**23
_LINE_BYTES = 256
_MEMO_NUMBERS = 255  # that may come in any order

_ATTRIBUTE = "_metadata"  # what `Module.state_dict` hangs on its OrderedDict


class _OrderedDict(dict):
    """An `OrderedDict` of the pickle, which alone may be given an attribute."""

    __slots__ = ()


class Machine:
    """Runs the pickles of `data` from `position` to `end`, and collects the storages they name.

    `views` says whether storages are named as legacy files do it, with a view. `run` returns the
    value of the next pickle and leaves `position` after it. The limits are for all runs together.
    """

    def __init__(self, data: mmap.mmap, position: int, end: int, views: bool) -> None:
        self.position = position
        self.storages: dict[str, tuple[str, int]] = {}
        self._data = data
        self._end = min(end, position + _PICKLE_BYTES)
        self._cut = self._end < end
        self._views = views
        self._steps = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        """The value of the next pickle."""
        while (code := self.take(1)) != pickle.STOP:
            self._spend(1)
            if value := _VALUES.get(code):
                result = value(self)  # which may change the stack that it is pushed on
                self._stack.append(result)
            elif action := _ACTIONS.get(code):
                action(self)
            else:
                raise self.refused_opcode(code)
        result = self.pop()
        if self._stack or self._below:
            raise Refusal("damaged pickle: values are left over")
        self._memo = {}
        return result

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, end = self.position, self.position + count
        if end > self._end:
            raise Refusal(
                f"its pickles are longer than {_PICKLE_BYTES >> 20} MiB"
                if self._cut
                else "truncated, or damaged: the pickle has no end"
            )
        self.position = end
        return self._data[start:end]

    def skip(self, count: int) -> None:
        """Pass over a protocol's number or a frame's length, which change nothing here."""
        self.take(count)

    def integer(self, width: int, signed: bool = False) -> int:
        """The next `width` bytes as a little-endian int."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, width: int, encoding: str = "utf-8") -> str:
        """A string after its length in `width` bytes; Python 2's are Latin-1."""
        try:
            return self.take(self.integer(width)).decode(encoding)
        except UnicodeDecodeError:
            raise Refusal("damaged pickle: a string that is not UTF-8") from None

    def line(self) -> str:
        """The text up to the next line feed, which is passed over."""
        end = self._data.find(b"\n", self.position, min(self.position + _LINE_BYTES, self._end))
        if end < 0:
            raise Refusal("damaged pickle: a line without end")
        line = self.take(end - self.position).decode("latin-1")
        self.position += 1
        return line

    def written_integer(self) -> int:
        """An int in decimals: Python 2's above 32 bits."""
        line = self.line()
        if not (line.isascii() and line.removeprefix("-").isdigit()):
            raise Refusal(f"damaged pickle: {short(line)} is not an integer")
        return int(line)

    def pop(self) -> object:
        """Take the last value off the stack."""
        if not self._stack:
            raise Refusal("damaged pickle: a value is missing")
        return self._stack.pop()

    def pops(self, count: int) -> tuple[object, ...]:
        """Take the last `count` values off the stack, in order."""
        if len(self._stack) < count:
            raise Refusal("damaged pickle: a value is missing")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        return values

    def top(self) -> object:
        """The last value, which stays on the stack."""
        if not self._stack:
            raise Refusal("damaged pickle: a value is missing")
        return self._stack[-1]

    def mark(self) -> None:
        """Start an empty stack above the one so far."""
        self._below.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[object]:
        """Take off all values since the last mark, and the mark."""
        if not self._below:
            raise Refusal("damaged pickle: a mark is missing")
        values, self._stack = self._stack, self._below.pop()
        return values

    def memorise(self, number: int) -> None:
        """Remember the last value under a number; picklers count them up.

        Numbers that a file chooses freely could collide in the dict, as `Number` explains.
        """
        if number > max(len(self._memo) + 1, _MEMO_NUMBERS):
            raise Refusal(f"damaged pickle: value {number} is remembered before those below it")
        self._memo[number] = self.top()

    def memorise_next(self) -> None:
        """Remember the last value under the number of values remembered so far."""
        self.memorise(len(self._memo))

    def recall(self, number: int) -> object:
        """The value remembered under a number."""
        if number not in self._memo:
            raise Refusal("damaged pickle: it recalls a value that it never had")
        return self._memo[number]

    def set_items(self, items: list[object]) -> None:
        """Put key, value, key, value, ... into the dict on the stack."""
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise Refusal(f"damaged pickle: items are set on {describe(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set_item(target, key, value)

    def _set_item(self, target: dict, key: object, value: object) -> None:
        # Tuples are no keys here: hashing one that is nested deeply never ends, or overflows.
        if type(key) is int and abs(key) < 2**63:
            key = Number(key)
        if not isinstance(key, str):
            raise Refusal(f"a dict key is {describe(key)}, neither a name nor a number")
        if key in target:
            raise Refusal(f"the name {short(key)} occurs twice in a dict")
        target[key] = value

    def append_all(self, values: list[object]) -> None:
        """Append to the list on the stack."""
        target = self.top()
        if not isinstance(target, list):
            raise Refusal(f"damaged pickle: {describe(target)} is appended to")
        target.extend(values)

    def build(self) -> None:
        """Pass over the attribute that a state dict has; refuse all other state."""
        state, target = self.pop(), self.top()
        if not isinstance(target, _OrderedDict):
            raise Refusal(f"opcode BUILD sets the state of {describe(target)}; not executed")
        if not isinstance(state, dict) or any(key != _ATTRIBUTE for key in state):
            raise Refusal(f"opcode BUILD sets more than {_ATTRIBUTE}; not executed")

    def find(self, module: object, name: object) -> Name:
        """A global by its name, which must be one of those known here; nothing is imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refusal(f"damaged pickle: {describe(module)} and {describe(name)} are no name")
        full = f"{module}.{name}"
        if full in STORAGES or full in DTYPES or full in _CALLS:
            return Name(full)
        raise Refusal(
            f"refused: {short(full)[1:-1]} is neither a plain container nor a dense tensor; save "
            "the network's state_dict() alone"
        )

    def call(self) -> object:
        """Opcode REDUCE: one of the functions of `_CALLS`, and nothing else."""
        target, arguments = self.pops(2)
        call = _CALLS.get(target.name) if isinstance(target, Name) else None
        if call is None or type(arguments) is not tuple:
            raise Refusal(f"opcode REDUCE calls {describe(target)}; not executed")
        return call(self, arguments)

    def refuse_instance(self) -> None:
        """Opcode INST, whose class is named in the message."""
        self.find(self.line(), self.line())
        raise self.refused_opcode(pickle.INST)

    def refused_opcode(self, code: bytes) -> Refusal:
        """The refusal of an opcode, with its name."""
        names = {known.code: known.name for known in pickletools.opcodes}
        name = names.get(code.decode("latin-1"), f"0x{code.hex()}")
        return Refusal(f"refused: pickle opcode {name}, which torch.save does not write")

    def ordered_dict(self, arguments: tuple[object, ...]) -> _OrderedDict:
        """`OrderedDict()`, or of a list of pairs, as Python 2 writes it."""
        found = _OrderedDict()
        if not arguments:
            return found
        pairs = arguments[0]
        if len(arguments) > 1 or type(pairs) is not list:
            raise Refusal("OrderedDict is called with something else than a list of pairs")
        self._spend(len(pairs))
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise Refusal("OrderedDict is called with something else than pairs")
            self._set_item(found, *pair)
        return found

    def storage(self) -> Storage:
        """A storage from its persistent id: nothing is read yet."""
        identity = self.pop()
        if type(identity) is not tuple or identity[:1] != ("storage",):
            raise Refusal(f"refused: a persistent id that is {_persistent(identity)}")
        if len(identity) != (6 if self._views else 5):
            raise Refusal(f"damaged pickle: a storage with {len(identity)} fields")
        _, kind, key, _, count, *view = identity
        code = STORAGES.get(kind.name) if isinstance(kind, Name) else None
        if code is None:
            raise Refusal(f"refused: a storage whose class is {describe(kind)}")
        if not isinstance(key, str) or not is_natural(count):
            raise Refusal(f"storage {short(key)} has {short(count)} elements")
        if self.storages.setdefault(key, (code, count)) != (code, count):
            raise Refusal(f"storage {short(key)} has two types or sizes")
        start, length = _view(view[0], key, count) if view and view[0] is not None else (0, count)
        return Storage(key, code, start, length)

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _STEPS:
            raise Refusal(f"its pickles take more than {_STEPS} steps")


def _persistent(identity: object) -> str:
    """What a persistent id is that is no storage's: the class where it is a whole module's."""
    if type(identity) is not tuple:
        return describe(identity)
    return "a tuple of " + (" and ".join(map(describe, identity[:2])) or "nothing")


def _view(view: object, key: str, count: int) -> tuple[int, int]:
    """First element and length of a legacy view (its key, offset, length) of a storage."""
    if type(view) is tuple and len(view) == 3:
        _, start, length = view
        if is_natural(start) and is_natural(length) and start + length <= count:
            return start, length
    raise Refusal(f"storage {short(key)} has a view that does not lie inside it")


def _size(machine: Machine, arguments: tuple[object, ...]) -> object:
    """`torch.Size(numbers)`."""
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise Refusal("torch.Size is called with something else than a tuple")
    return arguments[0]


def _rebuild_tensor(machine: Machine, arguments: tuple[object, ...]) -> object:
    if len(arguments) != 4:
        raise Refusal(f"_rebuild_tensor is called with {len(arguments)} arguments")
    return checked_tensor(arguments, None)


def _rebuild_tensor_v2(machine: Machine, arguments: tuple[object, ...]) -> object:
    """(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    if len(arguments) not in (6, 7):
        raise Refusal(f"_rebuild_tensor_v2 is called with {len(arguments)} arguments")
    _check_metadata(arguments[6:])
    return checked_tensor(arguments[:4], None)


def _rebuild_tensor_v3(machine: Machine, arguments: tuple[object, ...]) -> object:
    """(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])."""
    if len(arguments) not in (7, 8):
        raise Refusal(f"_rebuild_tensor_v3 is called with {len(arguments)} arguments")
    _check_metadata(arguments[7:])
    dtype = arguments[6]
    code = DTYPES.get(dtype.name) if isinstance(dtype, Name) else None
    if code is None:
        raise Refusal(f"a tensor whose dtype is {describe(dtype)}")
    return checked_tensor(arguments[:4], code)


def _check_metadata(metadata: tuple[object, ...]) -> None:
    """Refuse what changes the values that a tensor shows: negated and conjugated views."""
    if any(marks not in (None, {}) for marks in metadata):
        raise Refusal("a tensor with metadata (a negated or conjugated view)")


def _rebuild_parameter(machine: Machine, arguments: tuple[object, ...]) -> object:
    """(tensor, requires_grad, hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor):
        raise Refusal("_rebuild_parameter is called with something else than a tensor")
    return arguments[0]


_CALLS: dict[str, Callable[[Machine, tuple[object, ...]], object]] = {
    "collections.OrderedDict": Machine.ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}

# Opcodes that push a value, of protocols 2 to 5.
_VALUES: dict[bytes, Callable[[Machine], object]] = {
    pickle.NONE: lambda machine: None,
    pickle.NEWTRUE: lambda machine: True,
    pickle.NEWFALSE: lambda machine: False,
    pickle.INT: Machine.written_integer,
    pickle.BININT: lambda machine: machine.integer(4, signed=True),
    pickle.BININT1: lambda machine: machine.integer(1),
    pickle.BININT2: lambda machine: machine.integer(2),
    pickle.LONG1: lambda machine: machine.integer(machine.integer(1), signed=True),
    pickle.BINFLOAT: lambda machine: struct.unpack(">d", machine.take(8))[0],
    pickle.BINUNICODE: lambda machine: machine.text(4),
    pickle.SHORT_BINUNICODE: lambda machine: machine.text(1),
    pickle.BINSTRING: lambda machine: machine.text(4, "latin-1"),
    pickle.SHORT_BINSTRING: lambda machine: machine.text(1, "latin-1"),
    pickle.BINBYTES: lambda machine: machine.take(machine.integer(4)),
    pickle.SHORT_BINBYTES: lambda machine: machine.take(machine.integer(1)),
    pickle.EMPTY_LIST: lambda machine: [],
    pickle.EMPTY_DICT: lambda machine: {},
    pickle.EMPTY_TUPLE: lambda machine: (),
    pickle.TUPLE1: lambda machine: machine.pops(1),
    pickle.TUPLE2: lambda machine: machine.pops(2),
    pickle.TUPLE3: lambda machine: machine.pops(3),
    pickle.TUPLE: lambda machine: tuple(machine.pop_mark()),
    pickle.BINGET: lambda machine: machine.recall(machine.integer(1)),
    pickle.LONG_BINGET: lambda machine: machine.recall(machine.integer(4)),
    pickle.GLOBAL: lambda machine: machine.find(machine.line(), machine.line()),
    pickle.STACK_GLOBAL: lambda machine: machine.find(*machine.pops(2)),
    pickle.BINPERSID: Machine.storage,
    pickle.REDUCE: Machine.call,
}

_ACTIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.PROTO: lambda machine: machine.skip(1),
    pickle.FRAME: lambda machine: machine.skip(8),
    pickle.MARK: Machine.mark,
    pickle.BINPUT: lambda machine: machine.memorise(machine.integer(1)),
    pickle.LONG_BINPUT: lambda machine: machine.memorise(machine.integer(4)),
    pickle.MEMOIZE: Machine.memorise_next,
    pickle.APPEND: lambda machine: machine.append_all([machine.pop()]),
    pickle.APPENDS: lambda machine: machine.append_all(machine.pop_mark()),
    pickle.SETITEM: lambda machine: machine.set_items(list(machine.pops(2))),
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_mark()),
    pickle.BUILD: Machine.build,
    pickle.INST: Machine.refuse_instance,
}
