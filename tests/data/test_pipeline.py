"""Reading for attacks: order, shares, resizing, prefetching, broken pictures, and how fast."""

import threading
import time

import jax
import numpy as np
import pytest
from helpers.layouts import COUNT, HEIGHT, WIDTH, WRITERS, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxadv.data.images import ImageError, read_image, resize
from jaxadv.data.opening import open_data
from jaxadv.data.pipeline import batches, read_examples, read_pictures, resized, share
from jaxadv.data.records import DataSet, FolderError, Record, example, load
from jaxadv.data.resampling import resample, weights
from jaxadv.data.scene_folder import write_scenes
from jaxadv.data.sets import registry
from jaxadv.errors import InputError


@pytest.fixture
def data(tmp_path):
    WRITERS["my_table"](tmp_path / "from")
    return registry.read("mine", tmp_path / "from")


# ---------------------------------------------------------------- resampling


@given(st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_weights_are_pillows_bilinear(size, wanted):
    """One old row at a time through Pillow gives the column of weights."""
    rows = np.eye(size, dtype=np.float32)
    resized_rows = [
        np.asarray(Image.fromarray(row[:, None]).resize((1, wanted), Image.Resampling.BILINEAR))[
            :, 0
        ]
        for row in rows
    ]
    np.testing.assert_allclose(weights(size, wanted).toarray().T, resized_rows, atol=1e-6)


@pytest.mark.parametrize("shape", [(448, 448), (7, 90), (200, 13)])
def test_resampling_is_pillows(shape):
    picture = np.random.default_rng(1).random((97, 123, 3), np.float32)
    height, width = shape
    channels = [
        Image.fromarray(picture[:, :, c]).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(3)
    ]
    np.testing.assert_allclose(resample(picture, shape), np.stack(channels, axis=2), atol=1e-6)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 5, COUNT, 50])
def test_batches_are_the_records_in_their_order(data, workers, size):
    found = list(batches(data, (8, 9), size, workers=workers))
    assert [len(b.examples) for b in found[:-1]] == [size] * (len(found) - 1)
    assert [e.id for b in found for e in b.examples] == [r.id for r in data.records]
    wanted = [resize(example(data, r).picture, (8, 9)) for r in data.records]
    np.testing.assert_array_equal(np.concatenate([b.pictures for b in found]), wanted)
    assert all(isinstance(b.pictures, jax.Array) and b.pictures.dtype == np.float32 for b in found)


