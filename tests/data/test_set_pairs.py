"""Pairs of a data set: words of captions as tags, and the pictures that have what is needed."""

from functools import partial

import numpy as np
import pytest
import scipy.io
from helpers import layouts
from helpers.commands import call

from jaxadv.data.images import write_png
from jaxadv.data.pairs import PairsError
from jaxadv.data.records import DataSet, Record
from jaxadv.data.set_pairs import caption_tags, label_by_captions, set_pairs
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.plan import plan
from jaxadv.experiments.record_tables import table_of
from jaxadv.experiments.retrieval_pools import held_out_pairs
from jaxadv.experiments.sweep import prepare, sweep
from jaxadv.training.hasher_recipes import hasher_architecture, train_hasher_on_data
from jaxadv.training.recipe import hold_out
from jaxadv.victims import zoo


@pytest.fixture
def data(tmp_path):
    """Nine pictures of their own grey; the second has no label, the third none of the words."""
    records = []
    for number in range(9):
        write_png(tmp_path / f"{number}.png", np.full((6, 8, 3), number / 10, np.float32))
        animal = ("dog", "cat", "owl")[number % 3] if number != 2 else "one"
        labels = () if number == 1 else (animal,) if animal != "one" else ("owl",)
        captions = (f"A {animal} here.", f"the {animal}, number {number}")
        records.append(Record(f"p{number}", tmp_path / f"{number}.png", captions, labels))
    return DataSet("some", tuple(records), classes=("cat", "dog", "owl"))


def test_words_of_captions_become_tags(data):
    tagged = caption_tags(data, pictures=2)
    assert tagged.tags == ("cat", "dog", "owl")  # neither what is said of all nor of one
    assert [record.tags for record in tagged.records[:3]] == [("dog",), ("cat",), ()]


def test_pictures_with_a_label_and_a_tag_are_kept(data):
    pairs = set_pairs(caption_tags(data, pictures=2), image_shape=(4, 4, 3))
    assert pairs.ids == ("p0", "p3", "p4", "p5", "p6", "p7", "p8")
    for picture, tags, labels, name in zip(*pairs[:4], strict=True):
        np.testing.assert_array_equal(tags > 0, labels)
        np.testing.assert_allclose(picture, 255 * int(name[1:]) / 10, atol=1)


def test_captions_label_pictures(data):
    """A label needs two captions of a picture that have one of its words."""
    words = {"pet": ("dog", "cat"), "bird": ("owl",)}
    found = label_by_captions(data, words)
    assert found.classes == ("pet", "bird")
    labels = {record.id: record.labels for record in found.records}
    assert labels["p0"] == labels["p1"] == ("pet",) and labels["p5"] == ("bird",)
    assert "p2" not in labels  # it is called "one"
    with pytest.raises(PairsError, match="no picture has 3 captions that say a word of the labels"):
        label_by_captions(data, words, captions=3)


def test_nothing_to_pair_is_said(data):
    with pytest.raises(PairsError, match="some: none of 9 pictures has both a label and a tag"):
        set_pairs(data._replace(tags=("cat",)), image_shape=(4, 4, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "coco: none of 12 pictures has both a label and a tag"),  # all captions say the same
        (["--adversarial", "3"], "retrains a hasher: give the one to attack and to start from"),
    ],
)
def test_the_command_says_what_data_lacks(tmp_path, arguments, message):
    layouts.coco(tmp_path / "coco")
    code, _, err = call(
        "train", "hasher", "--name", "x", "--out", tmp_path, "--data", tmp_path / "coco", *arguments
    )
    assert code == 2 and message in err.splitlines()[-1]


def test_more_held_out_than_there_are_is_said(data, tmp_path):
    architecture = hasher_architecture("dcmh", "resnet-small")
    tagged = caption_tags(data, pictures=2)
    job = train_hasher_on_data(tmp_path / "x", architecture, tagged, steps=1, held_out=7)
    with pytest.raises(PairsError, match="--held-out 7: only 7 pictures have a label and a tag"):
        list(job)


