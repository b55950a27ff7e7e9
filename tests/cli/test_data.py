"""`jaxadv data`, in this process and in one without TensorFlow."""

import os
import subprocess
import sys

import pytest
from helpers.commands import call
from helpers.layouts import COUNT, WRITERS
from PIL import Image

pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where prepared sets are kept in the test."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.mark.parametrize("name", ["coco2014", "mirflickr25k", "wikipedia", "my_table"])
def test_prepare_show_list(name, kept, tmp_path):
    WRITERS[name](tmp_path / "from")
    code, out, err = call("data", "prepare", name, "--from", tmp_path / "from")
    assert code == 0, err
    assert f"{name} {COUNT}/{COUNT}" in err  # progress
    assert "│ all" in out and f" {COUNT} │" in out
    if name == "mirflickr25k":
        assert "differs: all: 12, where 25,000 are expected (-24,988)" in out
    page = tmp_path / "pages" / "page.png"
    code, again, err = call("data", "show", name, "--out", page, "--pictures", 5)
    assert code == 0, err
    assert out.splitlines()[:6] == again.splitlines()[:6]
    with Image.open(page) as image:
        assert image.width > 400
    code, listed, _ = call("data", "list")
    assert code == 0 and str(kept / name / "1.0.0") in listed.replace("\n", "")
    code, _, err = call("data", "prepare", name, "--from", tmp_path / "from")
    assert code == 2 and "is prepared already" in err


def test_what_was_left_out_is_said(kept, tmp_path):
    WRITERS["my_pictures"](tmp_path / "from")
    broken = sorted((tmp_path / "from").rglob("*.jpg"))[3]
    broken.write_bytes(b"no")
    code, out, _ = call("data", "prepare", "mine", "--from", tmp_path / "from")
    assert code == 0 and f"left out: {broken}: not an image" in out.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "nothing"), "neither a folder nor prepared in"),
        (("show", "./absent"), "no such folder"),
        (("prepare", "voc2012", "--from", "."), "VOCtrainval_11-May-2012.tar"),
        (("prepare", "voc212", "--from", "."), "did you mean voc2012?"),
    ],
)
def test_one_line(arguments, says, kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("data", *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_splits_are_shown_by_their_name(kept, tmp_path):
    WRITERS["coco2014"](tmp_path / "from")
    call("data", "prepare", "coco2014", "--from", tmp_path / "from")
    code, out, _ = call("data", "show", "coco2014:val")
    assert code == 0 and "coco2014:val" in out and "│ all" in out and " 3 │" in out
    code, _, err = call("data", "show", "coco2014:other")
    assert code == 2 and "no split or selection 'other'; there is" in err


WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.split(".")[0] == "tensorflow" else find(name, path, target)
)
from jaxadv.cli.main import run
for arguments in (
    ["prepare", "coco2014", "--from", sys.argv[1]],
    ["show", "coco2014", "--out", sys.argv[2]],
    ["list"],
):
    sys.argv[1:] = ["data", *arguments]
    try:
        run()
    except SystemExit as end:
        assert not end.code, arguments
assert "tensorflow" not in sys.modules
"""


def test_every_command_without_tensorflow(kept, tmp_path):
    WRITERS["coco2014"](tmp_path / "from")
    page = tmp_path / "page.png"
    program = WITHOUT_TENSORFLOW.replace("sys.argv[1]", repr(str(tmp_path / "from"))).replace(
        "sys.argv[2]", repr(str(page))
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert page.is_file() and "coco2014" in done.stdout


def test_no_module_of_the_project_imports_tensorflow():
    from pathlib import Path

    import jaxadv

    for path in Path(jaxadv.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import tensorflow\n" not in text and "from tensorflow " not in text, path


def test_real_folders_prepare_and_show(real_data, kept, tmp_path):
    for name, folder, count in (
        ("coco2017", "coco_mini", "159"),
        ("flickr8k", "flickr8k_1000", "1,000"),
        ("wikipedia", "wiki_crossmodal", "2,866"),
        ("yolo", "coco_labels_128", "128"),
    ):
        code, out, err = call("data", "prepare", name, "--from", real_data / folder)
        assert code == 0 and f" {count} │" in out, err
        code, _, err = call("data", "show", name, "--out", tmp_path / f"{name}.png")
        assert code == 0, err
