import struct
from itertools import takewhile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from porting import checks
from porting.checks import assert_arrays_or_refused, assert_same

from jaxadv.formats import tensorflow
from jaxadv.formats.errors import PortingError
from jaxadv.formats.tensorflow import crc32c, read_tensorflow

# A writer of bundles, from the format's description: LevelDB's table of TensorFlow's messages.

CODES = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i2": 5, "i1": 6, "i8": 9, "b1": 10, "f2": 19}
LITTLE_HEADER = b"\x08\1\x1a\2\x08\1"  # 1 shard, version of producer 1


def slow_crc32c(data):
    """Bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(data):
    crc = slow_crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(number):
    number &= (1 << 64) - 1
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def integer(field, number):
    return varint(field << 3) + varint(number)


def message(field, contents):
    return varint(field << 3 | 2) + varint(len(contents)) + contents


def entry(dtype, shape, offset, data, shard=0, size=None, extra=b""):
    dims = b"".join(message(2, integer(1, n) if n else b"") for n in shape)  # proto3 omits 0
    return (
        integer(1, dtype)
        + message(2, dims)
        + (integer(3, shard) if shard else b"")
        + (integer(4, offset) if offset else b"")
        + integer(5, len(data) if size is None else size)
        + varint(6 << 3 | 5)
        + masked(data)
        + extra
    )


def block(pairs, interval=16):
    """Keys and values with shared beginnings left out, except at every restart."""
    body, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        alike = takewhile(lambda both: both[0] == both[1], zip(last, key, strict=False))
        shared = len(list(alike)) if i % interval else 0
        if not i % interval:
            restarts.append(len(body))
        last = key
        rest = key[shared:]
        body += varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value
    restarts = restarts or [0]
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(blocks, compression=b"\0"):
    """A table of blocks of pairs; a block that is bytes is taken as it is."""
    data, handles = b"", []
    for i, pairs in enumerate(blocks):
        contents = pairs if isinstance(pairs, bytes) else block(pairs)
        last = b"~%d" % i
        handles.append((last, varint(len(data)) + varint(len(contents))))
        data += contents + compression + masked(contents + compression)
    places = []
    for contents in (block([]), block(handles, interval=1)):
        places.append(varint(len(data)) + varint(len(contents)))
        data += contents + b"\0" + masked(contents + b"\0")
    return data + b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def pairs_of(arrays):
    data, pairs = bytearray(), {b"": LITTLE_HEADER}
    for name, array in arrays.items():
        raw = array.tobytes()
        pairs[name.encode()] = entry(CODES[array.dtype.str[1:]], array.shape, len(data), raw)
        data += raw
    return sorted(pairs.items()), bytes(data)


def write(folder, index, data, name="model.ckpt-7"):
    (folder / f"{name}.index").write_bytes(index)
    (folder / f"{name}.data-00000-of-00001").write_bytes(data)
    return folder / name


RNG = np.random.default_rng(0)
ARRAYS = {
    "InceptionV3/Conv2d_1a_3x3/weights": RNG.normal(size=(3, 3, 3, 4)).astype(np.float32),
    "InceptionV3/Conv2d_1a_3x3/BatchNorm/beta": RNG.normal(size=4).astype(np.float32),
    "global_step": np.array(2_000_000, np.int64),
    "image_embedding/weights": RNG.normal(size=(8, 4)),
    "lstm/basic_lstm_cell/biases": RNG.normal(size=16).astype(np.float16),
    "lstm/basic_lstm_cell/weights": np.zeros((0, 16), np.float32),
    "logits/mask": np.array([True, False]),
    "seq_embedding/map": RNG.integers(-9, 9, (5, 2), np.int32),
}
PAIRS, DATA = pairs_of(ARRAYS)
INDEX = table([PAIRS])
SMALL = np.array([1.0, 2], np.float32)


def refused(prefix, data=False):
    """The reason why a bundle is refused for its index, or for its data."""
    part = "data-00000-of-00001" if data else "index"
    return checks.refused(read_tensorflow, prefix, begins=f"{prefix}.{part}: ")


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # these four are RFC 3720's
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_checksums(data, crc):
    assert crc32c(data) == slow_crc32c(data) == crc


@pytest.mark.parametrize("length", [4096 * 17 - 1, 4096 * 17, 100_003])
def test_checksums_in_lanes(length):
    data = RNG.bytes(length)
    assert crc32c(data) == slow_crc32c(data) == crc32c(data[70_001:], crc32c(data[:70_001]))


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_reads_by_any_name(suffix, tmp_path):
    prefix = write(tmp_path, INDEX, DATA)
    assert_same(read_tensorflow(f"{prefix}{suffix}"), ARRAYS)
    assert_same(read_tensorflow(prefix.with_name(prefix.name + suffix)), ARRAYS)


def test_many_blocks(tmp_path):
    prefix = write(tmp_path, table([PAIRS[i : i + 2] for i in range(0, len(PAIRS), 2)]), DATA)
    assert_same(read_tensorflow(prefix), ARRAYS)


def test_many_variables(tmp_path):
    arrays = {f"layer_{i:03d}/kernel": np.full(2, i, np.float32) for i in range(100)}
    pairs, data = pairs_of(arrays)
    assert_same(read_tensorflow(write(tmp_path, table([pairs]), data)), arrays)


def test_two_shards(tmp_path):
    raw = SMALL.tobytes()
    pairs = [(b"", integer(1, 2)), (b"a", entry(1, (2,), 0, raw, shard=1))]
    pairs += [(b"b", entry(1, (2,), 4, raw))]
    (tmp_path / "m.index").write_bytes(table([pairs]))
    (tmp_path / "m.data-00000-of-00002").write_bytes(bytes(4) + raw)
    (tmp_path / "m.data-00001-of-00002").write_bytes(raw)
    assert_same(read_tensorflow(tmp_path / "m"), {"a": SMALL, "b": SMALL})
    (tmp_path / "m.data-00001-of-00002").unlink()
    with pytest.raises(PortingError, match=r"m\.data-00001-of-00002: cannot be read"):
        read_tensorflow(tmp_path / "m")


def test_bfloat16_is_widened_and_text_left_out(tmp_path):
    halves = np.array([1.5, -3e38, 0.1], ml_dtypes.bfloat16)
    raw = halves.tobytes()
    pairs = [(b"", LITTLE_HEADER), (b"graph", entry(7, (), 0, b"\1\0\0\0\0x"))]
    pairs += [(b"w", entry(14, (3,), 0, raw))]
    found = read_tensorflow(write(tmp_path, table([pairs]), raw))
    assert_same(found, {"w": halves.astype(np.float32)})


def test_checksums_of_long_variables(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow, "_CHECKED_AT_ONCE", 1000)
    prefix = write(tmp_path, INDEX, DATA)
    assert_same(read_tensorflow(prefix), ARRAYS)


def of(*pairs):
    return table([[(b"", LITTLE_HEADER), *pairs]])


RAW = SMALL.tobytes()
SLICE = message(7, message(1, b""))
REFUSED = {
    "nothing": (b"", "0 bytes"),
    "no table": (b"model_checkpoint_path: 'a'" * 3, "not the index of a TensorFlow checkpoint"),
    "no blocks": (table([]), "does not begin with a bundle's header"),
    "no header": (table([[(b"a", entry(1, (2,), 0, RAW))]]), "a bundle's header"),
    "no variables": (of(), "holds no variables of numbers"),
    "only text": (of((b"a", entry(7, (), 0, b""))), "holds no variables of numbers"),
    "no shards": (table([[(b"", integer(1, 0) + integer(3, 1))]]), "number of data files"),
    "shards of bytes": (table([[(b"", message(1, b"a"))]]), "number of data files"),
    "big-endian": (table([[(b"", integer(1, 1) + integer(2, 1))]]), "big-endian"),
    "snappy": (table([PAIRS], b"\1"), "compressed"),
    "checksum": (INDEX[:9] + b"\xff" + INDEX[10:], "a block's checksum is wrong"),
    "footer": (INDEX[:-48] + b"\xff" * 40 + INDEX[-8:], "more than 64 bits"),
    "block outside": (
        INDEX[:-48] + (varint(0) + varint(1) + varint(1 << 60) + varint(9)).ljust(40) + INDEX[-8:],
        "lies outside",
    ),
    "too many restarts": (table([struct.pack("<I", 1 << 30)]), "more restarts"),
    "shared beyond the key": (table([varint(5) * 3 + b"a" * 10 + bytes(8)]), "does not fit"),
    "value beyond the block": (table([varint(0) * 2 + varint(1 << 50) + bytes(8)]), "not fit"),
    "long key": (of((b"a" * 2000, b"")), "does not fit"),
    "long value": (of((b"a", bytes(20_000))), "does not fit"),
    "disorder": (of((b"b", entry(1, (2,), 0, RAW)), (b"a", entry(1, (2,), 0, RAW))), "order"),
    "twice": (of((b"a", entry(1, (2,), 0, RAW)), (b"a", entry(1, (2,), 0, RAW))), "twice"),
    "not UTF-8": (of((b"\xff", entry(1, (2,), 0, RAW))), "is named"),
    "odd name": (of((b"a\n\x1b", entry(1, (2,), 0, RAW))), "is named"),
    "partitioned": (of((b"big", entry(1, (2,), 0, RAW, extra=SLICE))), "'big' is partitioned"),
    "resource": (of((b"a", entry(20, (2,), 0, RAW))), "'a' is of TensorFlow's type 20"),
    "complex": (of((b"a", entry(8, (1,), 0, RAW))), "type 8, not numbers"),
    "type of bytes": (of((b"a", message(1, b"x"))), "not numbers"),
    "product": (of((b"a", entry(1, (3,), 0, RAW))), "has 8 bytes"),
    "huge": (of((b"a", entry(1, (1 << 61,), 0, RAW))), "has 8 bytes"),
    "negative shape": (of((b"a", entry(1, (-1, -2), 0, RAW))), "impossible shape"),
    "99 dimensions": (of((b"a", entry(1, (1,) * 99, 0, RAW, size=4))), "99 dimensions"),
    "unknown rank": (of((b"a", integer(1, 1) + message(2, integer(3, 1)))), "unknown shape"),
    "no such shard": (of((b"a", entry(1, (2,), 0, RAW, shard=1))), "impossible place"),
    "cut message": (of((b"a", b"\x12\x7f")), "cut off"),
    "group": (of((b"a", b"\x0b")), "unknown form"),
    "number of 11 bytes": (of((b"a", b"\x08" + b"\xff" * 11)), "more than 64 bits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path):
    index, says = REFUSED[case]
    assert says in refused(write(tmp_path, index, RAW))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry(1, (2,), 4, RAW)], "truncated: variable 'a0' ends at 12, the file at 8"),
        ([entry(1, (2,), (1 << 64) - 8, RAW)], "truncated"),
        ([entry(1, (2,), 0, RAW), entry(1, (2,), 0, RAW)], "'a1' overlaps"),
        ([entry(1, (2,), 0, RAW), entry(1, (1,), 4, RAW[4:])], "'a1' overlaps"),
        ([entry(1, (2,), 0, b"12345678")], "the checksum of variable 'a0' is wrong"),
    ],
)
def test_refuses_data(entries, says, tmp_path):
    index = of(*[(b"a%d" % i, value) for i, value in enumerate(entries)])
    assert says in refused(write(tmp_path, index, RAW), data=True)


def test_overlapping_blocks(tmp_path):
    """One block listed a million times would be verified a million times."""
    contents = block([(b"", LITTLE_HEADER)])
    data = contents + b"\0" + masked(contents + b"\0")
    listed = block([(b"a", varint(0) + varint(len(contents)))] * 2)
    place = varint(0) * 2 + varint(len(data)) + varint(len(listed))
    data += listed + b"\0" + masked(listed + b"\0")
    data += place.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    assert "blocks overlap" in refused(write(tmp_path, data, b"1"))


def test_too_much(tmp_path, monkeypatch):
    prefix = write(tmp_path, INDEX, DATA)
    monkeypatch.setattr(tensorflow, "MAX_ENTRIES", 3)
    assert "more than 3 variables" in refused(prefix)
    monkeypatch.setattr(tensorflow, "MAX_INDEX", 100)
    assert "100 at most" in refused(prefix)


def test_missing_files(tmp_path):
    assert refused(tmp_path / "none") == "cannot be read (No such file or directory)"
    (tmp_path / "model.index").write_bytes(INDEX)
    assert refused(tmp_path / "model", data=True) == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_truncated(percent, tmp_path):
    refused(write(tmp_path, INDEX[: len(INDEX) * percent // 100], DATA))
    refused(write(tmp_path, INDEX, DATA[: len(DATA) * percent // 100]), data=True)


CONTENTS = block(PAIRS)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(["index", "sealed", "data"]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_are_arrays_or_errors(tmp_path_factory, which, changes):
    """`sealed`: damaged before the checksums were taken."""
    parts = {"index": bytearray(INDEX), "sealed": bytearray(CONTENTS), "data": bytearray(DATA)}
    for place, value in changes:
        parts[which][place % len(parts[which])] = value
    index = table([bytes(parts["sealed"])]) if which == "sealed" else parts["index"]
    prefix = write(tmp_path_factory.getbasetemp(), index, parts["data"], "damaged")
    assert_arrays_or_refused(read_tensorflow, prefix, begins=f"{prefix}.")