@pytest.fixture
def features():
    """Forty pictures of which three features and two weights of a text are published."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(40):
        label = number % 2
        values = np.clip(rng.normal((0.2, 0.8, 0.5) if label else (0.8, 0.2, 0.5), 0.05), 0, 1)
        text = np.array([1 - label, label], np.float32)
        labels = (str(label),)
        records.append(Record(f"p{number:02}", np.float32(values), labels=labels, tags=text))
    return DataSet("published", tuple(records), classes=("0", "1"), tags=("0", "1"))


def test_published_features_stay_as_they_are(features):
    pairs = set_pairs(features, (3,))
    assert pairs.pictures.dtype == np.float32
    np.testing.assert_array_equal(pairs.pictures[7], features.records[7].picture)
    np.testing.assert_array_equal(pairs.texts.argmax(1), np.arange(40) % 2)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((64, 64, 3), "published has 3 features a picture, the hasher takes pictures"),
        ((4,), "published has 3 features a picture, the hasher takes 4 features a picture"),
    ],
)
def test_features_that_do_not_fit_the_hasher_are_said(features, image_shape, message):
    with pytest.raises(PairsError, match=message):
        set_pairs(features, image_shape)


def test_pictures_do_not_fit_a_hasher_of_features(data):
    with pytest.raises(PairsError, match="some has pictures, the hasher takes 3 features"):
        set_pairs(caption_tags(data, pictures=2), (3,))


def test_features_outside_their_range_are_said(features):
    wrong = features.records[3]._replace(picture=np.float32([0.5, 7, 0]))
    records = (*features.records[:3], wrong, *features.records[4:])
    with pytest.raises(PairsError, match=r"published: features from 0.* to 7; must be in \[0, 1\]"):
        set_pairs(features._replace(records=records), (3,))


def test_a_hasher_of_published_features_is_trained_and_attacked(tmp_path):
    rng = np.random.default_rng(0)
    parts = {}
    for part, count in (("tr", 70), ("te", 10)):
        parts |= {f"I_{part}": rng.random((count, 7)), f"T_{part}": rng.random((count, 3))}
        parts[f"L_{part}"] = 1 + np.arange(count, dtype=np.uint8)[:, None] % 4
    (tmp_path / "wiki").mkdir()
    scipy.io.savemat(tmp_path / "wiki" / "wikiData.mat", parts)
    data = ("--data", tmp_path / "wiki")
    train = ("train", "hasher", "--name", "x", "--out", tmp_path, *data, "--steps", "1")
    code, _, err = call(*train)
    assert code == 2 and "has 7 features a picture, the hasher takes pictures" in err
    code, _, _ = call(*train, "--backbone", "features", "--held-out", "4")
    assert code == 0
    code, _, err = call(*train[:6], "--backbone", "features", "--force")
    assert code == 2 and "scenes are pictures; give data with features" in err.splitlines()[-1]
    victim = zoo.load(str(tmp_path / "x"))
    assert len(victim.record["held_out"]) == 4 and victim.hasher.image_shape == (7,)

    asked = ("--victim", tmp_path / "x", "--out", tmp_path / "t", "--iterations", "2")
    code, out, _ = call("evaluate", "retrieval", *asked, *data)
    assert code == 0 and "4 queries of a database of" in out
    grid = {"victim": str(tmp_path / "x"), "data": str(tmp_path / "wiki"), "iterations": 2}
    list(sweep(prepare(plan({"retrieval": [grid]})), tmp_path / "s", slots=4))
    rows = table_of(paper_table("cmla-2"), tmp_path / "s").rows
    (row,) = (row for row in rows if str(tmp_path / "wiki") in row)
    assert 4 in row  # queries
    code, _, err = call("evaluate", "retrieval", *asked)
    assert code == 2 and "does not know the tags and labels of scenes" in err


def test_what_a_hasher_learned_from_asks_nothing(features, tmp_path):
    architecture = hasher_architecture("dcmh", "features")
    list(train_hasher_on_data(tmp_path / "x", architecture, features, steps=1, held_out=5, batch=8))
    victim = zoo.load(str(tmp_path / "x"))
    asking, asked = held_out_pairs(victim, features, 3)
    assert len(asking.ids) == 3 and len(asked.ids) == 35 and not set(asking.ids) & set(asked.ids)
    others = features._replace(records=tuple(r for r in features.records if r.id in asked.ids))
    with pytest.raises(PairsError, match="published: none was held out when victim 'x'"):
        held_out_pairs(victim, others, 3)
    with pytest.raises(PairsError, match="published: its classes are not those of victim 'x'"):
        held_out_pairs(victim, features._replace(classes=("0", "1", "2")), 3)


def test_what_was_held_out_stays_so_when_training_goes_on(features, tmp_path):
    """Whatever the new seed and number would draw."""
    architecture = hasher_architecture("dcmh", "features")
    train = partial(train_hasher_on_data, architecture=architecture, data=features, steps=1)
    list(train(tmp_path / "x", held_out=5, batch=8))
    first = zoo.load(str(tmp_path / "x"))
    list(train(tmp_path / "y", held_out=9, batch=8, seed=1, start=first))
    again = zoo.load(str(tmp_path / "y"))
    assert set(again.record["held_out"]) == set(first.record["held_out"])

    training, aside = hold_out(features.records, 9, first.record["held_out"])
    assert {r.id for r in aside} == set(first.record["held_out"])
    assert len(training) == 35 and len(hold_out(features.records, 9, ["p-elsewhere"])[1]) == 9


@pytest.mark.slow
def test_a_hasher_is_trained_on_real_pairs(real_data, tmp_path):
    """159 pictures of COCO, the words of their captions, and 80 classes."""
    arguments = ("--held-out", "30", "--backbone", "resnet-small", "--steps", "4")
    data = ("--data", real_data / "coco_mini")
    code, _, _ = call("train", "hasher", "--name", "x", "--out", tmp_path, *data, *arguments)
    assert code == 0
    victim = zoo.load(str(tmp_path / "x"))
    assert len(victim.hasher.classes) == 80 and "dog" in victim.hasher.tags
    measured = victim.record["measures"]["held_out_pairs"]
    assert measured["queries"] == 30 and 0.2 < measured["image_to_text"] < 1
