"""Folders of captioned photographs in the layouts of their owners."""

import json

import pytest
from PIL import Image

from jaxadv.data.photos import FolderError, read_photos


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


@pytest.fixture
def flickr8k(tmp_path):
    picture(tmp_path / "images" / "one.jpg")
    picture(tmp_path / "images" / "two.jpg")
    (tmp_path / "captions.txt").write_text(
        'image,caption\none.jpg,A dog .\none.jpg,"A dog, running ."\ntwo.jpg,A cat .\n'
        "absent.jpg,A cow .\n"
    )
    return tmp_path


@pytest.fixture
def coco(tmp_path):
    picture(tmp_path / "val2017" / "7.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_val2017.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
                "annotations": [
                    {"image_id": 7, "caption": "A train."},
                    {"image_id": 8, "caption": "A boat."},
                ],
            }
        )
    )
    return tmp_path


def test_flickr8k(flickr8k):
    one, two = read_photos(flickr8k)
    assert (one.id, one.captions) == ("one", ("A dog .", "A dog, running ."))
    assert two.path == flickr8k / "images" / "two.jpg"


def test_coco(coco):
    (photo,) = read_photos(coco)
    assert (photo.id, photo.captions) == ("coco-7", ("A train.",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent", "no such folder"),
        (lambda p: p, "neither Flickr8k's layout"),
        (lambda p: (p / "captions.txt").write_text("image,caption\n") and p, "no picture"),
        (lambda p: (p / "captions.txt").write_text("a,b\n1,2\n") and p, "broken annotations"),
    ],
)
def test_refusals(tmp_path, make, message):
    with pytest.raises(FolderError, match=message):
        read_photos(make(tmp_path))


def test_real_folders(real_data):
    assert len(read_photos(real_data / "flickr8k_1000")) == 1000
    assert all(len(p.captions) >= 5 for p in read_photos(real_data / "coco_mini"))
