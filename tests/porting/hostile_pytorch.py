"""Checkpoints written byte by byte, without PyTorch: sound ones, and ones that must be refused.

The short functions below write one opcode each; `zipped` and `legacy` make files of a pickle.
"""

import io
import struct
import warnings
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
WEIGHT = np.arange(6, dtype="<f4").reshape(2, 3)
RAW = WEIGHT.tobytes()


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def group(*values):
    return b"(" + b"".join(values) + b"t"


def numbers(*values):
    return group(*map(number, values))


def call(function, *arguments):
    return function + group(*arguments) + b"R"


def mapping(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def finish(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


def identity(kind="FloatStorage", key="0", count=6, rest=b"", module="torch"):
    """The persistent id of a storage; legacy files want a view as `rest`, `N` for none."""
    storage = name(module, kind)
    return group(text("storage"), storage, text(key), text("cpu"), number(count), rest) + b"Q"


def tensor(size=(2, 3), stride=(3, 1), offset=0, storage=None, **fields):
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        identity(**fields) if storage is None else storage,
        number(offset),
        numbers(*size),
        numbers(*stride),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def zipped(opcodes, raw=RAW, root="archive", entries=(), **options):
    """A file of the zip format with one storage, and more `entries` (name, bytes)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", **options) as file:
        warnings.simplefilter("ignore")  # of names that are there twice
        file.writestr(f"{root}/data.pkl", finish(opcodes))
        file.writestr(f"{root}/data/0", raw)
        for entry, contents in entries:
            file.writestr(entry, contents)
    return buffer.getvalue()


def legacy(opcodes, keys=("0",), storages=((6, RAW),), magic=MAGIC, protocol=1001):
    """A file of the plain format."""
    head = finish(number(magic)) + finish(number(protocol)) + finish(mapping(little_endian=b"\x88"))
    listed = finish(b"](" + b"".join(map(text, keys)) + b"e")
    raw = b"".join(struct.pack("<q", count) + values for count, values in storages)
    return head + finish(opcodes) + listed + raw


def patched(contents, old, new, which=-1):
    """Overwrite bytes behind the first or last place where `old` stands (offset, format, value)."""
    places = [i for i in range(len(contents)) if contents.startswith(old, i)]
    offset, form, value = new
    changed = bytearray(contents)
    struct.pack_into(form, changed, places[which] + offset, value)
    return bytes(changed)


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
END, END64 = b"PK\x05\x06", b"PK\x06\x06"
GOOD = mapping(weight=tensor())
SYSTEM = name("posix", "system")


def calls(command):
    """Pickles that would execute `command`, or get near to what executes, and the name to show."""
    run = text(command)
    python = text(f"__import__('os').system({command!r})")
    getattr_ = name("builtins", "getattr")
    module = call(name("builtins", "__import__"), text("os"))
    partial = call(name("functools", "partial"), SYSTEM, run)
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return {
        "os.system": (call(name("os", "system"), run), "os.system"),
        "posix.system": (call(SYSTEM, run), "posix.system"),
        "nt.system": (call(name("nt", "system"), run), "nt.system"),
        "subprocess": (call(name("subprocess", "Popen"), run), "subprocess.Popen"),
        "eval": (call(name("builtins", "eval"), python), "builtins.eval"),
        "exec of Python 2": (call(name("__builtin__", "eval"), python), "__builtin__.eval"),
        "import": (module, "builtins.__import__"),
        "getattr chain": (call(call(getattr_, module, text("system")), run), "builtins.getattr"),
        "partial": (call(partial), "functools.partial"),
        "operator": (call(name("operator", "attrgetter"), run), "operator.attrgetter"),
        "_load_from_bytes": (
            call(name("torch.storage", "_load_from_bytes"), run),
            "torch.storage._load_from_bytes",
        ),
        "torch.load": (call(name("torch", "load"), run), "torch.load"),
        "hub": (call(name("torch.hub", "load"), run), "torch.hub.load"),
        "dotted": (name("torch", "FloatStorage.__init__.__globals__"), "FloatStorage.__init__"),
        "stack global": (text("posix") + text("system") + b"\x93" + group(run) + b"R", "posix"),
        "stack global of numbers": (b"K\x01K\x02\x93", "damaged"),
        "instance": (b"(" + run + b"iposix\nsystem\n", "posix.system"),
        "object": (b"(" + SYSTEM + run + b"o", "posix.system"),
        "new object": (name("collections", "OrderedDict") + b")\x81", "NEWOBJ"),
        "new object ex": (name("collections", "OrderedDict") + b")}\x92", "NEWOBJ_EX"),
        "extension 1": (b"\x82\x01", "EXT1"),
        "extension 2": (b"\x83\x01\x01", "EXT2"),
        "extension 4": (b"\x84\x01\x01\x01\x01", "EXT4"),
        "persistent text": (b"Pposix.system\n", "PERSID"),
        "persistent module": (group(text("module"), SYSTEM, b"N", b"N") + b"Q", "posix.system"),
        "persistent string": (run + b"Q", "persistent id"),
        "build a dict": (b"}" + mapping(__class__=run) + b"b", "BUILD"),
        "build an ordered dict": (
            call(name("collections", "OrderedDict")) + mapping(__class__=run) + b"b",
            "BUILD",
        ),
        "build a tensor": (tensor() + mapping(_metadata=run) + b"b", "BUILD"),
        "build a name": (rebuild + mapping(__code__=run) + b"b", "BUILD"),
        "build a tuple": (call(name("collections", "OrderedDict")) + b"N}\x86b", "BUILD"),
        "call of a string": (run + group(run) + b"R", "REDUCE"),
        "call of a storage": (call(name("torch", "FloatStorage"), number(2**40)), "REDUCE"),
        "call of a dtype": (call(name("torch", "float32"), run), "REDUCE"),
        "call with a list": (rebuild + b"]R", "REDUCE"),
        "numpy": (name("numpy.core.multiarray", "_reconstruct"), "numpy.core.multiarray"),
        "a class": (name("argparse", "Namespace") + b")\x81", "argparse.Namespace"),
        "device": (call(name("torch", "device"), text("cpu")), "torch.device"),
        "cuda": (name("torch.cuda", "FloatStorage"), "torch.cuda.FloatStorage"),
        "line break": (b"Vfine\n", "UNICODE"),
        "escape": (name("\x1b[31m", "red"), r"\x1b[31m.red"),
        "quantised": (name("torch._utils", "_rebuild_qtensor"), "_rebuild_qtensor"),
        "sparse": (name("torch._utils", "_rebuild_sparse_tensor"), "_rebuild_sparse_tensor"),
        "complex": (tensor(kind="ComplexFloatStorage"), "torch.ComplexFloatStorage"),
        "float 8": (name("torch", "float8_e4m3fn"), "torch.float8_e4m3fn"),
        "subclass": (name("torch._tensor", "_rebuild_from_type_v2"), "_rebuild_from_type_v2"),
    }


def damaged_pickles():
    """Pickles that ask for nothing forbidden, but cannot be run, and what the message says."""
    memo = b"\x5d\x94"
    rebuild = name("torch._utils", "_rebuild_tensor")
    v2 = name("torch._utils", "_rebuild_tensor_v2")
    ordered = name("collections", "OrderedDict")
    view = numbers(2, 3), numbers(3, 1)
    return {
        "nothing": (b"", "a value is missing"),
        "two values": (b"NN", "left over"),
        "open mark": (b"(N", "left over"),
        "below the mark": (b"N(\x85", "a value is missing"),
        "pop": (b"N0", "opcode POP"),
        "pop to the mark": (b"N(1", "opcode POP_MARK"),
        "dup": (b"N2", "opcode DUP"),
        "no mark": (b"Nt", "a mark is missing"),
        "empty memo": (b"h\x07", "recalls"),
        "memo of nothing": (b"q\x00", "a value is missing"),
        "unknown opcode": (b"\xff", "0xff"),
        "long text": (b"X\xff\xff\xff\xffabc", "no end"),
        "longer text": (b"\x8d" + b"\xff" * 8, "BINUNICODE8"),
        "long bytes": (b"B\xff\xff\xff\xffabc", "no end"),
        "long string": (b"T\xff\xff\xff\xffabc", "no end"),
        "long number": (b"\x8b\xff\xff\xff\x7fabc", "LONG4"),
        "line without end": (b"c" + b"a" * 5000, "a line without end"),
        "no integer": (b"I1_0\n", "not an integer"),
        "no UTF-8": (b"X\x02\x00\x00\x00\xff\xff", "UTF-8"),
        "append to a tuple": (b")Na", "appended to"),
        "set on a list": (b"]NNs", "items are set"),
        "odd items": (b"}(Nu", "items are set"),
        "unhashable key": (b"}]Ns", "a dict key"),
        "tuple key": (b"})Ns", "a dict key"),
        "name twice": (b"}(" + 2 * (text("a") + b"N") + b"u", "occurs twice"),
        "ordered dict of a number": (call(ordered, number(3)), "list of pairs"),
        "ordered dict of a tuple": (call(ordered, b"N\x85\x85"), "list of pairs"),
        "ordered dict of triples": (call(ordered, b"](" + b"NNN\x87" + b"e"), "pairs"),
        "size of nothing": (call(name("torch", "Size")), "torch.Size"),
        "parameter of nothing": (
            call(name("torch._utils", "_rebuild_parameter"), b"N\x88N"),
            "_rebuild_parameter",
        ),
        "few arguments": (call(v2, identity(), number(0), *view), "4 arguments"),
        "one argument": (call(rebuild, identity()), "1 arguments"),
        "many arguments": (call(v2, *[b"N"] * 20), "20 arguments"),
        "v3 without a dtype": (
            call(name("torch._utils", "_rebuild_tensor_v3"), *[b"N"] * 7),
            "dtype",
        ),
        "v3 with few arguments": (
            call(name("torch._utils", "_rebuild_tensor_v3"), *[b"N"] * 6),
            "6 arguments",
        ),
        "no storage": (call(rebuild, b"N", number(0), *view), "not of a storage"),
        "size of a list": (call(rebuild, identity(), number(0), b"]", b")"), "not a tuple"),
        "negated": (
            call(v2, identity(), number(0), *view, b"\x89N", mapping(neg=b"\x88")),
            "metadata",
        ),
        "list that holds itself": (memo + b"h\x00a", "holds a value of type list"),
    }


def damaged_tensors():
    """State dicts with a tensor that its storage of 6 RAW does not hold."""
    bad = {
        "negative size": tensor((-2, -3), (3, 1)),
        "negative stride": tensor((2, 3), (-3, 1), offset=3),
        "negative offset": tensor(offset=-1),
        "offset past the end": tensor(offset=1),
        "offset far past the end": tensor(offset=2**62),
        "empty past the end": tensor((0,), (1,), offset=7),
        "size past the end": tensor((7,), (1,)),
        "stride past the end": tensor((2, 3), (4, 1)),
        "product of 2^64": tensor((2**32, 2**32), (1, 1)),
        "product of 2^96": tensor((2**48, 2**48), (0, 0)),
        "number of 2040 bits": tensor((2**2000,), (1,)),
        "empty and huge": tensor((0, 2**48, 2**48), (1, 1, 1)),
        "repeated": tensor((7,), (0,)),
        "repeated a lot": tensor((2**40,), (0,)),
        "overlapping": tensor((4, 4), (1, 1)),
        "more strides": tensor((2, 3), (3, 1, 1)),
        "33 dimensions": tensor((1,) * 33, (1,) * 33),
        "true size": call(
            name("torch._utils", "_rebuild_tensor"), identity(), number(0), b"\x88\x85", b"\x88\x85"
        ),
        "float size": call(
            name("torch._utils", "_rebuild_tensor"),
            identity(),
            number(0),
            b"G" + struct.pack(">d", 2.0) + b"\x85",
            numbers(1),
        ),
        "negative storage": tensor(count=-6),
        "infinite storage": tensor(count=2**62),
        "larger storage": tensor(count=7),
        "smaller storage": tensor((2,), (1,), count=5),
        "wider storage": tensor(kind="DoubleStorage"),
        "missing storage": tensor(key="1"),
        "storage with a path": tensor(key="../data.pkl"),
        "storage of a class": tensor(kind="_rebuild_tensor", module="torch._utils"),
        "storage of four fields": tensor(storage=group(text("storage"), b"NNN") + b"Q"),
        "view in a zip file": tensor(rest=b"N"),
    }
    two_types = tensor() + text("other") + tensor(kind="IntStorage")
    two_sizes = tensor() + text("other") + tensor((1,), (1,), count=1)
    return {what: mapping(weight=opcodes) for what, opcodes in bad.items()} | {
        "storage of two types": mapping(weight=two_types),
        "storage of two sizes": mapping(weight=two_sizes),
    }


def damaged_zips():
    """Zip files that are not quite what PyTorch writes, and what the message says."""
    good = zipped(GOOD)
    end = len(good) - 22
    wide = zipped_64([(b"archive/data.pkl", finish(GOOD)), (b"archive/data/0", RAW)])
    return {
        "zip64 not there": (patched(wide, b"PK\x06\x07", (8, "<Q", 2**63)), "not where it says"),
        "zip64 count": (patched(wide, END64, (32, "<Q", 2**63)), "entries"),
        "zip64 size": (patched(wide, END64, (40, "<Q", 2**64 - 1)), "not where it says"),
        "parent folder": (zipped(GOOD, entries=[("archive/../../x", b"")]), "outside"),
        "absolute": (zipped(GOOD, entries=[("/etc/passwd", b"")]), "outside"),
        "backslash": (zipped(GOOD, entries=[("..\\x", b"")]), "outside"),
        "two pickles": (zipped(GOOD, entries=[("b/data.pkl", finish(GOOD))]), "2 data.pkl"),
        "pickle twice": (zipped(GOOD, entries=[("archive/data.pkl", b"")]), "two entries"),
        "storage twice": (zipped(GOOD, entries=[("archive/data/0", b"")]), "two entries"),
        "no pickle": (good.replace(b"data.pkl", b"data.txt"), "0 data.pkl"),
        "compressed": (zipped(GOOD, compression=zipfile.ZIP_DEFLATED), "compressed"),
        "bomb": (zipped(GOOD, bytes(10**7), compression=zipfile.ZIP_BZIP2), "compressed"),
        "encrypted": (patched(good, CENTRAL, (8, "<H", 1)), "encrypted"),
        "encrypted inside": (patched(good, LOCAL, (6, "<H", 1)), "encrypted"),
        "masked": (patched(good, CENTRAL, (8, "<H", 1 << 13)), "encrypted"),
        "compressed inside": (patched(good, LOCAL, (8, "<H", 8)), "compressed"),
        "two sizes": (patched(good, CENTRAL, (24, "<I", 10**6)), "two sizes"),
        "64 bits missing": (patched(good, CENTRAL, (42, "<I", 2**32 - 1)), "64 bits"),
        "outside the file": (patched(good, CENTRAL, (42, "<I", 10**6)), "not where it says"),
        "overlap": (patched(good, CENTRAL, (42, "<I", 0)), "two names"),
        "entries overlap": (overlapping(), "overlap"),
        "name not UTF-8": (good.replace(b"archive", b"\xffrchive"), "UTF-8"),
        "long name": (patched(good, CENTRAL, (28, "<H", 65535)), "broken"),
        "no entry": (patched(good, CENTRAL, (0, "<I", 0)), "broken"),
        "many entries": (patched(good, END, (10, "<H", 65535)), "broken"),
        "few entries": (patched(good, END, (10, "<H", 1)), "another size"),
        "directory elsewhere": (patched(good, END, (16, "<I", 1)), "not where it says"),
        "second disk": (patched(good, END, (4, "<H", 1)), "not where it says"),
        "no directory": (good[:end], "no directory"),
        "something after": (good + b"\0", "no directory"),
        "zip64 elsewhere": (good[:end] + zip64_locator(0) + good[end:], "not where it says"),
        "byte order": (zipped(GOOD, entries=[("archive/byteorder", b"mixed")]), "byte order"),
        "only a signature": (LOCAL, "no directory"),
        "empty zip": (LOCAL + good[end:], "not where it says"),
    }


def zip64_locator(offset):
    return struct.pack("<4sIQI", b"PK\x06\x07", 0, offset, 1)


def local_header(entry):
    return struct.pack("<4s22sHH", LOCAL, bytes(22), len(entry), 0) + entry


def zipped_64(entries, extra=b""):
    """A zip file that gives all its sizes in 64 bits, in a field after `extra` ones."""
    body, directory = bytearray(), []
    for entry, contents in entries:
        wide = struct.pack("<HHQQQ", 1, 24, len(contents), len(contents), len(body))
        sizes = struct.pack("<IIHH", *[2**32 - 1] * 2, len(entry), len(extra + wide))
        end = struct.pack("<10sI", bytes(10), 2**32 - 1)
        directory.append(CENTRAL + bytes(16) + sizes + end + entry + extra + wide)
        body += local_header(entry) + contents
    packed = b"".join(directory)
    count, few = len(entries), min(len(entries), 65535)
    end = struct.pack("<4sQHHIIQQQQ", END64, 44, 45, 45, 0, 0, count, count, len(packed), len(body))
    end += zip64_locator(len(body + packed))
    end += struct.pack("<4sHHHHIIH", END, 0, 0, few, few, *[2**32 - 1] * 2, 0)
    return body + packed + end


def overlapping():
    """A zip file whose last entry lies inside the one before."""
    within = local_header(b"b")
    contents = zipped(GOOD, entries=[("a", within), ("b", b"")])
    return patched(contents, CENTRAL, (42, "<I", contents.index(within)))


def zip_of(count, extra=b""):
    """A zip file with `count` entries of 0 bytes, of which each has `extra` fields."""
    entries = [b"archive/%d" % i for i in range(count)]
    contents, directory = [], []
    position = 0
    for entry in entries:
        header = struct.pack("<HH10sI", len(entry), len(extra), bytes(10), position)
        directory.append(struct.pack("<4s24s", CENTRAL, bytes(24)) + header + entry + extra)
        contents.append(local_header(entry))
        position += len(contents[-1])
    packed = b"".join(directory)
    few = min(count, 65535)
    end64 = struct.pack(
        "<4sQHHIIQQQQ", END64, 44, 45, 45, 0, 0, count, count, len(packed), position
    )
    end = struct.pack("<4sHHHHIIH", END, 0, 0, few, few, 2**32 - 1, 2**32 - 1, 0)
    return b"".join(contents) + packed + end64 + zip64_locator(position + len(packed)) + end


def damaged_legacy():
    """Plain files whose parts do not fit together, and what the message says."""
    plain = mapping(weight=tensor(rest=b"N"))
    return {
        "magic": (legacy(plain, magic=MAGIC + 1), "not one that torch.save wrote"),
        "protocol": (legacy(plain, protocol=1002), "legacy format 1002"),
        "no keys": (legacy(plain, (), ()), "is missing"),
        "unknown key": (legacy(plain, ("0", "1"), [(6, RAW)] * 2), "is unknown"),
        "key twice": (legacy(plain, ("0", "0"), [(6, RAW)] * 2), "there twice"),
        "count": (legacy(plain, storages=[(5, RAW)]), "5 elements, not 6"),
        "negative count": (legacy(plain, storages=[(-1, RAW)]), "-1 elements, not 6"),
        "huge count": (legacy(plain, storages=[(2**62, RAW)]), "elements, not 6"),
        "short": (legacy(plain, storages=[(6, RAW[:-1])]), "truncated"),
        "no storages": (legacy(plain, storages=[]), "truncated"),
        "huge storage": (legacy(mapping(w=tensor(count=2**48, rest=b"N"))), "truncated"),
        "id of five fields": (legacy(mapping(w=tensor())), "5 fields"),
        "view outside": (view_of(4, 3), "does not lie inside"),
        "view before": (view_of(-1, 3), "does not lie inside"),
        "view of two": (
            legacy(mapping(w=tensor(rest=numbers(0, 6)))),
            "does not lie inside",
        ),
        "view too small": (view_of(3, 3), "of 3 elements"),
        "keys are a dict": (
            legacy(plain).replace(finish(b"](" + text("0") + b"e"), finish(b"}")),
            "keys are a dict",
        ),
        "tar": (b"storages".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "tar format"),
        "text": (b"just words\n", "not a file that torch.save wrote"),
        "pickled command": (finish(call(SYSTEM, text("true"))), "posix.system"),
    }


def view_of(start, length):
    return legacy(mapping(weight=tensor(rest=group(text("1"), number(start), number(length)))))


def bombs():
    """Files that would take much time or memory, or overflow a stack, if they were believed."""
    laugh = b"()q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"t"
    pairs = b"](" + b"".join(number(i) + b"N\x86" for i in range(50_000)) + b"e\x85q\x00"
    ordered = name("collections", "OrderedDict") + b"q\x01"
    rebuild = name("torch._utils", "_rebuild_tensor")
    shared = tensor((250_000,), (1,), count=250_000) + b"q\x02"
    sharers = b"".join(text(f"{i}") + b"h\x02" for i in range(100))
    memo = b"".join(b"r" + struct.pack("<I", i) for i in range(1_100_000))
    pickles = {
        "laughs": laugh,
        "laughs as key": b"}" + laugh + b"Ns",
        "laughs as name": laugh + laugh + b"\x93",
        "laughs as storage": laugh + b"Q",
        "laughs as size": call(rebuild, identity(), number(0), laugh, laugh),
        "laughs as state": mapping(weight=tensor()) + laugh + b"b",
        "deep tuples": b")" + b"\x85" * 300_000,
        "deep tuple as key": b"})" + b"\x85" * 300_000 + b"Ns",
        "deep lists": b"]" * 200_000 + b"a" * 199_999,
        "deep dicts": (b"}" + text("a")) * 100_000 + b"N" + b"s" * 100_000,
        "marks": b"(" * 3_000_000,
        "empty dicts": b"}" * 3_000_000,
        "memo": b"N" + memo,
        "memo of dicts": b"}\x94" * 1_500_000,
        "ordered dicts": pairs + ordered + b"h\x01h\x00R" * 100_000,
        "dicts of one": b"}K\x01q\x00h\x00s" + b"}h\x00h\x00s" * 300_000,
        "wide text": text("a" * 8_000_000 + "\U0001f600"),
        "much text": text("a" * 40_000_000),
    }
    sharing = zipped(b"}(" + text("first") + shared + sharers + b"u", bytes(1_000_000))
    fields = struct.pack("<HH", 2, 0) * 16_000
    return {what: zipped(opcodes) for what, opcodes in pickles.items()} | {
        "shared storage": sharing,
        "entries": zipped_64([(b"%d" % i, b"") for i in range(200_000)]),
        "extra fields": zipped_64([(b"%d" % i, b"") for i in range(50)], fields),
        "legacy dicts": legacy(b"}" * 3_000_000),
        "legacy keys": legacy(mapping(weight=tensor(rest=b"N")), [""] * 100_000),
    }
