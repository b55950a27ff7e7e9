"""The photographs that are shipped."""

import numpy as np
import pytest

from jaxadv.data import photographs
from jaxadv.data.images import read_image
from jaxadv.errors import InputError


def test_each_is_there_with_its_caption_and_its_licence():
    assert len(photographs.NAMES) >= 12
    files = {path.stem for path in photographs._FOLDER.glob("*.jpg")}
    assert files == set(photographs.NAMES)
    for shown in photographs.examples(side=32):
        about = photographs.ABOUT[shown.id]
        assert shown.picture.shape == (32, 32, 3) and shown.picture.dtype == np.float32
        assert shown.captions == (about.caption,) and about.source
        assert about.licence == "CC0" or about.licence.startswith("public domain")


def test_they_are_small_squares():
    for path in photographs._FOLDER.glob("*.jpg"):
        height, width, _ = read_image(path).shape
        assert height == width <= 320 and path.stat().st_size < 60_000


def test_one_that_is_not_there_is_said():
    with pytest.raises(InputError, match="no photograph 'dog': there are astronaut, cat"):
        photographs.example("dog")
