"""Pairs of a data set: words of captions as tags, and the pictures that have what is needed."""

import layouts
import numpy as np
import pytest
from commands import call

from jaxadv.data.images import write_png
from jaxadv.data.pairs import PairsError
from jaxadv.data.records import DataSet, Record
from jaxadv.data.set_pairs import caption_tags, set_pairs
from jaxadv.training.hasher_recipes import hasher_architecture, train_hasher_on_data
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
    pairs = set_pairs(caption_tags(data, pictures=2), side=4)
    assert pairs.ids == ("p0", "p3", "p4", "p5", "p6", "p7", "p8")
    for picture, tags, labels, name in zip(*pairs, strict=True):
        np.testing.assert_array_equal(tags > 0, labels)
        np.testing.assert_allclose(picture, 255 * int(name[1:]) / 10, atol=1)


def test_nothing_to_pair_is_said(data):
    with pytest.raises(PairsError, match="some: none of 9 pictures has both a label and a tag"):
        set_pairs(data._replace(tags=("cat",)), side=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "coco: none of 12 pictures has both a label and a tag"),  # all captions say the same
        (["--adversarial", "3"], "--adversarial: only scenes are attacked here, not --data"),
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
