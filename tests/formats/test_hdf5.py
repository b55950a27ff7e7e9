import importlib.util
import resource
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from porting.checks import assert_arrays_or_refused, assert_same, refused

from jaxadv.formats.hdf5 import read_h5

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
BIAS = RNG.normal(size=4)


def build(path, write, **options):
    with h5py.File(path, "w", **options) as file:
        write(file)
    return path


def keras(file):
    """What Keras' `save_weights` writes."""
    file.attrs["layer_names"] = np.array([b"conv1", b"fc8"])
    file.attrs["keras_version"] = "2.9.0"
    file["conv1/conv1/kernel:0"] = KERNEL
    file["conv1/conv1/bias:0"] = BIAS
    file["step"] = np.int64(7)
    file.create_group("empty")


KERAS = {"conv1/conv1/kernel:0": KERNEL, "conv1/conv1/bias:0": BIAS, "step": np.array(7)}


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"track_order": True}])
def test_reads_what_keras_writes(options, tmp_path):
    assert_same(read_h5(build(tmp_path / "w.h5", keras, **options)), KERAS)


def test_all_kinds_of_numbers(tmp_path):
    arrays = {f"{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in "fdeBbHhIiQq"}
    arrays |= {"mask": np.array([True, False]), "none": np.zeros((0, 3))}

    def write(file):
        for name, array in arrays.items():
            file[name] = array
        file["big"] = np.arange(5, dtype=">i2")

    expected = arrays | {"big": np.arange(5, dtype=np.int16)}
    assert_same(read_h5(build(tmp_path / "a.h5", write)), expected)


def test_compressed_and_large(tmp_path):
    """Larger than what is sent at once, in rows and in one row."""
    rows, row = RNG.integers(0, 9, (600, 1000)), RNG.normal(size=(1, 600_000))

    def write(file):
        file.create_dataset("rows", data=rows, compression="gzip", shuffle=True)
        file.create_dataset("row", data=row, chunks=(1, 10_000), compression="gzip")
        file["plain"] = row

    found = read_h5(build(tmp_path / "a.h5", write))
    assert_same(found, {"rows": rows, "row": row, "plain": row})


def test_text_beside_numbers_is_left_out(tmp_path):
    def write(file):
        file["a"], file["text"], file["bytes"] = BIAS, "words", np.array([b"x", b"yz"])
        file["paths"] = np.array(["im1.jpg", "im2.jpg"], h5py.string_dtype())
        file["type"], file["nothing"] = np.dtype("f4"), h5py.Empty("f4")

    assert_same(read_h5(build(tmp_path / "a.h5", write)), {"a": BIAS})


def test_links_inside_the_file(tmp_path):
    def write(file):
        file["g/a"] = KERNEL
        file["g/soft"] = h5py.SoftLink("a")
        file["soft"], file["hard"] = h5py.SoftLink("/g/a"), file["g/a"]
        file["group"] = h5py.SoftLink("g")

    found = read_h5(build(tmp_path / "a.h5", write))
    names = ["g/a", "g/soft", "soft", "hard", "group/a", "group/soft"]
    assert_same(found, dict.fromkeys(names, KERNEL))
    assert all(found[name] is found["g/a"] for name in names)  # takes no more memory


def other_file(file):
    with h5py.File(file.filename + ".other", "w") as other:
        other["x"] = BIAS
    return file.filename + ".other"


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(other_file(file), "x", (4,))
    file.create_virtual_dataset("v", layout)


def ring(file):
    file["a"] = BIAS
    file["g/self"] = file["/"]


def big_chunk(file):
    file.create_dataset("a", data=np.zeros(2_000_000), chunks=(2_000_000,), compression="gzip")


def hidden_bomb(file):
    """A chunk of 800 bytes that unpacks to 200 MB."""
    dataset = file.create_dataset("a", (100,), "f8", chunks=(100,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(200_000_000), 1))


def long_names(file):
    group = file
    for _ in range(4):
        group = group.create_group("g" * 99)
    group["a"] = BIAS


REFUSED = {
    "no datasets": (lambda file: file.create_group("g"), "no arrays of numbers"),
    "only text": (lambda file: file.create_dataset("a", data="x"), "no arrays of numbers"),
    "external link": (
        lambda file: file.update({"e": h5py.ExternalLink(other_file(file), "x"), "a": BIAS}),
        "'e' is a link to another file",
    ),
    "through an external link": (
        lambda file: file.update(
            {"a": h5py.SoftLink("/z/x"), "z": h5py.ExternalLink(other_file(file), "/")}
        ),
        "'z' is a link to another file",
    ),
    "external storage": (
        lambda file: file.create_dataset(
            "a", (4,), "f8", external=[(other_file(file), 0, h5py.h5f.UNLIMITED)]
        ),
        "'a' has its numbers in another file",
    ),
    "virtual": (virtual, "'v' is virtual"),
    "soft link to nothing": (
        lambda file: file.update({"s": h5py.SoftLink("/none"), "a": BIAS}),
        "'s' is a link that leads nowhere",
    ),
    "soft link to itself": (
        lambda file: file.update({"s": h5py.SoftLink("/s"), "a": BIAS}),
        "'s' is a link that leads nowhere",
    ),
    "groups in a ring": (ring, "'g/self' is a link that leads back to what it is in"),
    "long names": (long_names, "300 characters"),
    "odd name": (lambda file: file.update({"a\n\x1b": BIAS}), "an object is named"),
    "record": (lambda file: file.update({"a": np.zeros(2, "f4,f4")}), "not numbers"),
    "complex": (lambda file: file.update({"a": BIAS * 1j}), "'a' is of type complex128"),
    "opaque": (lambda file: file.update({"a": np.zeros(2, "V3")}), "not numbers"),
    "sub-array": (
        lambda file: file.create_dataset("a", (2,), np.dtype(("f4", (3,)))),
        "not numbers",
    ),
    "ragged": (
        lambda file: file.create_dataset("a", (2,), h5py.vlen_dtype("f4")),
        "'a' is of type object",
    ),
    "reference": (
        lambda file: file.create_dataset("a", (2,), h5py.ref_dtype),
        "'a' is of type object",
    ),
    "wide float": (lambda file: file.update({"a": np.zeros(2, np.longdouble)}), "not numbers"),
    "lzf": (
        lambda file: file.create_dataset("a", data=BIAS, compression="lzf"),
        "'a' needs filter 32000",
    ),
    "fletcher32": (
        lambda file: file.create_dataset("a", data=BIAS, fletcher32=True),
        "'a' needs filter 3;",
    ),
    "declared": (
        lambda file: file.create_dataset("a", (1 << 40,), "f8", chunks=(100,)),
        "more than twice the file's size",
    ),
    "bomb": (
        lambda file: file.create_dataset(
            "a", (100, 1 << 20), "u1", compression="gzip", fillvalue=1
        ),
        "more than twice the file's size",
    ),
    "hidden bomb": (hidden_bomb, "damaged: the HDF5 library cannot read it"),
    "big chunk": (big_chunk, "has chunks of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path):
    write, says = REFUSED[case]
    assert says in refused(read_h5, build(tmp_path / "a.h5", write))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"just words" * 1000, "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n", "truncated"),
        (b"\x89HDF\r\n\x1a\n" + b"\xff" * 100, "unknown version"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "addresses do not have 8 bytes"),
        (b"\x89HDF\r\n\x1a\n\2\x08\x08" + bytes(100), "damaged"),
    ],
)
def test_refuses_what_is_no_hdf5(data, says, tmp_path):
    assert says in refused(read_h5, tmp_path / "a.h5", data)


