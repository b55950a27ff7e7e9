"""Preparing: killed and resumed, hostile and broken input, and TFDS's own sets."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.layouts import COUNT, HEIGHT, WIDTH, WRITERS, picture, pixels, turned

from jaxadv.data import staging
from jaxadv.data.builders import prepare
from jaxadv.data.example import Box
from jaxadv.data.images import Stored
from jaxadv.data.opening import open_data
from jaxadv.data.records import DataSet, FolderError, Record, counts, differences, load, select
from jaxadv.data.sets import registry

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(staging, "PART", 4)


def contents(folder):
    """Every file of a prepared set but TFDS's own description, which has the folder's name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "dataset_info.json"
    }


# ---------------------------------------------------------------- killed and resumed


def test_stopped_anywhere_and_resumed_it_is_the_same_set(tmp_path, small_shards):
    WRITERS["coco2014"](tmp_path / "from")
    data = registry.read("coco2014", tmp_path / "from")
    list(prepare(data, tmp_path / "once"))
    for after in range(1, 5):  # so many shards: of train 3, of val 1
        sets = tmp_path / f"stopped-{after}"
        job = prepare(data, sets, workers=1)
        for _ in range(after):
            next(job)
        job.close()
        assert not (sets / "coco2014" / "1.0.0").exists()
        staged = {
            p: p.stat().st_mtime_ns for p in (sets / "coco2014" / ".preparing-1.0.0").iterdir()
        }
        assert sum(p.suffix == ".json" for p in staged) >= after - 1
        wrote = []
        stage = staging._encode
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(staging, "_encode", lambda r: wrote.append(r.id) or stage(r))  # noqa: B023
            last = list(prepare(data, sets))[-1]
        assert last.done == COUNT and len(wrote) <= COUNT - 4 * (after - 1) + 3
        assert contents(sets) == contents(tmp_path / "once")


