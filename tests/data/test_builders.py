"""Preparing: killed and resumed, hostile and broken input, and TFDS's own sets."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from layouts import COUNT, HEIGHT, WIDTH, WRITERS, picture, pixels

from jaxadv.data import builders
from jaxadv.data.builders import prepare
from jaxadv.data.example import Box
from jaxadv.data.images import Stored
from jaxadv.data.opening import open_data
from jaxadv.data.records import DataSet, FolderError, Record, counts, differences, load, select
from jaxadv.data.sets import registry

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(builders, "SHARD", 4)


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
        stage = builders._encode
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builders, "_encode", lambda r: wrote.append(r.id) or stage(r))  # noqa: B023
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
        "import sys, time; from pathlib import Path; from jaxadv.data import builders\n"
        "from jaxadv.data.sets import registry\n"
        "builders.SHARD = 256; slow = builders._encode\n"
        "builders._encode = lambda r: (time.sleep(0.05 * (int(r.id) >= 256)), slow(r))[1]\n"
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
    with pytest.raises(FolderError, match=r"a broken prepared set .*prepare it anew") as caught:
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


# ---------------------------------------------------------------- TFDS's own


def stock(tmp_path, name, version, fields, splits):
    """Prepare a set as TFDS's own builder of that name leaves it, in array_record."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        code_path = None

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(fields))

        def _split_generators(self, _):
            return {split: iter(rows) for split, rows in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    Builder.name = name
    Builder(data_dir=str(tmp_path), file_format="array_record").download_and_prepare(
        file_format="array_record"
    )


@pytest.fixture
def coco_captions(tmp_path):
    kinds = tfds.features
    fields = {
        "image": kinds.Image(),
        "image/filename": kinds.Text(),
        "image/id": np.int64,
        "objects": kinds.Sequence(
            {"bbox": kinds.BBoxFeature(), "label": kinds.ClassLabel(names=["person", "dog"]),
             "is_crowd": np.bool_}
        ),
        "captions": kinds.Sequence({"id": np.int64, "text": kinds.Text()}),
    }  # fmt: skip

    def row(number):
        path = picture(tmp_path / "pictures" / f"{number}.png", number)
        things = [{"bbox": kinds.BBox(0.25, 0.1, 0.5, 0.6), "label": 1, "is_crowd": False},
                  {"bbox": kinds.BBox(0.0, 0.0, 1.0, 1.0), "label": 0,
                   "is_crowd": True}]  # fmt: skip
        return number, {
            "image": path.read_bytes(), "image/filename": path.name, "image/id": number,
            "objects": things, "captions": [{"id": 1, "text": "A dog."}],
        }  # fmt: skip

    splits = {"train": [row(1)], "restval": [row(2)], "val": [row(3)], "test": [row(4), row(5)]}
    stock(tmp_path, "coco_captions", "1.1.0", fields, splits)
    return tmp_path


def test_tfdss_coco_captions(coco_captions):
    for _ in range(2):  # the second time from the index that the first has left
        found = open_data("coco_captions", coco_captions)
        assert {r.split: r.id for r in found.records}["restval"] == "coco-2"
        one = next(r for r in found.records if r.id == "coco-2")
        assert one.captions == ("A dog.",) and one.labels == ("person", "dog")
        (box,) = one.boxes
        np.testing.assert_allclose(box[1:], (2.0, 4.0, 12.0, 8.0), rtol=1e-6)
        np.testing.assert_array_equal(load(one), pixels(2) * np.float32(1 / 255))
        chosen = open_data("coco_captions:karpathy-train", coco_captions)
        assert [r.id for r in chosen.records] == ["coco-1", "coco-2"]
    assert "tensorflow" not in sys.modules


def test_tfdss_voc(tmp_path):
    kinds = tfds.features
    label = kinds.ClassLabel(names=["cat", "dog"])
    fields = {
        "image": kinds.Image(),
        "image/filename": kinds.Text(),
        "objects": kinds.Sequence({"label": label, "bbox": kinds.BBoxFeature()}),
        "labels": kinds.Sequence(label),
        "labels_no_difficult": kinds.Sequence(label),
    }
    path = picture(tmp_path / "pictures" / "2007_000027.png", 1)
    things = [{"label": n, "bbox": kinds.BBox(0.5, 0.0, 1.0, 0.5)} for n in (0, 1)]
    row = {"image": path.read_bytes(), "image/filename": "2007_000027.jpg", "objects": things,
           "labels": [0, 1], "labels_no_difficult": [1]}  # fmt: skip
    stock(tmp_path, "voc", "5.0.0", fields, {"train": [("x", row)]})
    (one,) = open_data("voc", tmp_path).records
    assert one.id == "2007_000027" and one.labels == ("dog",) and one.captions is None
    assert one.boxes == (Box("cat", 0, 8, 10, 16), Box("dog", 0, 8, 10, 16))


def test_tfdss_own_format_is_refused_in_a_line(coco_captions):
    info = coco_captions / "coco_captions" / "1.1.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(FolderError, match=r"prepared as .tfrecord.*file_format='array_record'"):
        open_data("coco_captions", coco_captions)
