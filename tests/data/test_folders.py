"""Folders of photographs with captions, labels and boxes in the layouts of their owners."""

import json

import pytest
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, captioned, labelled
from jaxadv.data.sets import folders
from jaxadv.errors import InputError


def read(folder):
    return folders.read(folder).records


def read_labelled(several):
    return labelled(open_data([str(folder) for folder in several]))


def picture(path, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


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


INSTANCES = {
    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (7, 9)],
    "categories": [{"id": 90, "name": "bear"}, {"id": 2, "name": "dog"}, {"id": 11, "name": "cat"}],
    "annotations": [
        {"image_id": 7, "category_id": 90, "bbox": [0, 1, 2, 2.5], "iscrowd": 0},
        {"image_id": 7, "category_id": 2, "bbox": [1, 0, 1, 1], "iscrowd": 0},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1], "iscrowd": 0},
        {"image_id": 7, "category_id": 11, "bbox": [0, 0, 4, 4], "iscrowd": 1},
    ],
}


@pytest.fixture
def instances(coco):
    picture(coco / "val2017" / "9.jpg")
    path = coco / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(INSTANCES))
    return coco


@pytest.fixture
def yolo(tmp_path):
    folder = tmp_path / "yolo"
    for name in ("train/10.jpg", "train/7.jpg"):
        picture(folder / "images" / name, (8, 4))
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "7.txt").write_text("2 0.5 0.5 0.25 1\n\n0 0.25 0.25 0.5 0.5\n")
    (folder / "data.yaml").write_text("path: .\nnames:\n  0: dog\n  1: cat\n  2: bear\n")
    return folder


def test_flickr8k(flickr8k):
    one, two = read(flickr8k)
    assert (one.id, one.captions) == ("one", ("A dog .", "A dog, running ."))
    assert two.picture == flickr8k / "images" / "two.jpg"
    assert one.labels is None and one.boxes is None
    assert folders.read(flickr8k).classes is None


def test_coco_captions(coco):
    (photo,) = read(coco)
    assert (photo.id, photo.captions) == ("coco-7", ("A train.",))
    assert photo.labels is None and photo.boxes is None


def test_coco_labels_and_captions_are_joined(instances):
    found = folders.read(instances)
    assert found.classes == ("dog", "cat", "bear")  # by the categories' numbers
    seven, nine = found.records
    assert (seven.id, seven.captions) == ("coco-7", ("A train.",))
    assert seven.labels == ("dog", "cat", "bear")
    assert seven.boxes == (
        Box("bear", 0, 1, 2, 3.5), Box("dog", 1, 0, 2, 1), Box("dog", 0, 0, 1, 1)
    )  # fmt: skip
    assert (nine.captions, nine.labels, nine.boxes) == (None, (), ())
    assert [p.id for p in captioned(found).records] == ["coco-7"]


def test_coco_labels_alone(instances):
    (instances / "annotations" / "captions_val2017.json").unlink()
    assert [(p.captions, len(p.labels)) for p in read(instances)] == [(None, 3), (None, 0)]
    with pytest.raises(FolderError, match="none of 2 pictures has captions"):
        captioned(folders.read(instances))


@pytest.mark.parametrize("names", [None, "names: [dog, cat, bear]"])
def test_yolo(yolo, names):
    if names:
        (yolo / "data.yaml").rename(yolo / "classes.yaml").write_text(names)
    found = folders.read(yolo)
    assert found.classes == ("dog", "cat", "bear")
    ten, seven = found.records
    assert (ten.id, ten.labels, ten.boxes) == ("train/10", (), ())
    assert seven.labels == ("dog", "bear")
    assert seven.boxes == (Box("bear", 3, 0, 5, 4), Box("dog", 0, 0, 4, 2))


def test_folders_of_the_same_classes_are_read_together(instances, yolo):
    found = read_labelled([instances, yolo])
    assert found.classes == ("dog", "cat", "bear")
    assert [p.id for p in found.records] == ["coco-7", "coco-9", "train/10"]  # 7.jpg is in both


def test_labels_are_asked_for(coco, yolo):
    with pytest.raises(FolderError, match="none of 1 pictures has labels"):
        read_labelled([coco])
    (yolo / "data.yaml").write_text("names: [dog, cat, horse]")
    (coco / "annotations" / "instances_val2017.json").write_text(json.dumps(INSTANCES))
    with pytest.raises(
        FolderError, match="has labels; labels: the classes of yolo are not those of"
    ):
        read_labelled([coco, yolo])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent", "no such folder"),
        (lambda p: p, "in no known layout"),
        (lambda p: (p / "captions.txt").write_text("image,caption\n") and p, "no picture"),
        (
            lambda p: (p / "captions.txt").write_text("a,b\n1,2\n") and p,
            "give image, and any",
        ),
    ],
)
def test_refusals(tmp_path, make, message):
    with pytest.raises(FolderError, match=message):
        read(make(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2",
        "[]",
        "{}",
        json.dumps(INSTANCES | {"categories": []}),
    ],
)
def test_broken_coco_annotations_are_one_line(instances, text):
    (instances / "annotations" / "instances_val2017.json").write_text(text)
    with pytest.raises(InputError, match=r"not JSON|not laid out as COCO's annotations") as caught:
        read(instances)
    assert "\n" not in str(caught.value)


def test_splits_of_different_categories(instances):
    picture(instances / "test" / "7.jpg")
    other = INSTANCES | {"categories": INSTANCES["categories"] + [{"id": 1, "name": "cow"}]}
    (instances / "annotations" / "instances_test.json").write_text(json.dumps(other))
    with pytest.raises(FolderError, match="different categories"):
        read(instances)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("data.yaml", "names: {0: dog, 2: cat}", "numbered from 0 to 1"),
        ("data.yaml", "names: [dog", "not YAML"),
        ("data.yaml", "names: 3", "not laid out as"),
        ("data.yaml", "path: .", "not laid out as"),
        ("data.yaml", "names: [dog, '']", "name 1 is no text"),
    ],
)
def test_broken_yolo_descriptions_are_one_line(yolo, file, text, message):
    (yolo / file).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read(yolo)
    assert "\n" not in str(caught.value)


def test_real_folders(real_data):
    assert len(read(real_data / "flickr8k_1000")) == 1000
    coco = folders.read(real_data / "coco_mini")
    assert len(coco.records) == 80 + 79
    assert all(len(p.captions) >= 5 and p.labels is not None for p in coco.records)
    assert len(coco.classes) == 80 and coco.classes[:2] == ("person", "bicycle")
    yolo = folders.read(real_data / "coco_labels_128")
    assert yolo.classes == coco.classes and len(yolo.records) == 128
    for found in (coco, yolo):
        boxes = [box for p in found.records for box in p.boxes]
        assert len(boxes) > 5 * len(found.records)
        assert all(b.left >= -1 and b.left < b.right <= 641 for b in boxes)
    both = read_labelled([real_data / "coco_mini", real_data / "coco_labels_128"])
    assert len(both.records) == 80 + 79 + 128
