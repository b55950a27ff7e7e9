import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from porting.checks import assert_arrays_or_refused, assert_same, refused

from jaxadv.formats import matlab
from jaxadv.formats.matlab import read_mat

RNG = np.random.default_rng(0)
ARRAYS = {
    "YAll": RNG.integers(0, 2, (5, 3), np.uint8),
    "LAll": RNG.normal(size=(5, 4)),
    "images": RNG.integers(0, 256, (2, 3, 4, 5), np.uint8),
    "single": RNG.normal(size=(2, 2)).astype(np.float32),
    "big": RNG.integers(-9, 9, (1, 7), np.int64),
    "one": np.array([[5.0]]),
    "empty": np.zeros((0, 3)),
    "mask": np.array([[True, False, True]]),
}


def encode(variables, **options):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


def cell(*items):
    array = np.empty((1, len(items)), object)
    array[0] = items
    return array


CONV1 = RNG.normal(size=(11, 11, 3, 4)).astype(np.float32)
BIAS1 = RNG.normal(size=(1, 4)).astype(np.float32)
FC8 = RNG.normal(size=(1, 1, 4, 6)).astype(np.float32)
PAD = np.array([[0, 1, 0, 1]], np.uint8)
MEAN = RNG.normal(size=(8, 8, 3)).astype(np.float32)


def network(old):
    """MatConvNet's networks before and since its beta 8."""
    first = {"filters": CONV1, "biases": BIAS1} if old else {"weights": cell(CONV1, BIAS1)}
    normalization = {"averageImage": MEAN, "imageSize": np.array([[8.0, 8, 3]])}
    layers = cell(
        {"name": "conv1", "type": "conv", "pad": PAD, "stride": np.array([[4.0, 4]]), **first},
        {"name": "relu1", "type": "relu"},
        {"name": "fc8", "type": "conv", "weights": cell(FC8, np.zeros((1, 6)), np.ones((6, 2)))},
    )
    rest = {"normalization": normalization, "classes": {"name": cell("tench", "goldfish")}}
    return {"layers": layers, **(rest if old else {"meta": rest})}


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name, contents, kind=6, shape=(1, 2), flags=0, dims=None):
    """The contents of a matrix; `contents` are its elements behind the name."""
    sizes = struct.pack(f"<{len(shape)}i", *shape) if dims is None else dims
    return (
        element(6, struct.pack("<II", kind | flags, 0))
        + element(5, sizes)
        + element(1, name)
        + contents
    )


def mat(*variables, kind=14, packed=False):
    data = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    for variable in variables:
        whole = element(kind, variable)
        if packed:
            squeezed = zlib.compress(whole)
            whole = struct.pack("<II", 15, len(squeezed)) + squeezed
        data += whole
    return data


TWO = element(9, struct.pack("<2d", 1, 2))
ONE = matrix(b"a", TWO)


def nested(levels):
    data = matrix(b"", TWO)
    for _ in range(levels):
        data = matrix(b"", element(14, data), kind=1, shape=(1, 1))
    return matrix(b"a", element(14, data), kind=1, shape=(1, 1))


def structs(levels):
    return {"f" * 31: structs(levels - 1)} if levels else PAD


def fields(width, names):
    return element(5, struct.pack("<i", width)) + element(1, names)


def bomb(declared):
    """What unpacks to 200 MB, with any length declared."""
    squeezer = zlib.compressobj()
    data = squeezer.compress(struct.pack("<II", 14, declared))
    for _ in range(20):
        data += squeezer.compress(bytes(10_000_000))
    data += squeezer.flush()
    return mat() + struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_scipy_writes(packed, tmp_path):
    path = tmp_path / "data.mat"
    path.write_bytes(encode(ARRAYS | {"note": "text"}, do_compression=packed))
    assert_same(read_mat(path), ARRAYS)


def test_real_features(real_data):
    path = real_data / "wiki_crossmodal" / "wikiData.mat"
    theirs = scipy.io.loadmat(path)
    expected = {name: value for name, value in theirs.items() if not name.startswith("__")}
    assert_same(read_mat(path), expected)


