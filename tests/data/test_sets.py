"""Every data set in its owner's layout: read, prepared, read back, compared field by field."""

import sys

import numpy as np
import pytest
from helpers.layouts import COUNT, WRITERS, pixels

from jaxadv.data import records as records_
from jaxadv.data.builders import prepare
from jaxadv.data.images import read_image
from jaxadv.data.opening import open_data
from jaxadv.data.records import example, load
from jaxadv.data.sets import registry


def same(one, other):
    """Compare two values that may be arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other) and one.dtype == other.dtype
    return one == other


def check(found, wanted):
    """Compare records field by field, their pictures as they decode."""
    assert [r.id for r in found] == [r.id for r in wanted]
    for one, other in zip(found, wanted, strict=True):
        for field in ("captions", "labels", "tags", "boxes", "split"):
            assert same(getattr(one, field), getattr(other, field)), (one.id, field)
        seen = load(one)
        if isinstance(other.picture, np.ndarray) and other.picture.ndim == 3:
            np.testing.assert_array_equal(seen, other.picture * np.float32(1 / 255))
        else:
            np.testing.assert_array_equal(seen, load(other))


@pytest.fixture(params=WRITERS)
def owned(request, tmp_path):
    """A data set's name, its folder, and what is in it."""
    folder = tmp_path / "from"
    return request.param, folder, WRITERS[request.param](folder)


def test_read_prepare_and_read_back(owned, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    name, folder, wanted = owned
    data = registry.read(name, folder)
    assert data.name == name and not data.problems
    check(data.records, wanted)
    last = list(prepare(data, tmp_path / "sets"))[-1]
    assert (last.done, last.total) == (COUNT, COUNT)
    again = open_data(name, tmp_path / "sets")
    check(again.records, wanted)
    for field in ("name", "classes", "tags", "vocabulary", "problems"):
        assert getattr(again, field) == getattr(data, field)
    assert dict(again.selections) == dict(data.selections)
    assert dict(again.expected) == dict(data.expected)
    assert "tensorflow" not in sys.modules


def test_tfds_itself_reads_what_was_prepared(owned, tmp_path):
    """Someone else's program opens the set and finds in it what the records say."""
    tfds = pytest.importorskip("tensorflow_datasets")
    name, folder, wanted = owned
    data = registry.read(name, folder)
    list(prepare(data, tmp_path))
    builder = tfds.builder_from_directory(str(tmp_path / name / "1.0.0"))
    skip = {"image": tfds.decode.SkipDecoding()} if "image" in builder.info.features else None
    splits = dict.fromkeys(r.split for r in data.records)
    found = [fields for split in splits for fields in builder.as_data_source(split, decoders=skip)]
    by_split = sorted(data.records, key=lambda r: list(splits).index(r.split))
    for fields, record in zip(found, by_split, strict=True):
        assert fields["id"].decode() == record.id
        known = {text.decode() for text in fields["known"]}
        assert known == {
            f for f in ("captions", "labels", "tags", "boxes") if getattr(record, f) is not None
        }
        if "captions" in known:
            assert tuple(c.decode() for c in fields["captions"]) == record.captions
        if "labels" in known:
            assert tuple(data.classes[i] for i in fields["labels"]) == record.labels
        if "weights" in fields:
            np.testing.assert_array_equal(fields["weights"], record.tags)
        elif "tags" in known:
            assert tuple(data.tags[i] for i in fields["tags"]) == record.tags
        if "boxes" in known:
            sides = [fields["boxes"][side] for side in ("left", "top", "right", "bottom")]
            np.testing.assert_allclose(
                np.transpose(sides).reshape(-1, 4),
                np.reshape([box[1:] for box in record.boxes], (-1, 4)),
                rtol=1e-6,
            )
        if skip is None:
            np.testing.assert_array_equal(fields["features"], record.picture)
    assert "tensorflow" not in sys.modules
    assert len(found) == len(wanted) == COUNT


def test_examples_are_vectors_in_the_order_of_the_set(tmp_path):
    WRITERS["nus_wide"](tmp_path)
    data = registry.read("nus_wide", tmp_path)
    one = example(data, data.records[-1])
    assert one.labels.dtype == bool and one.labels.shape == (3,) and one.tags.shape == (5,)
    assert tuple(np.array(data.classes)[one.labels]) == data.records[-1].labels
    assert one.captions is None and one.boxes is None
    np.testing.assert_array_equal(records_.label_matrix(data)[-1], one.labels)
    np.testing.assert_array_equal(records_.tag_matrix(data)[-1], one.tags.astype(np.float32))


def test_pixels_of_a_mat_file_are_upright(tmp_path):
    WRITERS["flickr25k_hashing"](tmp_path)
    data = registry.read("flickr25k_hashing", tmp_path)
    np.testing.assert_array_equal(
        read_image(data.records[7].picture), pixels(7) * np.float32(1 / 255)
    )
