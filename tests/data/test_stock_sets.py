"""TFDS's own sets, as its builders leave them in array_record."""

import sys

import numpy as np
import pytest
from helpers.layouts import HEIGHT, WIDTH, picture, pixels, turned

from jaxadv.data.example import Box
from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, load

tfds = pytest.importorskip("tensorflow_datasets")


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


def test_one_bad_record_of_tfdss_own_is_left_out_and_named(coco_captions):
    shard = next((coco_captions / "coco_captions" / "1.1.0").glob("*-test.array_record*"))
    damaged = bytearray(shard.read_bytes())
    damaged[damaged.index(b"A dog.")] ^= 1
    shard.write_bytes(damaged)
    for _ in range(2):
        found = open_data("coco_captions", coco_captions)
        assert len(found.records) == 4
        (line,) = found.problems
        assert line.startswith("record ") and "of test: damaged in" in line


@pytest.mark.parametrize("index", [lambda text: text[:-20], lambda text: text.replace("sha", "x")])
def test_an_index_that_does_not_fit_is_written_anew(index, coco_captions):
    first = open_data("coco_captions", coco_captions)
    path = coco_captions / "coco_captions" / "1.1.0" / "jaxadv-set.json"
    whole = path.read_text()
    path.write_text(index(whole))
    found = open_data("coco_captions", coco_captions)
    assert [r.boxes for r in found.records] == [r.boxes for r in first.records]
    assert path.read_text() == whole


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


def test_tfdss_boxes_are_turned_with_their_picture(tmp_path):
    kinds = tfds.features
    fields = {
        "image": kinds.Image(),
        "image/filename": kinds.Text(),
        "objects": kinds.Sequence(
            {"label": kinds.ClassLabel(names=["cat"]), "bbox": kinds.BBoxFeature()}
        ),
    }
    path = turned(tmp_path / "pictures" / "a.png")
    things = [{"label": 0, "bbox": kinds.BBox(0.5, 0.0, 1.0, 0.25)},
              {"label": 0, "bbox": kinds.BBox(0.5, 0.5, 0.5, 0.75)}]  # fmt: skip
    row = {"image": path.read_bytes(), "image/filename": "a.png", "objects": things}
    stock(tmp_path, "voc", "5.0.0", fields, {"train": [("x", row)]})
    found = open_data("voc", tmp_path)
    assert found.records[0].boxes == (Box("cat", 0, 0, HEIGHT / 2, WIDTH / 4),)
    assert found.problems == ("a: a box of cat without an inside",)


def test_tfdss_own_format_is_refused_in_a_line(coco_captions):
    info = coco_captions / "coco_captions" / "1.1.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(FolderError, match=r"prepared as .tfrecord.*file_format='array_record'"):
        open_data("coco_captions", coco_captions)
