import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from porting.checks import assert_arrays_or_refused, assert_same, refused

from jaxadv.formats import safetensors
from jaxadv.formats.errors import PortingError
from jaxadv.formats.safetensors import read_safetensors

RNG = np.random.default_rng(0)
TENSORS = {
    "embed.weight": RNG.normal(size=(5, 3)).astype(np.float32),
    "logit.bias": RNG.normal(size=7),
    "half": RNG.normal(size=(2, 2)).astype(np.float16),
    "step": np.array(41, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "mask": np.array([True, False, True]),
    "bytes": RNG.integers(0, 256, 5, np.uint8),
}


def encode(table, data=b""):
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin, end, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape} | {
        "data_offsets": [begin, end]
    }


VALID = encode({"a": tensor(0, 8), "b": tensor(8, 20)}, np.arange(5, dtype="<f4").tobytes())


def test_reads_what_the_library_writes(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    library.save_file(TENSORS, path, metadata={"format": "np"})
    assert_same(read_safetensors(path), TENSORS)
    assert_same(read_safetensors(str(path)), library.load_file(path))


@pytest.mark.parametrize("at_once", [3, 1 << 20])
def test_bfloat16_is_widened(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "_WIDENED_AT_ONCE", at_once)
    halves = np.array([[1.5, -2, np.inf, 3e-39, 0.1]], ml_dtypes.bfloat16)
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode({"w": tensor(0, 10, "BF16", [1, 5])}, halves.tobytes()))
    assert_same(read_safetensors(path), {"w": halves.astype(np.float32)})


def test_spaces_behind_the_table(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode(json.dumps({"a": tensor(0, 4)}).encode() + b"   ", bytes(4)))
    assert_same(read_safetensors(path), {"a": np.zeros(1, np.float32)})


REFUSED = {
    "nothing": (b"", "0 bytes"),
    "7 bytes": (bytes(7), "shorter than 8"),
    "table as long as memory": (struct.pack("<Q", 1 << 63) + b"{}", "table of 9223372036854"),
    "table of 5 MB": (encode(b"{" + b" " * 5_000_000), "at most are read"),
    "no JSON": (encode(b"\x80\x02}q"), "begin with a brace"),
    "not UTF-8": (encode(b'{"\xff": 1}'), "not JSON in UTF-8"),
    "cut JSON": (encode(b'{"a": {'), "damaged"),
    "deep JSON": (encode(b'{"a":' + b"[" * 100_000), "nested too deep"),
    "long number": (encode(b'{"a":' + b"9" * 100_000 + b"}"), "damaged"),
    "no tensors": (encode({"__metadata__": {"a": "b"}}), "holds no tensors"),
    "a list": (encode({"a": [1]}), "'a' is not described"),
    "unknown key": (encode({"a": tensor(0, 4) | {"strides": [1]}}, bytes(4)), "not described"),
    "same name twice": (
        encode(b'{"a":%b,"a":%b}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), bytes(4)),
        "same key twice",
    ),
    "same key twice": (
        encode(b'{"a":{"dtype":"I8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "same key twice",
    ),
    "overlap": (encode({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "'b' overlaps"),
    "same place": (encode({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)), "overlaps"),
    "gap": (encode({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)), "'b' follows a gap"),
    "gap at the start": (encode({"a": tensor(4, 8)}, bytes(8)), "gap"),
    "rest": (encode({"a": tensor(0, 4)}, bytes(9)), "belong to no tensor"),
    "out of the file": (encode({"a": tensor(0, 400)}, bytes(40)), "truncated"),
    "huge": (encode({"a": tensor(0, 1 << 62)}, bytes(4)), "truncated"),
    "product": (encode({"a": tensor(0, 8, shape=[3])}, bytes(8)), "has 8 bytes"),
    "backwards": (encode({"a": tensor(8, 0, shape=[])}, bytes(8)), "has -8 bytes"),
    "negative": (encode({"a": tensor(0, 4, shape=[-1, -1])}, bytes(4)), "impossible"),
    "fraction": (encode({"a": tensor(0, 4, shape=[1.0])}, bytes(4)), "impossible"),
    "truth": (encode({"a": tensor(0, 4, shape=[True])}, bytes(4)), "impossible"),
    "99 dimensions": (encode({"a": tensor(0, 4, shape=[1] * 99)}, bytes(4)), "impossible"),
    "zero by huge": (encode({"a": tensor(0, 0, shape=[0, 1 << 62])}), "damaged"),
    "8-bit float": (encode({"a": tensor(0, 4, "F8_E4M3")}, bytes(4)), "'F8_E4M3'; read are"),
    "type of a list": (encode({"a": tensor(0, 4, ["F32"])}, bytes(4)), "['F32']"),
    "truth value 2": (encode({"a": tensor(0, 1, "BOOL", [1])}, b"\2"), "neither 0 nor 1"),
    "odd name": (encode({"a\n\x1b[31m": tensor(0, 4, "X")}, bytes(4)), "of type 'X'"),
    "long name": (encode({"a" * 10_000: 1}), "..."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path):
    data, says = REFUSED[case]
    assert says in refused(read_safetensors, tmp_path / "model.safetensors", data)


def test_refuses_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, says in {"": "folder", "none": "No such file", "pipe": "not a regular file"}.items():
        with pytest.raises(PortingError, match=says):
            read_safetensors(tmp_path / name)
    with pytest.raises(PortingError, match=r"^'two\\nlines\\x00': "):
        read_safetensors("two\nlines\0")


@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_truncated(percent, tmp_path):
    data = VALID[: len(VALID) * percent // 100]
    refused(read_safetensors, tmp_path / "model.safetensors", data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=5))
def test_damaged_files_are_arrays_or_errors(tmp_path_factory, changes):
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    assert_arrays_or_refused(read_safetensors, path, data)
