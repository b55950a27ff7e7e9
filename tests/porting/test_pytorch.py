import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from porting.checks import assert_arrays_or_refused, assert_same, refused
from porting.hostile_pytorch import (
    GOOD,
    RAW,
    WEIGHT,
    bombs,
    call,
    calls,
    damaged_legacy,
    damaged_pickles,
    damaged_tensors,
    damaged_zips,
    finish,
    group,
    identity,
    legacy,
    mapping,
    name,
    number,
    numbers,
    tensor,
    text,
    zipped,
    zipped_64,
)

from jaxadv.errors import InputError
from jaxadv.formats.errors import PortingError
from jaxadv.porting.pytorch import read_pytorch
from jaxadv.porting.readers import read as read_any

FORMATS = ["zip", "legacy"]
CALLS = calls("true")
PICKLES = damaged_pickles()
TENSORS = damaged_tensors()
FILES = damaged_zips() | damaged_legacy()


@pytest.fixture
def read(tmp_path):
    """Read a file with these bytes."""

    def read(contents):
        path = tmp_path / "model.pth"
        path.write_bytes(contents)
        return read_pytorch(path)

    return read


@pytest.fixture
def refusal(tmp_path):
    """The reason why a file with these bytes is refused, on one line behind its name."""

    def refusal(contents):
        reason = refused(read_pytorch, tmp_path / "model.pth", contents)
        assert len(reason) < 298  # of which nothing was cut off
        return reason

    return refusal


@pytest.fixture
def saved(torch, tmp_path):
    """Save with PyTorch and read the file."""

    def saved(value, form="zip", **options):
        path = tmp_path / "model.pth"
        torch.save(value, path, _use_new_zipfile_serialization=form == "zip", **options)
        return read_pytorch(path)

    return saved


def assert_tensors(found, tensors):
    """The arrays hold the tensors' values and belong to the reader alone."""
    wide = {k: v.float() if str(v.dtype) == "torch.bfloat16" else v for k, v in tensors.items()}
    assert_same(found, {key: value.detach().numpy() for key, value in wide.items()})
    assert list(found) == list(tensors)
    for array in found.values():
        assert array.flags.c_contiguous and array.flags.writeable


# --- Files of PyTorch -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_every_dtype(form, saved, torch):
    names = ["float32", "float64", "float16", "bfloat16", "int64"]
    names += ["int32", "int16", "int8", "uint8", "bool"]
    values = torch.tensor([[0.0, 1.0, 2.5], [100.0, 3.0, 0.25]])
    tensors = {key: values.to(getattr(torch, key)) for key in names}
    assert_tensors(saved(tensors, form), tensors)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("key", ["uint16", "uint32", "uint64"])
def test_dtypes_without_a_storage_class(key, form, saved, torch):
    whole = torch.arange(12).to(getattr(torch, key)).reshape(3, 4)
    tensors = {"whole": whole, "column": whole[1:, 2]}
    assert_tensors(saved(tensors, form), tensors)


@pytest.mark.parametrize("form", FORMATS)
def test_special_values(form, saved, torch):
    values = torch.tensor([np.nan, np.inf, -np.inf, -0.0, 1e-40, 3e38])
    tensors = {"single": values, "half": values.half(), "brain": values.bfloat16()}
    found = saved(tensors, form)
    assert_tensors(found, tensors)
    assert np.signbit(found["brain"][3])


@pytest.mark.parametrize("form", FORMATS)
def test_views(form, saved, torch):
    base = torch.arange(120.0).reshape(4, 5, 6)
    tensors = {
        "base": base,
        "transposed": base.permute(2, 0, 1),
        "part": base[1:3, ::2, 4:],
        "diagonal": base[0].diagonal(),
        "element": base[3, 4, 5],
        "expanded": base[:, :1, :1].expand(4, 5, 6),
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0),
        "empty part": base[:, 2:2],
        "empty end": base.flatten()[120:],
        "one": torch.ones(1, 1, 1),
        "windows": torch.arange(8.0).unfold(0, 3, 2)[:2],
        "brain": base.bfloat16().mT,
        "bits": (base > 60).permute(2, 1, 0),
    }
    found = saved(tensors, form)
    assert_tensors(found, tensors)
    assert not np.shares_memory(found["base"], found["part"])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_module(protocol, form, saved, torch):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = module.state_dict()
    assert hasattr(state, "_metadata")
    assert_tensors(saved(state, form, pickle_protocol=protocol), state)