def test_big_endian(tmp_path):
    path = tmp_path / "data.mat"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    body = struct.pack(">8I", 6, 8, 6, 0, 5, 8, 1, 2) + struct.pack(">II", 1 << 16 | 1, 0x61000000)
    body += struct.pack(">IIdd", 9, 16, 1.5, -2)
    path.write_bytes(header + struct.pack(">II", 14, len(body)) + body)
    assert_same(read_mat(path), {"a": np.array([[1.5, -2]])})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_matconvnet(old, packed, tmp_path):
    path = tmp_path / "imagenet-vgg-f.mat"
    path.write_bytes(encode(network(old), do_compression=packed))
    assert_same(
        read_mat(path),
        {
            "conv1.weight": CONV1,
            "conv1.bias": BIAS1,
            "conv1.pad": PAD,
            "conv1.stride": np.array([[4.0, 4]]),
            "fc8.weight": FC8,
            "fc8.bias": np.zeros((1, 6)),
            "fc8.moments": np.ones((6, 2)),
            "normalization.averageImage": MEAN,
            "normalization.imageSize": np.array([[8.0, 8, 3]]),
        },
    )


def test_matconvnet_in_a_variable_and_as_an_array_of_structs(tmp_path):
    """Layers with the same fields make a struct array instead of a cell of structs."""
    path = tmp_path / "net.mat"
    layers = np.array([[("a", CONV1), ("b", FC8)]], [("name", object), ("filters", object)])
    path.write_bytes(encode({"net": {"layers": layers}}))
    assert_same(read_mat(path), {"a.weight": CONV1, "b.weight": FC8})


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 300, PAD])
def test_layers_without_a_usable_name_keep_their_number(name, tmp_path):
    path = tmp_path / "net.mat"
    path.write_bytes(encode({"layers": cell({"name": name, "filters": FC8})}))
    found = read_mat(path)
    np.testing.assert_array_equal(found["layers.0.filters"], FC8)


def test_other_structs_and_cells(tmp_path):
    path = tmp_path / "data.mat"
    path.write_bytes(encode({"s": {"x": BIAS1, "c": cell("text", PAD)}, "layers": cell(MEAN)}))
    assert_same(read_mat(path), {"s.x": BIAS1, "s.c.1": PAD, "layers.0": MEAN})


