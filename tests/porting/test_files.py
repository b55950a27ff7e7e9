"""What people hand over as a checkpoint: told by its first bytes, unwrapped, or refused."""

import os
import struct

import numpy as np
import pytest
from helpers.commands import call
from porting.hostile_pytorch import (
    GOOD,
    WEIGHT,
    finish,
    legacy,
    mapping,
    number,
    tensor,
    text,
    zipped,
)

from jaxadv.formats.errors import PortingError
from jaxadv.porting.fitting import Entry, Misfit, fit
from jaxadv.porting.readers import parts, read
from jaxadv.porting.suggestions import fitting
from jaxadv.porting.tables import classifier_table
from jaxadv.porting.wrapping import unwrapped
from jaxadv.victims.architectures import PUBLISHED

# ---------------------------------------------------------------- the first bytes decide


def npz():
    from io import BytesIO

    file = BytesIO()
    np.savez(file, weight=WEIGHT)
    return file.getvalue()


def safetensors():
    table = b'{"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    return struct.pack("<Q", len(table)) + table + WEIGHT.tobytes()


FORMATS = {
    "zip of PyTorch": zipped(GOOD),
    "plain of PyTorch": legacy(mapping(weight=tensor(rest=b"N"))),
    "npz": npz(),
    "safetensors": safetensors(),
}
NAMES = ("last.ckpt", "epoch=3-val_loss=0.10.ckpt", "model.ckpt-1", "model.bin", "model", "a.npz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMATS)
def test_any_format_under_any_name(form, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FORMATS[form])
    np.testing.assert_array_equal(read(path)["weight"], WEIGHT)
    assert parts(path) == [path]


OTHERS = {
    "a page": (b"<!DOCTYPE html><html><body>Virus scan warning", "an HTML page"),
    "a page behind blanks": (b"\n  <html>", "an HTML page"),
    "XML": (b'<?xml version="1.0"?><Error>', "an XML text"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s3--0.pth", "git annex get"),
    "gzip": (b"\x1f\x8b\x08\0abc", "gzip"),
    "bzip2": (b"BZh91AY&SY", "bzip2"),
    "xz": (b"\xfd7zXZ\0\0", "xz"),
    "zstd": (b"(\xb5/\xfd\0", "Zstandard"),
    "tar": (b"model.pth".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "tar archive"),
    "oldest": (b"storages".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "tar format"),
    "npy": (b"\x93NUMPY\1\0", "a single array"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    "GGUF": (b"GGUF\3\0\0\0", "GGUF"),
    "lite": (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
    "zeros": (bytes(2000), "nothing but zeros"),
    "list": (b'model_checkpoint_path: "model.ckpt-7"\n', "list of checkpoints"),
    "JSON": (b'{"weight_map": {}}', "a JSON text"),
    "text": (b"404: Not Found", "a text; checkpoints are PyTorch's"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x05", "no known format begins with"),
    "nothing": (b"", "empty (0 bytes)"),
    "table": (bytes(9) + b"x" * 40 + struct.pack("<Q", 0xDB4775248B80FB57), "format V1"),
    "pickle": (finish(b"}"), "a pickle, but not one that torch.save wrote"),
    "keras": (zipped(GOOD).replace(b"data.pkl", b"conf.jso"), "it holds 'archive/conf.jso'"),
    "script": (zipped(GOOD, entries=[("archive/constants.pkl", b"")]), "TorchScript"),
}


@pytest.mark.parametrize("name", ["model.pth", "model.ckpt"])
@pytest.mark.parametrize("what", OTHERS)
def test_other_files_are_told_by_what_they_look_like(what, name, tmp_path):
    contents, says = OTHERS[what]
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(PortingError) as caught:
        read(path)
    assert says in str(caught.value) and str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path, says in [
        (tmp_path, "this is a folder; give the checkpoint's file"),
        (tmp_path / "pipe.pth", "not a regular file"),
        (tmp_path / "none.pth", "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (tmp_path / "a\0b", "not a file name"),
    ]:
        with pytest.raises(PortingError, match=says):
            read(path)


def test_devices_are_not_read():
    from pathlib import Path

    with pytest.raises(PortingError, match="not a regular file"):
        read(Path("/dev/zero"))


# ---------------------------------------------------------------- wrappers

ONE, TWO = np.ones(1, np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("a b", "a b"),
        ("module.a module.b", "a b"),
        ("_orig_mod.a _orig_mod.b", "a b"),
        ("model.a model.b n_averaged", "a b"),
        ("module.a module.b n_averaged", "a b"),
        ("ema.a ema.b", "a b"),
        ("model._orig_mod.module.a model._orig_mod.module.b", "a b"),
        ("module.module.a module.b", "module.a b"),
        ("layer1._orig_mod.0.w b", "layer1.0.w b"),
        ("_fsdp_wrapped_module.a._fsdp_wrapped_module.w _fsdp_wrapped_module.b", "a.w b"),
        ("model.a criterion.b", "model.a criterion.b"),
        ("module.a b", "module.a b"),
        ("model_a model_b", "model_a model_b"),
    ],
)
def test_prefixes_of_wrappers(given, names):
    arrays = dict(zip(given.split(), (ONE, TWO, ONE), strict=False))
    assert list(unwrapped(arrays, "file")) == names.split()


def test_names_that_become_one():
    with pytest.raises(PortingError, match=r"file: with and without a wrapper's prefix are 'x\.a'"):
        unwrapped({"x._orig_mod.a": ONE, "x.a": TWO}, "file")


WRAPPED = {
    "net": mapping(net=mapping(weight=tensor()), epoch=number(3)),
    "ema": mapping(state_dict_ema=mapping(weight=tensor())),
    "two": mapping(model=mapping(state_dict=mapping(weight=tensor())), acc=number(91)),
    "three": mapping(net=mapping(model=mapping(state_dict=mapping(weight=tensor())))),
    "lightning": mapping(
        epoch=number(1), state_dict=b"}(" + text("model.weight") + tensor() + b"u"
    ),
    "averaged": b"}(" + text("n_averaged") + b"K\x05" + text("module.weight") + tensor() + b"u",
    "itself": b"}q\x00(" + text("model") + b"h\x00" + text("weight") + tensor() + b"u",
}


@pytest.mark.parametrize("what", WRAPPED)
def test_wrapped_state_dicts(what, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(zipped(WRAPPED[what]))
    assert list(read(path)) == ["weight"]


# ---------------------------------------------------------------- what does not fit

TREE = {
    "params": {"a": np.empty((3, 2), np.float32), "b": np.empty(2, np.float32)},
    "batch_stats": {"bn": {"var": np.empty(2, np.float32)}},
}
TABLE = {
    ("params", "a"): Entry("a.weight", lambda array: array.T),
    ("params", "b"): Entry("a.bias", lambda array: array),
    ("batch_stats", "bn", "var"): Entry("bn.running_var", lambda array: array),
}


def entries(**changed):
    arrays = {
        "a.weight": np.ones((2, 3), np.float32),
        "a.bias": np.ones(2, np.float32),
        "bn.running_var": np.ones(2, np.float32),
    } | {name.replace("_", ".", 1): value for name, value in changed.items()}
    return {name: value for name, value in arrays.items() if value is not None}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_size_fit(dtype):
    arrays = {name: array.astype(dtype) for name, array in entries().items()}
    variables, mapped = fit(arrays, TABLE, TREE, "file")
    assert variables["params"]["a"].dtype == np.float32 and len(mapped) == 3 and not arrays


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"a_weight": np.full((2, 3), np.nan, np.float32)}, "'a.weight' holds 6 NaN or infinite"),
        ({"a_bias": np.array([1, np.inf], np.float16)}, "'a.bias' holds 1 NaN or infinite of 2"),
        ({"a_bias": np.array([1, 1e300])}, "'a.bias' holds 1 NaN or infinite of 2"),
        ({"bn_running_var": np.array([1, -1e-6], np.float32)}, "'bn.running_var' holds negative"),
        ({"a_weight": np.ones((2, 3), np.int8)}, "holds int8, .* without their scale"),
        ({"a_weight": np.ones((2, 3), np.uint8)}, "holds uint8, .* without their scale"),
        ({"a_bias": np.ones(2, bool)}, "'a.bias' holds bool"),
        ({"a_bias": np.ones(2, np.int64)}, "'a.bias' holds int64"),
        ({"a_bias": None}, "1 missing: 'a.bias'"),
        ({"a_bias": None, "a_weight": None}, "2 missing: 'a.bias', 'a.weight'"),
        ({"a_surplus": np.ones(3)}, r"1 unexpected: 'a.surplus' \(3,\)"),
        ({"a_\x1b[2Jgood": np.ones(3)}, r"unexpected: 'a.\\x1b\[2Jgood'"),
        ({"a_weight": np.ones((3, 3))}, r"1 of another shape: 'a.weight' \(3, 3\)"),
        ({"a_weight": np.ones(())}, r"1 of another shape: 'a.weight' \(\)"),
    ],
)
def test_what_does_not_fit_is_named(changed, says):
    with pytest.raises(PortingError, match=f"^file: .*{says}") as caught:
        fit(entries(**changed), TABLE, TREE, "file")
    assert str(caught.value).isprintable()


def test_thousands_are_five_and_a_count():
    more = {f"extra.{number}": ONE for number in range(3000)}
    with pytest.raises(Misfit, match=r"3,000 unexpected: .* and 2,995 more$") as caught:
        fit(entries() | more, TABLE, TREE, "file")
    assert len(str(caught.value)) < 400


def of(name, classes=10):
    """Entries of a published classifier, of zeros."""
    made = PUBLISHED[name]
    tree = made.shapes({"classes": ("",) * classes})
    import jax

    shapes = {}
    table = classifier_table(made, tree, ())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = tuple(part.key for part in path)
        shape = leaf.shape
        if keys[-1] == "kernel":
            shape = tuple(shape[axis] for axis in ((3, 2, 0, 1) if leaf.ndim == 4 else (1, 0)))
        shapes[table[keys].name] = np.zeros(shape, np.float32)
    return shapes


def test_the_architecture_that_would_fit_is_named(tmp_path):
    arrays = of("resnet20-cifar")
    assert fitting(arrays) == "--architecture resnet20-cifar"
    np.savez(tmp_path / "other.npz", **arrays)
    port = ["port", tmp_path / "other.npz", "--name", "x", "--out", tmp_path / "out"]
    code, _, err = call(*port, "--architecture", "resnet18")
    assert code == 2 and err.count("\n") == 1 and "Traceback" not in err
    assert "missing: " in err and "unexpected: " in err
    assert "its entries are those of --architecture resnet20-cifar" in err
    del arrays["linear.bias"], arrays["linear.weight"]
    np.savez(tmp_path / "other.npz", **arrays)
    code, _, err = call(*port, "--architecture", "resnet20-cifar")
    assert code == 2 and "2 missing: 'linear.bias', 'linear.weight'" in err
    assert not (tmp_path / "out").exists()


def test_parts_of_other_victims_are_named():
    names = "embed.weight logit.weight core.weight_ih_l0 core.weight_hh_l0 img_embed.weight"
    arrays = dict.fromkeys(names.split(), ONE)
    assert "the decoder of --architecture show-tell" in fitting(arrays)
    assert "dcmh-pytorch" in fitting(dict.fromkeys(("classifier.weight", "features.0.weight"), ONE))
    assert fitting({"weight": ONE}) == ""


# ---------------------------------------------------------------- time


def colliding(count, bits):
    """Numbers that Python's dict of a growing size looks for in the same places, one by one."""
    return [index << (bits - 20) for index in range(count)]


def test_numbers_that_collide_cost_no_time(tmp_path):
    keys = b"".join(number(key) + b"N" for key in colliding(100_000, 60))
    path = tmp_path / "model.pth"
    path.write_bytes(zipped(mapping(weight=tensor(), state=b"}(" + keys + b"u")))
    assert list(read(path)) == ["weight"]
    memo = b"N" + b"".join(b"r" + struct.pack("<I", key) for key in colliding(1000, 31)[1:])
    path.write_bytes(zipped(memo))
    with pytest.raises(PortingError, match="remembered before those below it"):
        read(path)