def test_boxes_follow_the_picture(data):
    record = next(r for r in data.records if r.boxes)
    (before, *_), (after, *_) = record.boxes, resized(data, record, (2 * HEIGHT, WIDTH // 2)).boxes
    assert after.label == before.label
    assert (after.left, after.top) == (before.left / 2, before.top * 2)
    assert (after.right, after.bottom) == (before.right / 2, before.bottom * 2)
    assert resized(data, record, None).boxes == record.boxes


def test_a_rule_of_the_victims_own(data):
    def corner(picture, shape):
        return picture[: shape[0], : shape[1]]

    (one, *_) = read_examples(data, (3, 4), rule=corner)
    np.testing.assert_array_equal(one.picture, read_image(data.records[0].picture)[:3, :4])


def test_pictures_alone(data):
    found = list(read_pictures(data.records, (5, 6), workers=3))
    np.testing.assert_array_equal(found, [resize(load(r), (5, 6)) for r in data.records])


def test_features_are_left_as_they_are(tmp_path):
    wanted = WRITERS["wikipedia"](tmp_path)
    data = registry.read("wikipedia", tmp_path)
    found = np.concatenate([b.pictures for b in batches(data, (8, 8), 5)])
    np.testing.assert_array_equal(found, [r.picture for r in wanted])


@given(st.integers(0, 40), st.integers(1, 9))
def test_hosts_share_the_records(count, hosts):
    shares = [share(range(count), (host, hosts)) for host in range(hosts)]
    assert sorted(x for s in shares for x in s) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_hosts_batches_are_of_its_share(data):
    found = [e.id for b in batches(data, (4, 4), 4, host=(1, 3)) for e in b.examples]
    assert found == [r.id for r in data.records[1::3]]


def test_pictures_go_where_they_are_wanted(data):
    mesh = jax.make_mesh((2,), ("data",))
    placement = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for batch in batches(data, (8, 8), 4, placement=placement):
        assert batch.pictures.sharding == placement


def test_the_next_batch_is_read_while_one_is_used(data):
    read, enough = [], threading.Event()

    def rule(picture, shape):
        read.append(1)
        if len(read) >= 8:
            enough.set()
        return resize(picture, shape)

    job = batches(data, (4, 4), 4, rule=rule, workers=1)
    next(job)
    assert enough.wait(10)  # the second batch of four, while the first is in use
    job.close()


def test_it_reads_no_further_than_it_is_asked(tmp_path):
    WRITERS["my_pictures"](tmp_path)
    data = registry.read("mine", tmp_path)
    data = data._replace(records=data.records * 50)
    read = []

    def rule(picture, shape):
        read.append(1)
        return resize(picture, shape)

    job = batches(data, (4, 4), 2, rule=rule, workers=2)
    next(job)
    time.sleep(0.3)
    job.close()
    assert len(read) < 40 and threading.active_count() < 20


@pytest.mark.parametrize("reported", [True, False])
def test_a_broken_picture(data, reported):
    data.records[4].picture.write_bytes(b"no")
    if reported:
        said = []
        found = [e.id for b in batches(data, (4, 4), 5, report=said.append) for e in b.examples]
        assert found == [r.id for i, r in enumerate(data.records) if i != 4]
        assert len(said) == 1 and str(data.records[4].picture) in said[0]
    else:
        with pytest.raises(ImageError, match=str(data.records[4].picture)):
            list(batches(data, (4, 4), 5))


def test_prepared_pictures_are_read_by_several_threads(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    from jaxadv.data.builders import prepare

    WRITERS["coco2014"](tmp_path / "from")
    data = registry.read("coco2014", tmp_path / "from")
    list(prepare(data, tmp_path))
    again = open_data("coco2014", tmp_path)
    for one, other in zip(read_examples(data), read_examples(again, workers=8), strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.picture, other.picture)


def test_real_pictures_from_every_layout(real_data):
    for folder in ("flickr8k_1000", "coco_mini", "coco_labels_128"):
        data = open_data(str(real_data / folder))
        data = data._replace(records=data.records[:40])
        (batch,) = batches(data, (224, 224), 40)
        assert batch.pictures.shape == (40, 224, 224, 3)


@pytest.mark.slow
def test_speed(real_data):
    """At 448, two threads: 150 pictures a second, by the clock or by the processor time of two.

    The clock says less where others use the machine, too.
    """
    from jaxadv.data.timing import measure

    data = open_data(str(real_data / "coco_mini"))
    pace = measure(data._replace(records=data.records[:80]), (448, 448), workers=2, rounds=8)
    print(pace)
    assert pace.read.rate >= 150 or 2000 / pace.read.cpu >= 150


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": -1}, {"workers": 0}, {"host": (2, 2)}, {"host": (-1, 2)}]
)
def test_what_would_read_nothing_is_refused(wrong, tmp_path):
    data = DataSet("mine", (Record("p", picture(tmp_path / "p.png", 0)),))
    with pytest.raises(InputError, match=next(iter(wrong))):
        list(batches(data, (8, 8), **{"size": 1, **wrong}))


def test_a_folder_of_scenes_is_not_written_over(tmp_path):
    (tmp_path / "annotations").mkdir()
    with pytest.raises(FolderError, match="annotations: cannot be written"):
        list(write_scenes(tmp_path, 1))