def test_killed_process_and_resumed(tmp_path):
    """A real SIGKILL, at moments spread over the job."""
    folder = tmp_path / "from"
    records = [{"image": picture(folder / f"{n:03d}.png", n).name} for n in range(400)]
    (folder / "notes.json").write_text(json.dumps(records))
    data = registry.read("many", folder)
    list(prepare(data, tmp_path / "once"))
    program = (
        "import sys, time; from pathlib import Path; from jaxadv.data import builders, staging\n"
        "from jaxadv.data.sets import registry\n"
        "staging.PART = 256; slow = staging._encode\n"
        "staging._encode = lambda r: (time.sleep(0.05 * (int(r.id) >= 256)), slow(r))[1]\n"
        "data = registry.read('many', Path(sys.argv[1]))\n"
        "print('go', flush=True)\n"
        "for _ in builders.prepare(data, Path(sys.argv[2]), workers=1): print(_, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "killed")],
        stdout=subprocess.PIPE, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    with process.stdout as lines:
        for number, _ in enumerate(lines):
            if number == 2:  # go, nothing yet, one shard
                time.sleep(0.2)
                process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "many" / "1.0.0").exists()
    list(prepare(data, tmp_path / "killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "once")
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["many"]  # nothing is left behind
    assert [p.name for p in (tmp_path / "killed" / "many").iterdir()] == ["1.0.0"]


def test_what_is_staged_of_other_pictures_is_not_used(tmp_path, small_shards):
    folder = tmp_path / "from"
    WRITERS["my_pictures"](folder)
    job = prepare(registry.read("mine", folder), tmp_path, workers=1)
    next(job)
    next(job)
    job.close()
    changed = picture(folder / "0" / "p0.jpg", 77)
    os.utime(changed, (1, 1))
    list(prepare(registry.read("mine", folder), tmp_path))
    found = open_data("mine", tmp_path)
    np.testing.assert_array_equal(load(found.records[0]), load(Record("x", changed)))


def test_the_number_of_threads_changes_nothing(tmp_path, small_shards):
    WRITERS["flickr25k_hashing"](tmp_path / "from")
    data = registry.read("flickr25k_hashing", tmp_path / "from")
    list(prepare(data, tmp_path / "one", workers=1))
    list(prepare(data, tmp_path / "five", workers=5))
    assert contents(tmp_path / "one") == contents(tmp_path / "five")


def test_nothing_is_overwritten(tmp_path):
    WRITERS["my_yolo"](tmp_path / "from")
    data = registry.read("mine", tmp_path / "from")
    list(prepare(data, tmp_path))
    with pytest.raises(FolderError, match=r"1.0.0: is prepared already; remove it"):
        list(prepare(data, tmp_path))


# ---------------------------------------------------------------- what cannot be used


def test_bad_pictures_are_left_out_and_named(tmp_path):
    folder = tmp_path / "from"
    WRITERS["my_pictures"](folder)
    paths = sorted(folder.rglob("*.jpg"))
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    paths[1].write_bytes(b"<html>404</html>")
    paths[2].write_bytes(b"")
    list(prepare(registry.read("mine", folder), tmp_path))
    found = open_data("mine", tmp_path)
    assert len(found.records) == COUNT - 3 and len(found.problems) == 3
    for path, line, says in zip(
        paths, found.problems, ("damaged", "not an image", "empty"), strict=False
    ):
        assert line.startswith(str(path)) and says in line and "\n" not in line
    for record in found.records:
        load(record)


def test_a_box_outside_its_picture(tmp_path):
    path = picture(tmp_path / "p.png", 0)
    inside, rounded = Box("dog", 0, 0, 3, 3), Box("dog", -0.5, 0, WIDTH + 0.5, HEIGHT)
    outside = [Box("cat", 0, 0, WIDTH + 5, 3), Box("cat", 4, 0, 3, 3), Box("x", 0, -9, 3, 3)]
    outside.append(Box("nan", float("nan"), 0, 3, 3))
    data = DataSet("mine", (Record("p", path, boxes=(inside, *outside, rounded)),))
    list(prepare(data, tmp_path / "sets"))
    found = open_data("mine", tmp_path / "sets")
    assert found.records[0].boxes == (inside, rounded)
    assert [line.split(" at ")[0] for line in found.problems] == [
        f"p: a box of {box.label}" for box in outside
    ]
    assert all(f"outside of its {WIDTH} x {HEIGHT}" in line for line in found.problems)


def test_boxes_are_of_the_upright_picture(tmp_path):
    path = turned(tmp_path / "p.png")
    inside, outside = Box("dog", 0, 0, HEIGHT, WIDTH), Box("cat", 0, 0, WIDTH, HEIGHT)
    data = DataSet("mine", (Record("p", path, boxes=(inside, outside)),))
    list(prepare(data, tmp_path / "sets"))
    found = open_data("mine", tmp_path / "sets")
    assert found.records[0].boxes == (inside,) and len(found.problems) == 1
    assert load(found.records[0]).shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("most", [100, 3_000, 140_000])
def test_a_full_disk_is_a_line_and_what_was_done_is_kept(most, tmp_path, small_shards):
    """Here a limit on the size of files; the last is reached by the records' description."""
    WRITERS["coco2014"](tmp_path / "from")
    data = registry.read("coco2014", tmp_path / "from")
    if most == 140_000:
        long = data.records[0]._replace(captions=tuple(f"{n} dogs" for n in range(20_000)))
        data = data._replace(records=(long, *data.records[1:]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(FolderError, match=r"coco2014: cannot be written .*resumes") as caught:
            list(prepare(data, tmp_path / "sets", workers=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "sets" / "coco2014" / "1.0.0").exists()
    assert not list((tmp_path / "sets").rglob("*.part"))
    list(prepare(data, tmp_path / "sets"))
    assert len(open_data("coco2014", tmp_path / "sets").records) == COUNT


@pytest.mark.parametrize("damage", ["shard", "notes", "length"])
def test_what_is_staged_and_damaged_is_written_anew(damage, tmp_path, small_shards):
    WRITERS["coco2014"](tmp_path / "from")
    data = registry.read("coco2014", tmp_path / "from")
    list(prepare(data, tmp_path / "once"))
    job = prepare(data, tmp_path / "sets", workers=1)
    next(job)
    next(job)
    job.close()
    notes = next((tmp_path / "sets" / "coco2014" / ".preparing-1.0.0").glob("*.json"))
    if damage == "shard":
        notes.with_suffix("").unlink()
    elif damage == "length":
        notes.with_suffix("").write_bytes(b"")
    else:
        notes.write_text(notes.read_text().replace('"kept": [0', '"kept": [1'))
    list(prepare(data, tmp_path / "sets"))
    assert contents(tmp_path / "sets") == contents(tmp_path / "once")


@pytest.mark.parametrize("name", ["a" * 300, "mine"])
def test_a_place_that_cannot_be(name, tmp_path):
    path = picture(tmp_path / "p.png", 0)
    (tmp_path / "mine").write_text("a file in the way")
    with pytest.raises(FolderError, match="cannot be written"):
        list(prepare(DataSet(name, (Record("p", path),)), tmp_path))


@pytest.mark.parametrize("split", ["", "a/b", "../../x", "a\x1b[2J", "x" * 41])
def test_a_split_that_names_no_file(split, tmp_path):
    path = picture(tmp_path / "p.png", 0)
    with pytest.raises(FolderError, match="mine: a split named ") as caught:
        list(prepare(DataSet("mine", (Record("p", path, split=split),)), tmp_path / "sets"))
    assert str(caught.value).isprintable() and not (tmp_path / "sets").exists()


def test_no_pictures(tmp_path):
    with pytest.raises(FolderError, match="mine: has no pictures"):
        list(prepare(DataSet("mine", ()), tmp_path))


def test_nothing_can_be_used(tmp_path):
    path = tmp_path / "p.jpg"
    path.write_bytes(b"no")
    with pytest.raises(FolderError, match=r"no picture can be used; .*p\.jpg"):
        list(prepare(DataSet("mine", (Record("p", path),)), tmp_path / "sets"))


def test_a_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    WRITERS["my_yolo"](tmp_path / "from")
    with pytest.raises(FolderError, match="cannot be written"):
        list(prepare(registry.read("mine", tmp_path / "from"), blocked))


@pytest.mark.parametrize("broken", ["jaxadv-records.jsonl", "jaxadv-set.json"])
def test_a_prepared_set_that_was_damaged(tmp_path, broken):
    WRITERS["my_yolo"](tmp_path / "from")
    list(prepare(registry.read("mine", tmp_path / "from"), tmp_path))
    path = tmp_path / "mine" / "1.0.0" / broken
    path.write_text(path.read_text()[:-40])
    with pytest.raises(FolderError, match=r"a broken prepared set .*prepare it again") as caught:
        open_data("mine", tmp_path)
    assert "\n" not in str(caught.value)


def test_pixels_are_kept_exactly(tmp_path):
    record = Record("p", Stored("p", lambda: pixels(3)))
    list(prepare(DataSet("mine", (record,)), tmp_path))
    found = open_data("mine", tmp_path).records[0]
    np.testing.assert_array_equal(load(found), pixels(3) * np.float32(1 / 255))


# ---------------------------------------------------------------- counts and selections


def test_differences_from_the_papers_counts_are_said(tmp_path):
    WRITERS["mirflickr25k"](tmp_path)
    data = registry.read("mirflickr25k", tmp_path)
    found, lines = counts(data), differences(data)
    assert found["pairs"] == sum(bool(r.labels and r.tags) for r in data.records) < COUNT
    assert (
        f"pairs: {found['pairs']}, where 20,015 are expected ({found['pairs'] - 20015:,})" in lines
    )
    assert "tags: 3, where 1,386 are expected (-1,383)" in lines
    assert not any(line.startswith("classes") for line in lines)  # there are 24


def test_selections_are_in_their_own_order(tmp_path):
    WRITERS["my_pictures"](tmp_path / "from")
    data = registry.read("mine", tmp_path / "from")
    ids = [r.id for r in data.records]
    data = data._replace(selections={"chosen": (ids[5], ids[1], ids[5])})
    list(prepare(data, tmp_path))
    found = open_data("mine:chosen", tmp_path)
    assert [r.id for r in found.records] == [ids[5], ids[1], ids[5]] and found.name == "mine:chosen"
    np.testing.assert_array_equal(load(found.records[1]), load(data.records[1]))
    with pytest.raises(FolderError, match="no split or selection 'other'; there is chosen, data"):
        select(data, "other")