CUT = zlib.compress(element(14, ONE)[:-8])
REFUSED = {
    "nothing": (b"", "0 bytes"),
    "no mat": (b"just words", "not a file of MATLAB"),
    "version 4": (encode(ARRAYS | {"images": PAD}, format="4"), "not a file of MATLAB"),
    "no variables": (mat(), "no arrays of numbers"),
    "only text": (encode({"a": "text"}), "no arrays of numbers"),
    "only empty cells": (encode({"a": cell()}), "no arrays of numbers"),
    "complex": (encode({"a": np.array([1j])}), "'a' is complex"),
    "sparse": (mat(matrix(b"s", b"", kind=5)), "'s' is a sparse matrix"),
    "object": (mat(matrix(b"o", b"", kind=3)), "'o' is an object"),
    "function": (mat(matrix(b"f", b"", kind=16)), "'f' is a function"),
    "opaque": (mat(matrix(b"t", b"", kind=17)), "'t' is an object"),
    "unknown class": (mat(matrix(b"u", b"", kind=99)), "unknown class"),
    "without a name": (mat(matrix(b"", TWO)), "without a name"),
    "twice": (mat(ONE, ONE), "two arrays 'a'"),
    "two layers of one name": (
        encode({"layers": cell({"name": "x", "biases": PAD}, {"name": "x", "biases": PAD})}),
        "two arrays 'x.bias'",
    ),
    "odd name": (mat(matrix(b"a\n\x1b", TWO)), "is named"),
    "long name": (mat(matrix(b"a" * 100, TWO)), "is named"),
    "no variable": (mat(ONE, kind=9), "element of type 9"),
    "packed number": (mat(ONE, kind=9, packed=True), "element of type 9"),
    "element beyond": (mat()[:-8] + mat()[-8:] + struct.pack("<II", 14, 1 << 31), "truncated"),
    "shape": (mat(matrix(b"a", TWO, shape=(1, 3))), "of shape (1, 3) has 2"),
    "huge": (mat(matrix(b"a", TWO, shape=(2**31 - 1,) * 8)), "has 2 numbers"),
    "negative": (mat(matrix(b"a", TWO, shape=(-1, -2))), "impossible shape"),
    "99 dimensions": (mat(matrix(b"a", TWO, shape=(1,) * 99)), "impossible shape"),
    "no dimensions": (mat(matrix(b"a", TWO, shape=())), "impossible shape"),
    "half a number": (mat(matrix(b"a", TWO, dims=b"123456")), "ends within a number"),
    "numbers of text": (mat(matrix(b"a", element(16, b"ab"))), "element of type 16"),
    "no numbers": (mat(matrix(b"a", b"")), "an element is missing"),
    "inner beyond": (mat(matrix(b"a", struct.pack("<II", 9, 1 << 30))), "ends behind"),
    "short element": (mat(matrix(b"a", struct.pack("<II", 9 << 16 | 2, 0))), "too long"),
    "rest": (mat(ONE[:-4]), "damaged"),
    "truth value 2": (
        mat(matrix(b"a", element(2, b"\1\2"), kind=9, flags=0x200)),
        "neither 0 nor 1",
    ),
    "cell of huge shape": (
        mat(matrix(b"c", element(14, ONE), kind=1, shape=(2**31 - 1,) * 4)),
        "an element is missing",
    ),
    "cell of numbers": (mat(matrix(b"c", TWO, kind=1)), "type 9 in a cell or struct"),
    "long path": (encode({"s": structs(10)}), "more than 300 characters"),
    "deep": (mat(nested(2_000)), "nested more than 16 deep"),
    "struct without fields": (
        mat(matrix(b"s", fields(8, b""), kind=2, shape=(2**31 - 1,) * 4)),
        "no arrays of numbers",
    ),
    "fields of no width": (mat(matrix(b"s", fields(0, b"abc"), kind=2)), "impossible names"),
    "fields in part": (mat(matrix(b"s", fields(2, b"abc"), kind=2)), "impossible names"),
    "many fields": (mat(matrix(b"s", fields(2, b"a\0" * 9999), kind=2)), "4096 fields"),
    "field twice": (
        mat(matrix(b"s", fields(1, b"aa") + element(14, ONE) * 2, kind=2, shape=(1, 1))),
        "two arrays 's.a'",
    ),
    "text of doubles": (mat(matrix(b"t", TWO, kind=4)), "text of unknown type"),
    "no zlib": (mat() + struct.pack("<II", 15, 8) + b"12345678", "damaged"),
    "cut zlib": (mat() + struct.pack("<II", 15, 12) + CUT[:12], "no end"),
    "zlib of nothing": (mat() + struct.pack("<II", 15, 8) + zlib.compress(b""), "too short"),
    "wrong zlib": (mat(ONE, packed=True)[:-1] + b"\0", "damaged"),
    "behind zlib": (
        mat() + struct.pack("<II", 15, 12) + zlib.compress(b"") + b"1234",
        "bytes behind",
    ),
    "bomb": (bomb(200_000_000), "unpacks to more than twice its size"),
    "hidden bomb": (bomb(80), "longer than it says"),
    "shorter": (
        mat() + struct.pack("<II", 15, len(CUT)) + CUT,
        "shorter than it says",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, tmp_path):
    data, says = REFUSED[case]
    assert says in refused(read_mat, tmp_path / "data.mat", data)


def test_too_many_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "MAX_MATRICES", 7)
    assert "more than 7 matrices" in refused(read_mat, tmp_path / "data.mat", encode(ARRAYS))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_truncated(percent, packed, tmp_path):
    data = encode({"net": network(old=False)}, do_compression=packed)
    refused(read_mat, tmp_path / "data.mat", data[: len(data) * percent // 100])


def hdf5_file(path, write):
    """A file of MATLAB 7.3: 512 bytes of its own, then HDF5."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        write(file, h5py)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def put(group, name, array, kind=None, **options):
    """Write an array as MATLAB does, its axes reversed."""
    dataset = group.create_dataset(name, data=np.asarray(array).T, **options)
    if kind:
        dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    return dataset


def text(group, name, characters):
    return put(group, name, [[ord(character) for character in characters]], "char", dtype="u2")


def test_version_7_3(tmp_path):
    def write(file, h5py):
        put(file, "images", ARRAYS["images"], "uint8", compression="gzip", chunks=(1, 4, 3, 2))
        put(file, "mask", ARRAYS["mask"].astype(np.uint8), "logical")
        put(file, "LAll", ARRAYS["LAll"], "double")
        empty = file.create_dataset("empty", data=np.array([0, 3], np.uint64))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("double"), 1
        text(file, "note", "words")
        file.create_group("#refs#")["a"] = np.zeros(2)

    path = tmp_path / "FLICKR-25K.mat"
    hdf5_file(path, write)
    assert_same(read_mat(path), {k: ARRAYS[k] for k in ("images", "mask", "LAll", "empty")})


def test_matconvnet_of_version_7_3(tmp_path):
    """Cells, and fields of struct arrays, are references to where their contents are."""

    def references(group, name, targets, h5py, kind=None):
        dataset = group.create_dataset(name, (len(targets), 1), h5py.ref_dtype)
        dataset[:, 0] = [target.ref for target in targets]
        if kind:
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)

    def write(file, h5py):
        store = file.create_group("#refs#")
        conv, relu = store.create_group("b"), store.create_group("c")
        text(conv, "name", "conv1")
        text(relu, "name", "relu1")
        put(conv, "pad", PAD, "uint8")
        weights = [put(store, "d", CONV1, "single"), put(store, "e", BIAS1, "single")]
        references(conv, "weights", weights, h5py, "cell")
        references(file, "layers", [conv, relu], h5py, "cell")
        put(file, "meta/normalization/averageImage", MEAN, "single")
        put(store, "f", PAD, "uint8")
        references(file.create_group("structs"), "x", [store["f"]], h5py)

    path = tmp_path / "net.mat"
    hdf5_file(path, write)
    expected = {"conv1.weight": CONV1, "conv1.bias": BIAS1, "conv1.pad": PAD}
    expected |= {"normalization.averageImage": MEAN, "structs.0.x": PAD}
    assert_same(read_mat(path), expected)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda file, h5py: text(file, "a", "x"), "no arrays of numbers"),
        (lambda file, h5py: put(file, "a", MEAN, "table"), "'a' is an object of class 'table'"),
        (
            lambda file, h5py: file.create_group("s").attrs.create("MATLAB_sparse", 5),
            "'s' is a sparse matrix",
        ),
        (
            lambda file, h5py: put(file, "a", np.ones(2), "double").attrs.create("MATLAB_empty", 1),
            "without a shape",
        ),
        (
            lambda file, h5py: put(file, "a", [2, 3], "double").attrs.create("MATLAB_empty", 1),
            "empty, but of shape",
        ),
        (
            lambda file, h5py: file.create_dataset("a", (2,), h5py.ref_dtype),
            "damaged",
        ),
        (
            lambda file, h5py: file.create_dataset("a", (1 << 40,), h5py.ref_dtype, chunks=(9,)),
            "10000 at most are read",
        ),
    ],
)
def test_refuses_version_7_3(write, says, tmp_path):
    path = tmp_path / "data.mat"
    hdf5_file(path, write)
    assert says in refused(read_mat, path)


def test_cells_in_cells_without_end(tmp_path):
    def write(file, h5py):
        itself = file.create_dataset("a", (1,), h5py.ref_dtype)
        itself[0] = itself.ref
        itself.attrs["MATLAB_class"] = np.bytes_("cell")

    path = tmp_path / "data.mat"
    hdf5_file(path, write)
    assert "'a.0' is a link that leads back" in refused(read_mat, path)


@pytest.fixture(scope="module")
def plain():
    return encode({"net": network(old=False), "x": ARRAYS["LAll"]})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
def test_damaged_files_are_arrays_or_errors(plain, tmp_path_factory, changes, tags):
    """Structure is rarer than numbers in the file, so that half of the damage is done to it."""
    data = bytearray(plain)
    places = [i for i in range(128, len(data)) if data[i : i + 4] == b"\x0e\0\0\0"]
    for place, value in changes:
        near = places[place % len(places)] + place // len(places) % 64
        data[near if tags else place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    assert_arrays_or_refused(read_mat, path, data)