@pytest.mark.parametrize("form", FORMATS)
def test_parameters(form, saved, torch):
    parameters = OrderedDict(torch.nn.Linear(3, 2).named_parameters())
    assert_tensors(saved(parameters, form), parameters)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("form", FORMATS)
def test_training_checkpoint(form, key, saved, torch):
    """All that is saved beside the model is passed over, tensors of the optimiser among it."""
    model = torch.nn.DataParallel(torch.nn.Linear(3, 2))
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    checkpoint = {
        "epoch": 3,
        "best": 0.5,
        "arch": "resnet\n☃",
        "args": {"lr": 1e-3, "layers": [1, 2], "size": torch.Size([2, 3]), "seed": 2**63},
        "optimizer": optimiser.state_dict(),
        "dtype": torch.float16,
        "done": None,
        "rng": torch.get_rng_state(),
        key: model.state_dict(),
    }
    assert_tensors(saved(checkpoint, form), model.state_dict())


def test_names(saved, torch):
    one = torch.ones(1)
    assert list(saved({"a": one, "epoch": 3})) == ["a"]
    assert list(saved({"модуль": one, "": one, "a b": one})) == ["модуль", "", "a b"]
    assert list(saved({"b": one, "a": one})) == ["b", "a"]


def test_nested_dicts(refusal, saved, torch):
    one = {"weight": torch.ones(1)}
    assert list(saved({"model": one, "other": torch.ones(2), "state_dict": {}})) == ["weight"]
    assert list(saved({"model": torch.ones(2), "encoder": one})) == ["model"]
    with pytest.raises(PortingError, match="tensors both in 'state_dict' and in 'model'"):
        saved({"model": one, "state_dict": dict(one)})
    assert list(saved({"net": {"model": {"state_dict": one}}, "epoch": 3})) == ["weight"]
    with pytest.raises(PortingError, match="no tensors; the file holds 'encoder', 'epoch'"):
        saved({"encoder": one, "epoch": 3})


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_dict_is_named(form, saved, torch):
    for value, says in [
        ([torch.ones(1)], "holds a value of type list"),
        (torch.ones(1), "holds a tensor"),
        (torch.ones(1).untyped_storage(), "holds a storage"),
        (3, "holds a value of type int"),
        ({}, "no tensors; the file holds an empty dict"),
        ({1: torch.ones(1)}, "named by a number"),
    ]:
        with pytest.raises(PortingError, match=says):
            saved(value, form)


@pytest.mark.parametrize("form", FORMATS)
def test_other_tensors_are_refused_by_name(form, saved, torch):
    with pytest.raises(PortingError, match="_rebuild_sparse_tensor"):
        saved({"a": torch.eye(2).to_sparse()}, form)
    with pytest.raises(PortingError, match="ComplexFloatStorage"):
        saved({"a": torch.ones(2, dtype=torch.complex64)}, form)
    with pytest.raises(PortingError, match="float8_e4m3fn"):
        saved({"a": torch.ones(2).to(torch.float8_e4m3fn)}, form)
    with pytest.raises(PortingError, match="metadata"):
        saved({"a": torch._neg_view(torch.ones(2))}, form)


@pytest.mark.parametrize("form", FORMATS)
def test_whole_modules_are_refused(form, saved, torch):
    with pytest.raises(PortingError, match=r"torch\.nn\.modules\.linear\.Linear"):
        saved(torch.nn.Linear(2, 2), form)


