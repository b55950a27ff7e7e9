"""Prepared sets that were damaged or crafted: a line, or one record that is named."""

import json
import os
import random
import shutil

import numpy as np
import pytest
from helpers.layouts import COUNT, WRITERS

from jaxadv.data import staging
from jaxadv.data.builders import prepare
from jaxadv.data.index import ABOUT, RECORDS
from jaxadv.data.opening import open_data
from jaxadv.data.pipeline import read_examples
from jaxadv.data.prepared import data_folder
from jaxadv.data.records import FolderError
from jaxadv.data.sets import registry
from jaxadv.data.shards import FEATURES, INFO

pytest.importorskip("tensorflow_datasets")

SETS = {"coco2014": 60, "flickr25k_hashing": 20}  # one of pictures, one of features


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Both sets, each in several shards."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "PART", 4)
        for name in SETS:
            WRITERS[name](folder / "from" / name)
            list(prepare(registry.read(name, folder / "from" / name), folder / "sets"))
    return folder / "sets"


@pytest.fixture
def prepared(whole, tmp_path):
    """A copy of the set of pictures to damage."""
    return shutil.copytree(whole / "coco2014" / "1.0.0", tmp_path / "coco2014" / "1.0.0")


def known(data_dir, name):
    """All that is read of a set, by id, and what is said of what is not."""
    said = []
    data = open_data(name, data_dir)
    found = {example.id: example for example in read_examples(data, report=said.append)}
    return found, [*data.problems, *said]


def equal(one, other):
    return one._replace(picture=None, labels=None, tags=None) == other._replace(
        picture=None, labels=None, tags=None
    ) and all(
        np.array_equal(getattr(one, what), getattr(other, what))
        for what in ("picture", "labels", "tags")
    )


def flip(path, rng):
    contents = bytearray(path.read_bytes())
    there = [n for n, byte in enumerate(contents) if byte]  # shards are mostly padding
    contents[rng.choice(there)] ^= 1 << rng.randrange(8)
    path.write_bytes(contents)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def garble(path, rng):
    contents = bytearray(path.read_bytes())
    start = rng.randrange(len(contents))
    contents[start : start + 16] = rng.randbytes(16)
    path.write_bytes(contents)


def remove(path, rng):
    path.unlink()


def become_folder(path, rng):
    path.unlink()
    path.mkdir()


def become_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


def swap(path, rng):
    other = rng.choice([p for p in path.parent.iterdir() if p != path])
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def retype(path, rng):
    """Put another value of JSON in the place of one."""
    if path.suffix not in (".json", ".jsonl"):
        return
    line = rng.choice(path.read_text().splitlines()) if path.suffix == ".jsonl" else None
    described = json.loads(line or path.read_text())
    inner, keys = described, []
    while isinstance(inner, dict | list) and inner:
        keys = [(inner, key) for key in (inner if isinstance(inner, dict) else range(len(inner)))]
        inner, key = rng.choice(keys)
        if rng.random() < 0.4:
            break
        inner = inner[key]
    if keys:
        holder, key = rng.choice(keys)
        holder[key] = rng.choice(
            [None, -1, 1e400, 7, "x", [], {}, [[]], True, "99999999999", 10**30]
        )
    text = json.dumps(described)
    path.write_text(text if line is None else path.read_text().replace(line, text))


def lines(path, rng):
    """Drop, repeat or move a line."""
    if path.name != RECORDS:
        return
    found = path.read_text().splitlines(keepends=True)
    here, there = rng.randrange(len(found)), rng.randrange(len(found))
    rng.choice([
        lambda: found.pop(here),
        lambda: found.insert(there, found[here]),
        lambda: found.insert(there, found.pop(here)),
    ])()  # fmt: skip
    path.write_text("".join(found))


DAMAGES = (flip, flip, cut, garble, remove, become_folder, become_pipe, swap, retype, retype, lines)


