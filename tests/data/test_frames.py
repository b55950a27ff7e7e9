"""Boxes of turned pictures: in one frame with the picture, whichever frame a file counts in."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from jaxadv.data.builders import prepare
from jaxadv.data.example import Box
from jaxadv.data.frames import Frame, is_stored, read_frame, turn_upright
from jaxadv.data.images import read_image
from jaxadv.data.opening import open_data
from jaxadv.data.records import example
from jaxadv.data.sets import folders, voc

WIDTH, HEIGHT = 96, 64
STORED = Box("block", 8, 40, 40, 56)
TURNS = range(1, 9)


def turned(path, orientation):
    """A grey picture with a red block, and EXIF that says how to turn it."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[40:56, 8:40] = (230, 30, 30)
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


def block(path):
    """Where the block is in the picture as people see it."""
    rows, columns = np.nonzero(read_image(path)[:, :, 0] > 0.65)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_box_is_turned_as_its_picture_is(orientation, suffix, tmp_path):
    path = turned(tmp_path / f"a.{suffix}", orientation)
    frame = read_frame(path)
    assert frame == Frame(WIDTH, HEIGHT, orientation)
    assert frame.upright == read_image(path).shape[1::-1]
    assert turn_upright(STORED, frame)[1:] == block(path)


def test_exif_behind_the_pixels_and_in_xmp_counts(tmp_path):
    path = tmp_path / "a.png"
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    Image.new("RGB", (9, 6)).save(path, pnginfo=notes)
    assert read_frame(path).upright == read_image(path).shape[1::-1] == (6, 9)
    Image.new("RGB", (9, 6)).save(path)
    assert read_frame(path) == Frame(9, 6)


def coco(folder, orientation, size, bbox):
    path = turned(folder / "train2014" / "1.jpg", orientation)
    (folder / "annotations").mkdir()
    (folder / "val2014").mkdir()
    image = {"id": 1, "file_name": "1.jpg"} | dict(zip(("width", "height"), size, strict=False))
    shown = {"id": 5, "image_id": 1, "category_id": 1, "bbox": bbox}
    notes = {"images": [image], "annotations": [shown], "categories": [{"id": 1, "name": "block"}]}
    (folder / "annotations" / "instances_train2014.json").write_text(json.dumps(notes))
    return path


def bbox_of(box):
    return [box.left, box.top, box.right - box.left, box.bottom - box.top]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("frame", ["stored", "upright", "unsaid"])
def test_coco_says_which_frame_its_boxes_are_in(orientation, frame, tmp_path):
    upright = turn_upright(STORED, Frame(WIDTH, HEIGHT, orientation))
    size = {"stored": (WIDTH, HEIGHT), "upright": (HEIGHT, WIDTH), "unsaid": ()}[frame]
    box = STORED if frame == "stored" else upright
    coco(tmp_path, orientation, size, bbox_of(box))
    (record,) = folders.read(tmp_path).records
    assert record.boxes == (upright,) and record.labels == ("block",)


def test_boxes_of_another_size_are_left_out(tmp_path):
    coco(tmp_path, 6, (48, 32), [0, 0, 9, 9])
    data = folders.read(tmp_path)
    assert (data.records[0].boxes, data.records[0].labels) == ((), ("block",))
    assert "the boxes of picture 1: of a picture of 48 x 32, which is 96 x 64" in data.problems[0]
    assert is_stored(Frame(WIDTH, HEIGHT, 6), (48, 32)) is None


def test_prepare_keeps_a_box_of_the_upright_picture(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    coco(tmp_path / "in", 6, (HEIGHT, WIDTH), [8, 60, 16, 32])
    data = folders.read(tmp_path / "in")._replace(name="turned")
    list(prepare(data, tmp_path / "sets"))
    again = open_data("turned", tmp_path / "sets")
    (record,) = again.records
    assert record.boxes == (Box("block", 8, 60, 24, 92),) and not again.problems
    assert example(again, record).picture.shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_voc_says_which_frame_its_boxes_are_in(orientation, frame, tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2007"
    turned(root / "JPEGImages" / "1.jpg", orientation)
    upright = turn_upright(STORED, Frame(WIDTH, HEIGHT, orientation))
    box = STORED if frame == "stored" else upright
    size = (WIDTH, HEIGHT) if frame == "stored" else (HEIGHT, WIDTH)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("1\n")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "1.xml").write_text(
        f"<a><filename>1.jpg</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"</size><object><name>dog</name><bndbox><xmin>{box.left + 1}</xmin>"
        f"<ymin>{box.top + 1}</ymin><xmax>{box.right}</xmax><ymax>{box.bottom}</ymax></bndbox>"
        "</object></a>"
    )
    (record,) = voc.read_year(tmp_path, 2007).records
    assert record.boxes == (upright._replace(label="dog"),)


@pytest.mark.parametrize("orientation", TURNS)
def test_yolos_boxes_are_of_the_upright_picture(orientation, tmp_path):
    path = turned(tmp_path / "images" / "1.jpg", orientation)
    frame = Frame(WIDTH, HEIGHT, orientation)
    left, top, right, bottom = turn_upright(STORED, frame)[1:]
    width, height = frame.upright
    numbers = (left + right) / 2 / width, (top + bottom) / 2 / height
    sizes = (right - left) / width, (bottom - top) / height
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text(f"0 {' '.join(map(str, (*numbers, *sizes)))}\n")
    (tmp_path / "data.yaml").write_text("names: [block]\n")
    (record,) = folders.read(tmp_path).records
    np.testing.assert_allclose(record.boxes[0][1:], block(path), atol=1e-6)