@pytest.mark.parametrize("layers", [20, 32, 56])
def test_cifar_checkpoints(layers, real_data, torch):
    (path,) = real_data.glob(f"resnet_cifar10/resnet{layers}-*.th")
    theirs = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert_tensors(read_any(path), {key.removeprefix("module."): theirs[key] for key in theirs})


@pytest.mark.parametrize("form", FORMATS)
def test_memory_of_a_large_file(form, torch, tmp_path):
    path = tmp_path / "large.pth"
    tensors = {f"{i}": torch.rand(1000, 1000) for i in range(8)}
    torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    tracemalloc.start()
    found = read_pytorch(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_tensors(found, tensors)
    assert peak < 1.1 * path.stat().st_size


# --- Files written by hand ------------------------------------------------------------------------


def test_zip(read):
    found = read(zipped(GOOD))
    np.testing.assert_array_equal(found.pop("weight"), WEIGHT, strict=True)
    assert not found


@pytest.mark.parametrize("root", ["archive", "a b.c:d", "модель"])
def test_zip_roots_and_more_entries(root, read):
    more = [
        (f"{root}/version", b"3\n"),
        (f"{root}/.data/id", b"0123"),
        (f"{root}/byteorder", b"little"),
    ]
    assert list(read(zipped(GOOD, root=root, entries=more))) == ["weight"]


def test_big_endian(read):
    marks = [("archive/byteorder", b"big")]
    found = read(zipped(GOOD, WEIGHT.astype(">f4").tobytes(), entries=marks))
    np.testing.assert_array_equal(found["weight"], WEIGHT, strict=True)
    brain = mapping(weight=tensor(kind="BFloat16Storage"))
    upper = WEIGHT.view("<u4") >> 16
    found = read(zipped(brain, upper.astype(">u2").tobytes(), entries=marks))
    np.testing.assert_array_equal(found["weight"], WEIGHT, strict=True)


def test_bytes_that_are_no_bools(read):
    found = read(zipped(mapping(weight=tensor(kind="BoolStorage")), bytes([0, 1, 2, 255, 0, 3])))
    np.testing.assert_array_equal(found["weight"], [[0, 1, 1], [1, 0, 1]])


@pytest.mark.parametrize("module", ["torch", "torch.storage"])
@pytest.mark.parametrize(("kind", "ok"), [("UntypedStorage", True), ("_UntypedStorage", False)])
def test_untyped_storages(kind, ok, module, read, refusal):
    storage = identity(kind, count=24, module=module)
    rebuild = name("torch._utils", "_rebuild_tensor_v3")
    view = numbers(2, 2), numbers(3, 1)
    opcodes = call(rebuild, storage, number(1), *view, b"\x89N", name("torch", "float32"), b"N")
    if ok or module == "torch.storage":
        np.testing.assert_array_equal(read(zipped(mapping(w=opcodes)))["w"], WEIGHT[:, 1:])
    else:
        assert "torch._UntypedStorage" in refusal(zipped(mapping(w=opcodes)))


def test_zip64(read):
    """PyTorch always writes such a directory; here the sizes of the entries are in it too."""
    entries = [(b"archive/data.pkl", finish(GOOD)), (b"archive/data/0", RAW)]
    found = read(zipped_64(entries, struct.pack("<HH2s", 7, 2, b"??")))
    np.testing.assert_array_equal(found["weight"], WEIGHT, strict=True)


def py2(value):
    """A `str` of Python 2."""
    return b"U" + bytes([len(value)]) + value


def test_python_2(read):
    """PyTorch 0.1 to 0.4 in Python 2: strings are bytes, 64-bit numbers text, dicts lists."""
    view = group(py2(b"94020255495058"), number(1), number(5))
    fields = [py2(b"storage"), name("torch", "FloatStorage"), py2(b"94020255495056")]
    storage = group(*fields, py2(b"cuda:0"), number(6), view) + b"Q"
    rebuild = name("torch._utils", "_rebuild_tensor")
    weight = call(rebuild, storage, b"K\x01", group(b"I2\n", b"I2\n"), group(b"I2\n", b"I1\n"))
    pairs = b"](" + b"](" + py2(b"module.w\xe9ight") + weight + b"e" + b"e"
    state = call(name("collections", "OrderedDict"), pairs)
    number_64 = b"I94020255495056\n"
    optimiser = b"}(" + number_64 + py2(b"momentum") + b"I-3\nK\x01u"
    whole = b"}(" + py2(b"state_dict") + state + py2(b"optimizer") + optimiser + b"u"
    contents = legacy(whole, keys=()).replace(
        finish(b"](e"), finish(b"](" + py2(b"94020255495056") + b"e")
    )
    found = read(contents)
    assert list(found) == ["module.wéight"]
    np.testing.assert_array_equal(found["module.wéight"], [[2, 3], [4, 5]])


def test_one_storage_in_two_views(read):
    def part(key, start):
        view = group(text(key), number(start), number(3))
        return tensor((3,), (1,), rest=view)

    found = read(legacy(mapping(a=part("1", 0), b=part("2", 3))))
    np.testing.assert_array_equal(found["a"], WEIGHT[0])
    np.testing.assert_array_equal(found["b"], WEIGHT[1])


def test_tied_weights(read):
    """One storage under several names is an array each."""
    tied = b"}(" + text("a") + tensor() + b"q\x05" + text("b") + b"h\x05u"
    found = read(zipped(tied))
    np.testing.assert_array_equal(found["a"], found["b"])
    assert not np.shares_memory(found["a"], found["b"])


# --- Files that are refused -----------------------------------------------------------------------


def packed(opcodes, form):
    """A file of a pickle whose storages have no view; legacy files must say so."""
    return zipped(opcodes) if form == "zip" else legacy(opcodes.replace(b"tQ", b"NtQ"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", CALLS)
def test_nothing_is_executed(what, form, refusal, tmp_path):
    canary = tmp_path / "canary"
    opcodes, shown = calls(f"touch {canary}")[what]
    assert shown in refusal(packed(opcodes, form))
    assert shown in refusal(packed(b"}(" + text("a") + opcodes + text("b") + b"Nu", form))
    assert not canary.exists()


def test_the_command_is_one(tmp_path):
    """The files above are refused, not broken: Python's own unpickler executes them."""
    canary = tmp_path / "canary"
    for what in ("posix.system", "eval", "getattr chain", "partial", "instance", "stack global"):
        pickle.loads(finish(calls(f"touch {canary}")[what][0]))
        assert canary.exists(), what
        canary.unlink()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", PICKLES)
def test_damaged_pickles(what, form, refusal):
    opcodes, says = PICKLES[what]
    assert says in refusal(packed(opcodes, form))


@pytest.mark.parametrize("what", TENSORS)
def test_damaged_tensors(what, refusal):
    reason = refusal(zipped(TENSORS[what]))
    assert "tensor" in reason or "storage" in reason


@pytest.mark.parametrize("what", FILES)
def test_damaged_files(what, refusal):
    contents, says = FILES[what]
    assert says in refusal(contents)


@pytest.mark.parametrize(
    "contents", [zipped(GOOD), legacy(mapping(w=tensor(rest=b"N")))], ids=FORMATS
)
def test_truncated_anywhere(contents, read, refusal):
    assert len(read(contents)) == 1
    for length in range(1, len(contents)):
        refusal(contents[:length])


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_of_pytorch(form, torch, tmp_path, refusal):
    path = tmp_path / "whole.pth"
    state = torch.nn.Sequential(*[torch.nn.Linear(30, 30) for _ in range(5)]).state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    for percent in range(100):
        refusal(whole[: len(whole) * percent // 100])


BOMBS_IN_A_CHILD = """
import json, resource, sys
from jaxadv.formats.errors import PortingError
from jaxadv.porting.pytorch import read_pytorch

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

found = {"": peak()}
for path in sys.argv[1:]:
    try:
        read_pytorch(path)
    except PortingError as error:
        assert str(error).startswith(path) and str(error).isprintable() and len(str(error)) < 400
        found[path] = peak()
print(json.dumps(found))
"""


def test_bombs(tmp_path):
    """All in one process of their own, whose memory is measured, and which must not crash."""
    paths = []
    for what, contents in bombs().items():
        paths.append(tmp_path / f"{what}.pth")
        paths[-1].write_bytes(contents)
    paths.sort(key=os.path.getsize)
    run = subprocess.run(
        [sys.executable, "-c", BOMBS_IN_A_CHILD, *map(str, paths)],
        capture_output=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr.decode()
    peaks = json.loads(run.stdout)
    before = peaks.pop("")
    assert list(peaks) == list(map(str, paths))
    for path, peak in peaks.items():
        assert peak - before <= 2 * os.path.getsize(path) + 200e6, path


SOUND = {
    "zip": zipped(GOOD, entries=[("archive/byteorder", b"little")]),
    "legacy": legacy(mapping(model=mapping(weight=tensor(rest=b"N"))), storages=[(6, RAW)]),
}


@st.composite
def mutated(draw):
    contents = bytearray(SOUND[draw(st.sampled_from(FORMATS))])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(contents) - 1))
        kind = draw(st.sampled_from(["set", "bit", "delete", "insert", "repeat"]))
        if kind == "set":
            contents[place] = draw(st.integers(0, 255))
        elif kind == "bit":
            contents[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "delete":
            del contents[place : place + draw(st.integers(1, 8))]
        elif kind == "insert":
            contents[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            contents[place:place] = contents[place : place + draw(st.integers(1, 64))]
        if not contents:
            break
    return bytes(contents)


@settings(max_examples=500, deadline=None, database=None)
@given(contents=mutated())
def test_mutated_files(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "mutated.pth"
    assert_arrays_or_refused(read_pytorch, path, contents)


OPCODES = sorted(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)
PIECES = [
    *OPCODES,
    tensor(),
    identity(),
    numbers(2, 3),
    number(-1),
    name("collections", "OrderedDict"),
    name("torch._utils", "_rebuild_tensor"),
    name("torch._utils", "_rebuild_parameter"),
    name("torch", "Size"),
    name("torch", "float32"),
    text("state_dict"),
    text("_metadata"),
    call(name("collections", "OrderedDict")),
    mapping(weight=tensor()),
    b"K\x00",
    b"h\x00",
    b"q\x00",
]


@settings(max_examples=500, deadline=None, database=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_random_pickles(tmp_path_factory, pieces):
    path = tmp_path_factory.getbasetemp() / "random.pth"
    assert_arrays_or_refused(read_pytorch, path, zipped(b"".join(pieces)))


# --- Paths ----------------------------------------------------------------------------------------


def test_errors_are_input_errors():
    assert issubclass(PortingError, InputError)


def test_paths(tmp_path):
    with pytest.raises(PortingError, match=r"nothing\.pth: .*No such file"):
        read_pytorch(tmp_path / "nothing.pth")
    with pytest.raises(PortingError, match="this is a folder"):
        read_pytorch(str(tmp_path))
    (tmp_path / "empty.pth").touch()
    with pytest.raises(PortingError, match="0 bytes"):
        read_pytorch(tmp_path / "empty.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(PortingError, match="not a regular file"):
        read_pytorch(tmp_path / "pipe.pth")
    with pytest.raises(PortingError, match="Not a directory"):
        read_pytorch(tmp_path / "empty.pth" / "inside.pth")


@pytest.mark.parametrize("path", ["two\nlines.pth", "\udcff.pth", "nul\0.pth", ""])
def test_odd_names_stay_on_one_line(path):
    with pytest.raises(PortingError) as caught:
        read_pytorch(path)
    assert str(caught.value).startswith(ascii(path)) and str(caught.value).isprintable()


def test_pytorch_is_not_imported():
    code = "import sys, jaxadv.porting.pytorch as p; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
