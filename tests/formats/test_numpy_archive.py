import io
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from porting.checks import assert_arrays_or_refused, assert_same, refused

from jaxadv.formats import numpy_archive
from jaxadv.formats.numpy_archive import read_npz

RNG = np.random.default_rng(0)
ARRAYS = {
    "00.weight": RNG.normal(size=(4, 3, 2)).astype(np.float32),
    "layer/bias": RNG.normal(size=6),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4))),
    "half": np.ones(2, np.float16),
    "step": np.array(7),
    "empty": np.zeros((0, 3)),
    "mask": np.array([[True, False]]),
}


def encode(arrays, save=np.savez):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def npy(array=None, header=None, data=b""):
    """An `.npy` file, with any header."""
    if array is None:
        text = (header + "\n").encode("latin-1")
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(descr="<f4", shape=(1,)):
    return repr({"descr": descr, "fortran_order": False, "shape": shape})


def pack(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # the same name twice
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


ONE = npy(np.arange(3.0))
VALID = encode({"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4)}, np.savez_compressed)


def patched(data, place, value):
    return data[:place] + value + data[place + len(value) :]


def encrypted():
    data = pack([("a.npy", ONE)])
    directory = data.index(b"PK\1\2")
    return patched(patched(data, 6, b"\1"), directory + 8, b"\1")


def bomb():
    """120 MB of zeros, 0.1 MB packed."""
    text = header(shape=(30_000_000,))
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy(header=text))
        for _ in range(12):
            file.write(bytes(10_000_000))
    return buffer.getvalue()


def hidden_bomb():
    """30 MB of zeros that say they are 128 bytes and 3 numbers."""
    data = pack([("a.npy", ONE + bytes(30_000_000))], zipfile.ZIP_DEFLATED)
    directory = data.index(b"PK\1\2")
    length = struct.pack("<I", len(ONE))
    return patched(patched(data, 22, length), directory + 24, length)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(save, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(encode(ARRAYS, save))
    assert_same(read_npz(path), ARRAYS)


def test_big_endian(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(encode({"a": np.arange(5, dtype=">i4")}))
    assert_same(read_npz(path), {"a": np.arange(5, dtype=np.int32)})


def test_text_beside_numbers_is_left_out(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(encode({"a": np.ones(2), "names": np.array(["x", "yz"]), "b": np.bytes_(b"")}))
    assert_same(read_npz(path), {"a": np.ones(2)})


def test_larger_than_one_piece(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(encode({"a": np.arange(300_000.0)}, np.savez_compressed))
    assert_same(read_npz(path), {"a": np.arange(300_000.0)})


def test_real_weights(real_data):
    path = real_data / "mobilenet_v2" / "mobilenet_v2_1.0_224.npz"
    with np.load(path) as archive:
        assert_same(read_npz(path), dict(archive))


REFUSED = {
    "nothing": (b"", "0 bytes"),
    "no zip": (b"PK\3\4" * 10, "not a zip file"),
    "npy": (ONE, "not a zip file"),
    "no members": (pack([]), "no arrays of numbers"),
    "only text": (encode({"a": np.array(["x"])}), "no arrays of numbers"),
    "pickle": (encode({"a": np.array([{}], object)}), "'a.npy' holds objects (pickles)"),
    "record": (encode({"a": np.zeros(2, "i4,f4")}), "not numbers"),
    "complex": (encode({"a": np.zeros(2, complex)}), "complex128, not numbers"),
    "bfloat16": (encode({"a": np.zeros(2, "V2")}), "save"),
    "date": (encode({"a": np.zeros(2, "M8[s]")}), "not numbers"),
    "other member": (pack([("a.npy", ONE), ("run.py", "1")]), "'run.py' is not an array"),
    "parent": (pack([("../a.npy", ONE)]), "leads out of the archive"),
    "inner parent": (pack([("a/../../b.npy", ONE)]), "leads out of the archive"),
    "absolute": (pack([("/etc/a.npy", ONE)]), "leads out of the archive"),
    "odd name": (pack([("a\n\x1b.npy", ONE)]), "is not an array"),
    "twice": (pack([("a.npy", ONE), ("a.npy", ONE)]), "'a.npy' is there twice"),
    "encrypted": (encrypted(), "'a.npy' is encrypted"),
    "bzip2": (pack([("a.npy", ONE)], zipfile.ZIP_BZIP2), "neither stored nor deflated"),
    "longer": (pack([("a.npy", ONE + b"1")]), "has 153 bytes"),
    "shorter": (pack([("a.npy", ONE[:-1])]), "has 151 bytes"),
    "huge": (pack([("a.npy", npy(header=header(shape=(1 << 60,))))]), "bytes"),
    "negative": (pack([("a.npy", npy(header=header(shape=(-1, -1)), data=bytes(4)))]), "bytes"),
    "99 dimensions": (
        pack([("a.npy", npy(header=header(shape=(1,) * 99), data=bytes(4)))]),
        "damaged",
    ),
    "call": (pack([("a.npy", npy(header="__import__('os').abort()"))]), "damaged"),
    "deep": (pack([("a.npy", npy(header="(" * 990))]), "a damaged header"),
    "long header": (pack([("a.npy", npy(header=" " * 20_000 + header()))]), "1,000 are read"),
    "sub-array": (pack([("a.npy", npy(header=header("(100000,)f4")))]), "not numbers"),
    "version 3": (pack([("a.npy", patched(ONE, 6, b"\3"))]), "no array in version 1.0 or 2.0"),
    "endless shape": (pack([("a.npy", npy(header=header(shape=(10**900,))))]), "1000000"),
    "truth value 2": (
        pack([("a.npy", npy(header=header("|b1"), data=b"\2"))]),
        "neither 0 nor 1",
    ),
    "checksum": (patched(pack([("a.npy", ONE)]), 180, b"\7"), "a checksum does not fit"),
    "bomb": (bomb(), "unpacks to 120000"),
    "hidden bomb": (hidden_bomb(), "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path):
    data, says = REFUSED[case]
    assert says in refused(read_npz, tmp_path / "model.npz", data)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_archive, "MAX_DIRECTORY", 100)
    assert "list of members takes 1" in refused(read_npz, tmp_path / "model.npz", VALID)


def test_too_many_members_to_read_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_archive, "MAX_MEMBERS", 1)
    said = refused(read_npz, tmp_path / "model.npz", VALID)
    assert "has 2 members, 1 at most are read" in said and "damaged" not in said


def test_too_many_members_by_zip64(tmp_path, monkeypatch):
    """Where the length is 0xFFFFFFFF, a longer record before the last one has it."""
    monkeypatch.setattr(numpy_archive, "MAX_DIRECTORY", 100)
    directory, end = VALID.index(b"PK\1\2"), VALID.index(b"PK\5\6")
    length = end - directory
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, length, directory)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    data = VALID[:end] + wide + locator + last
    assert "list of members takes 1" in refused(read_npz, tmp_path / "model.npz", data)
    monkeypatch.undo()
    assert read_npz(tmp_path / "model.npz").keys() == {"a", "b"}


@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_truncated(percent, tmp_path):
    refused(read_npz, tmp_path / "model.npz", VALID[: len(VALID) * percent // 100])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=3))
def test_damaged_files_are_arrays_or_errors(tmp_path_factory, changes):
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    assert_arrays_or_refused(read_npz, path, data)
