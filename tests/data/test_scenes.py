"""Scenes are what their captions, labels, tags and boxes say."""

import numpy as np
import pytest

from jaxadv.captions.scene_match import facts, match
from jaxadv.data import scenes

MANY = [scenes.example(5, i) for i in range(200)]


def test_deterministic_in_seed_and_index():
    again = scenes.example(5, 17)
    np.testing.assert_array_equal(again.picture, MANY[17].picture)
    assert again.captions == MANY[17].captions
    assert scenes.example(6, 17).captions != MANY[17].captions
    assert [e.id for e in scenes.examples(5, 3, start=4)] == [e.id for e in MANY[4:7]]


def test_pictures_and_captions():
    vocabulary = scenes.vocabulary()
    lengths = set()
    for e in MANY:
        assert e.picture.shape == (64, 64, 3) and e.picture.dtype == np.float32
        assert e.picture.min() >= 0 and e.picture.max() <= 1
        assert len(set(e.captions)) >= 3
        lengths |= {len(vocabulary.encode(c)) for c in e.captions}
    assert min(lengths) == 6 and max(lengths) == scenes.MAX_WORDS == 14
    assert len({e.captions[0] for e in MANY}) > 190


def test_labels_tags_and_boxes_agree_with_the_caption():
    assert len(scenes.LABELS) >= 20
    for e in MANY:
        said = facts(e.captions[0])
        named = {f"{c} {s}" for c, s in zip(said.colours, said.shapes, strict=True)}
        assert named == {scenes.LABELS[i] for i in np.flatnonzero(e.labels)}
        assert named == {box.label for box in e.boxes}
        tags = {scenes.TAGS[i] for i in np.flatnonzero(e.tags)}
        assert {*said.colours, *said.shapes} <= tags
        for box in e.boxes:
            assert 0 <= box.left < box.right <= 64 and 0 <= box.top < box.bottom <= 64


def test_objects_are_where_their_boxes_are():
    """The middle of a big square's box has the square's colour."""
    seen = 0
    for i in range(300):
        what = scenes.scene(9, i)
        for thing in what.things:
            if thing.shape == "square" and thing.size == "big" and thing.colour == "red":
                pixel = scenes.example(9, i).picture[int(thing.y), int(thing.x)]
                assert pixel[0] > pixel[1] + 0.2 and pixel[0] > pixel[2] + 0.2
                seen += 1
    assert seen > 0


def test_crowds_have_labels_but_no_captions():
    crowd = scenes.example(0, 0, things=(8, 12), side=160)
    assert crowd.picture.shape == (160, 160, 3)
    assert 8 <= len(crowd.boxes) <= 12
    assert crowd.captions is None


@pytest.mark.parametrize("index", range(20))
def test_every_phrasing_is_true_of_its_scene(index):
    e = MANY[index]
    for caption in e.captions:
        assert match(caption, e.captions).everything
    wrong = (
        e.captions[0]
        .translate(str.maketrans({}))
        .replace(
            facts(e.captions[0]).colours[0], "red" if "red" not in e.captions[0] else "blue", 1
        )
    )
    assert not match(wrong, e.captions).everything