@pytest.mark.parametrize("name", SETS)
def test_damage_is_a_line_or_a_record_that_is_named(name, whole, tmp_path):
    untouched, _ = known(whole, name)
    rng = random.Random(5)
    for number in range(int(os.environ.get("MUTANTS", SETS[name]))):
        sets = tmp_path / str(number)
        folder = shutil.copytree(whole / name / "1.0.0", sets / name / "1.0.0")
        damage = rng.choice(DAMAGES)
        path = rng.choice(sorted(folder.iterdir()))
        damage(path, rng)
        case = f"{number}: {damage.__name__} of {path.name}"
        try:
            found, said = known(sets, name)
        except FolderError as problem:
            assert str(problem).isprintable() and "prepare" in str(problem), case
            assert name in str(problem), case
        else:
            assert all(equal(found[i], untouched[i]) for i in found), case
            lost = set(untouched) - set(found)
            assert all(any(i in line for line in said) for i in lost), (case, said)
        shutil.rmtree(sets)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"id": 3}, "id: must be a text, not 3"),
        ({"id": "coco-1"}, "the id 'coco-1' comes twice"),
        ({"labels": [2]}, "classes: must be from 0 to 1, not 2"),
        ({"labels": [True]}, "classes: must be a whole number, not true"),
        ({"captions": "a dog"}, "captions: not a list"),
        ({"captions": [None]}, "captions: must be a text, not null"),
        ({"boxes": [["dog", 1, 2, float("nan"), 4]]}, "boxes: must be a finite number"),
        ({"boxes": [["dog", 1, 2, 1, 4]]}, "boxes: one without an inside"),
        ({"boxes": [["dog", 1, 2]]}, "not laid out"),
        ({"split": "test"}, "has 1 records of test, and the shards have 0"),
        (None, "has 8 records of train, and the shards have 9"),
    ],
)
def test_values_of_a_set_without_a_digest_are_checked(line, says, prepared):
    """Earlier versions wrote none."""
    about = json.loads((prepared / ABOUT).read_text())
    del about["sha256"]
    (prepared / ABOUT).write_text(json.dumps(about))
    first, *rest = (prepared / RECORDS).read_text().splitlines()
    changed = [] if line is None else [json.dumps(json.loads(first) | line)]
    (prepared / RECORDS).write_text("".join(f"{one}\n" for one in [*changed, *rest]))
    with pytest.raises(FolderError, match=says):
        open_data("coco2014", prepared.parent.parent)


def test_a_set_of_an_earlier_version_is_read(prepared):
    about = json.loads((prepared / ABOUT).read_text())
    del about["sha256"]
    (prepared / ABOUT).write_text(json.dumps(about))
    found = open_data("coco2014", prepared.parent.parent)
    assert len(found.records) == COUNT
    assert found.problems[-1].startswith("prepared by an earlier version")


# ---------------------------------------------------------------- nothing is executed

FOREIGN = "the_set_ran_this.Feature"


def named(value):
    return lambda described: described["featuresDict"]["features"]["id"].update(value)


CRAFTED = {
    "inside": named({"pythonClassName": FOREIGN}),
    "as protobuf names it": named({"python_class_name": FOREIGN}),
    "as older versions did": named({"type": FOREIGN, "content": {}}),
    "json in json": named(
        {"jsonFeature": {"json": json.dumps({"x": {"type": FOREIGN, "content": {}}})}}
    ),
    "whole": lambda described: described.update(pythonClassName=FOREIGN),
    "a prefix": named({"pythonClassName": f"tensorflow_datasets.core.features.{FOREIGN} "}),
    "another module of TFDS": named({"pythonClassName": "tensorflow_datasets.scripts.cli.X"}),
    "no text": named({"pythonClassName": [FOREIGN]}),
}  # fmt: skip


@pytest.mark.parametrize("how", CRAFTED)
def test_what_features_name_is_not_imported(how, prepared, monkeypatch):
    code = prepared.parent / "the_set_ran_this.py"
    code.write_text("import os; os.environ['JAXADV_RAN'] = '1'")
    monkeypatch.syspath_prepend(str(code.parent))
    described = json.loads((prepared / FEATURES).read_text())
    CRAFTED[how](described)
    (prepared / FEATURES).write_text(json.dumps(described))
    with pytest.raises(FolderError, match="only tensorflow_datasets' own features are accepted"):
        open_data("coco2014", prepared.parent.parent)
    assert "JAXADV_RAN" not in os.environ


def test_a_description_does_not_lead_out_of_its_folder(prepared):
    info = json.loads((prepared / INFO).read_text())
    info["name"] = "../../elsewhere"
    (prepared / INFO).write_text(json.dumps(info))
    with pytest.raises(FolderError, match="no name of a file"):
        open_data("coco2014", prepared.parent.parent)


def test_a_user_without_a_home(monkeypatch):
    """As `docker run --user` leaves one."""
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(FolderError, match="no home folder; set TFDS_DATA_DIR"):
        data_folder()