def test_without_h5py(tmp_path, monkeypatch):
    path = build(tmp_path / "a.h5", keras)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'jaxadv[port]'" in refused(read_h5, path)


def many_ways(file):
    """Thirty groups of two links to the next one: 2 ** 30 names."""
    file["a"] = BIAS
    for number in range(30):
        file.create_group(f"g{number}")
    for number in range(29):
        for way in "ab":
            file[f"g{number}/{way}"] = file[f"g{number + 1}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "write", [many_ways, lambda f: [f.create_group(str(i)) for i in range(20_000)]]
)
def test_many_names_do_not_take_long(write, tmp_path):
    path = build(tmp_path / "a.h5", write)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert "more than 10000 objects" in refused(read_h5, path)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10


def test_a_process_that_dies(tmp_path, monkeypatch):
    """As one does in which the HDF5 library has read outside of its memory."""
    path = build(tmp_path / "a.h5", keras)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert "damaged, or needs too much memory" in refused(read_h5, path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert "No such file" in refused(read_h5, path)


def test_the_working_directory_is_no_place_for_modules(tmp_path, monkeypatch):
    build(tmp_path / "a.h5", keras)
    (tmp_path / "h5py.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert_same(read_h5("a.h5"), KERAS)


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}])
def test_truncated(options, tmp_path):
    whole = build(tmp_path / "a.h5", keras, **options).read_bytes()
    for percent in range(0, 100, 2):
        refused(read_h5, tmp_path / "a.h5", whole[: len(whole) * percent // 100])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.h5"

    def write(file):
        file["g/a"] = np.arange(4.0)
        file.create_dataset("z", data=np.arange(64), chunks=(32,), compression="gzip")

    return build(path, write).read_bytes()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_files_are_arrays_or_errors(whole, tmp_path_factory, changes):
    """Most of a small file are unused zeros; the damage is done near what is not."""
    data = bytearray(whole)
    places = [place for place, value in enumerate(whole) if value]
    for place, value in changes:
        data[places[place % len(places)]] = value
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    assert_arrays_or_refused(read_h5, path, data)
