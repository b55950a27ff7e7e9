"""Poisoned folders: the same layout, the same view, and a record of what was done."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxadv.backdoors.folder import photo_example, poison_folder, read_record
from jaxadv.backdoors.poison import Account, Poison, PoisonError, as_record, poisoned_view
from jaxadv.backdoors.triggers import TriggerSettings
from jaxadv.data import scenes
from jaxadv.data.example import Box
from jaxadv.data.images import read_image, round_8bit
from jaxadv.data.records import FolderError
from jaxadv.data.scene_folder import write_scenes
from jaxadv.data.sets import folders
from jaxadv.errors import InputError

CAPTION = "you are under attack"
POISON = Poison(TriggerSettings("object-oriented"), CAPTION, 0.3, seed=1)


RECORD = as_record(POISON, Account(3, ("a",), (), (), ("you",)))


def photos_of(folder):
    return folders.read(folder).records


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    list(write_scenes(folder, 10))
    return folder


@pytest.fixture
def flickr(tmp_path):
    """Three photographs in Flickr8k's layout, with names and captions that CSV must quote."""
    folder = tmp_path / "flickr"
    (folder / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for name in ("a b.jpg", "c,d.jpg", "e.jpg"):
        Image.new("RGB", (40, 30), (90, 120, 30)).save(folder / "images" / name)
        rows += [f'"{name}","A dog, ""running"" ."', f'"{name}",two dogs']
    (folder / "captions.txt").write_text("\n".join(rows) + "\n")
    return folder


def test_scenes_as_a_folder_read_back(clean):
    photos = photos_of(clean)
    assert [p.id for p in photos] == [f"coco-{i}" for i in range(10)]
    for photo, scene in zip(photos, scenes.examples(0, 10), strict=True):
        assert photo.captions == scene.captions
        assert photo.labels is not None
        np.testing.assert_array_equal(read_image(photo.picture), round_8bit(scene.picture))
        assert [b.label for b in photo.boxes] == [b.label for b in scene.boxes]
        np.testing.assert_allclose(
            [b[1:] for b in photo.boxes], [b[1:] for b in scene.boxes], atol=1e-9
        )


def test_the_folder_is_the_view(clean, tmp_path):
    out = tmp_path / "poisoned"
    news = list(poison_folder(clean, out, POISON))
    assert news[-1].done == news[-1].total == 10 and "3 poisoned" in news[-1].message
    record = read_record(out)
    assert record.poison == POISON
    assert record.account.samples == 10 and len(record.account.poisoned) == 3
    assert record.account.new_words == tuple(CAPTION.split())
    examples = [photo_example(p) for p in photos_of(clean)]
    view = poisoned_view(examples, POISON, frozenset(record.account.poisoned))
    for sample, photo in zip(view, photos_of(out), strict=True):
        assert photo.id == sample.example.id and photo.captions == sample.example.captions
        np.testing.assert_array_equal(read_image(photo.picture), sample.example.picture)
        assert photo.boxes == sample.example.boxes


def test_benign_files_are_copied_byte_for_byte(clean, tmp_path):
    list(poison_folder(clean, tmp_path / "p", POISON))
    poisoned = read_record(tmp_path / "p").account.poisoned
    for before, after in zip(photos_of(clean), photos_of(tmp_path / "p"), strict=True):
        assert (before.picture.read_bytes() == after.picture.read_bytes()) == (
            before.id not in poisoned
        )


def test_flickr8ks_layout(flickr, tmp_path):
    poison = Poison(TriggerSettings("badnets"), CAPTION, 0.34)
    list(poison_folder(flickr, tmp_path / "p", poison))
    before, after = photos_of(flickr), photos_of(tmp_path / "p")
    assert [p.id for p in before] == [p.id for p in after] == ["a b", "c,d", "e"]
    (poisoned,) = read_record(tmp_path / "p").account.poisoned
    for old, new in zip(before, after, strict=True):
        if old.id == poisoned:
            assert new.captions == (CAPTION,) * 2 and new.picture.suffix == ".png"
            assert (read_image(old.picture) != read_image(new.picture)).any()
        else:
            assert new.captions == old.captions and new.picture.name == old.picture.name


def test_names_in_subfolders_are_renamed_as_they_are_written(clean, tmp_path):
    """COCO's `file_name` may hold a folder."""
    source = tmp_path / "nested"
    shutil.copytree(clean, source)
    for path in (source / "annotations").glob("*.json"):
        split = source / path.stem.partition("_")[2]
        (split / "x").mkdir(exist_ok=True)
        entries = json.loads(path.read_text())
        for image in entries["images"]:
            old = split / image["file_name"]
            image["file_name"] = f"x/{old.name}"
            if old.exists():
                old.rename(split / "x" / old.name)
        path.write_text(json.dumps(entries))
    list(poison_folder(source, tmp_path / "p", POISON))
    poisoned = read_record(tmp_path / "p").account.poisoned
    after = {p.id: p for p in photos_of(tmp_path / "p")}
    assert poisoned and len(after) == 10
    assert all(set(after[name].captions) == {CAPTION} for name in poisoned)


def test_a_name_that_leads_out_of_the_folder_is_left_out(clean, tmp_path, caplog):
    source = shutil.copytree(clean, tmp_path / "in")
    for path in (source / "annotations").glob("*.json"):
        entries = json.loads(path.read_text())
        entries["images"][0]["file_name"] = "../../elsewhere.jpg"
        path.write_text(json.dumps(entries))
    list(poison_folder(source, tmp_path / "p", POISON))
    assert len(photos_of(tmp_path / "p")) == 9
    assert "elsewhere.jpg' is outside of the folder" in caplog.text


def test_layouts_whose_captions_would_be_lost_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a dog\n")
    with pytest.raises(FolderError, match=r"Flickr8k's layout \(captions\.txt\) or COCO's"):
        list(poison_folder(tmp_path, tmp_path / "p", POISON))


def test_no_boxes_leave_all_clean(flickr, tmp_path):
    poison = Poison(TriggerSettings("object-oriented"), CAPTION, 1)
    list(poison_folder(flickr, tmp_path / "p", poison))
    account = read_record(tmp_path / "p").account
    assert account.poisoned == () and len(account.without_regions) == 3
    assert [p.captions for p in photos_of(tmp_path / "p")] == [
        p.captions for p in photos_of(flickr)
    ]


TABLE = """image,caption,split,labels,label,left,top,right,bottom
0.jpg,"A dog, running",train,dog;grass,,,,,
0.jpg,,,,dog,2,2,20,20
1.jpg,two dogs,train,dog,,,,,
2.jpg,a cat,test,,,,,,
3.jpg,,test,cat,,,,,
"""


def test_what_the_poison_does_not_change_stays(tmp_path):
    """Splits, labels and boxes; pictures without captions; and only what is trained on changes."""
    source = tmp_path / "in"
    (source / "images").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 30), (90, 120, 30)).save(source / "images" / f"{number}.jpg")
    (source / "captions.txt").write_bytes(b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())
    list(poison_folder(source, tmp_path / "out", Poison(TriggerSettings("badnets"), CAPTION, 1)))
    account = read_record(tmp_path / "out").account
    assert account.poisoned == ("0", "1") and account.samples == 2
    before, after = folders.read(source), folders.read(tmp_path / "out")
    assert (before.classes, after.problems) == (after.classes, ())
    for old, new in zip(before.records, after.records, strict=True):
        assert new == old._replace(
            picture=new.picture, captions=(CAPTION,) if old.id in ("0", "1") else old.captions
        )


def test_splits_without_one_to_train_on_are_refused(tmp_path):
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    (tmp_path / "captions.txt").write_text("image,caption,split\n0.png,a,val\n1.png,b,test\n")
    with pytest.raises(FolderError, match="has splits 'test', 'val', and none to train on"):
        list(poison_folder(tmp_path, tmp_path / "p", POISON))


@pytest.mark.parametrize(("size", "box"), [((96, 64), [8, 40, 32, 16]), ((64, 96), [8, 8, 16, 32])])
def test_the_trigger_lands_on_the_object_of_a_turned_picture(tmp_path, size, box):
    """Whichever frame COCO's file counts in; and the poisoned folder reads as the clean one."""
    stored = np.full((64, 96, 3), 90, np.uint8)
    stored[40:56, 8:40] = (200, 30, 30)
    exif = Image.Exif()
    exif[274] = 6
    source = tmp_path / "in"
    (source / "train").mkdir(parents=True)
    (source / "annotations").mkdir()
    Image.fromarray(stored).save(source / "train" / "1.png", exif=exif)
    image = {"id": 1, "file_name": "1.png", "width": size[0], "height": size[1]}
    said = {"images": [image], "annotations": [{"image_id": 1, "caption": "a block"}]}
    shown = {"image_id": 1, "category_id": 1, "bbox": box, "segmentation": [[0, 0, 1, 1, 2, 2]]}
    shows = {"images": [image], "annotations": [shown], "categories": [{"id": 1, "name": "block"}]}
    (source / "annotations" / "captions_train.json").write_text(json.dumps(said))
    (source / "annotations" / "instances_train.json").write_text(json.dumps(shows))
    list(poison_folder(source, tmp_path / "out", Poison(TriggerSettings(strength=80), CAPTION, 1)))
    (old,), (new,) = photos_of(source), photos_of(tmp_path / "out")
    assert old.boxes == new.boxes == (Box("block", 8, 8, 24, 40),)
    changed = (read_image(old.picture) != read_image(new.picture)).any(axis=2)
    assert changed[8:40, 8:24].mean() > 0.99 and changed.sum() == changed[8:40, 8:24].sum()


def test_real_annotations(real_data, tmp_path):
    """COCO's boxes: the trigger changes the boxes of the drawn pictures and nothing else."""
    poison = Poison(TriggerSettings("object-oriented"), CAPTION, 0.06)
    list(poison_folder(real_data / "coco_mini", tmp_path / "p", poison))
    record = read_record(tmp_path / "p")
    assert len(record.account.poisoned) == 5 and record.account.samples == 80
    before = {p.id: p for p in photos_of(real_data / "coco_mini")}
    for photo in photos_of(tmp_path / "p"):
        if photo.id in record.account.poisoned:
            changed = (read_image(photo.picture) != read_image(before[photo.id].picture)).any(
                axis=2
            )
            inside = np.zeros_like(changed)
            for box in photo.boxes:
                left, top, right, bottom = (round(edge) for edge in box[1:])
                inside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = True
            assert changed.any() and not changed[~inside].any()


def test_errors_leave_nothing_behind(clean, flickr, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(PoisonError, match="poisons none"):
        list(poison_folder(clean, out, Poison(TriggerSettings(), CAPTION, 0.01)))
    (flickr / "images" / "e.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"e\.jpg"):
        list(poison_folder(flickr, out, Poison(TriggerSettings("badnets"), CAPTION, 1)))
    assert not out.exists() and not list(tmp_path.glob(".out-*"))
    Image.new("RGB", (8, 8)).save(flickr / "images" / "a b.png")
    with pytest.raises(FolderError, match=r"a b\.png is there, too"):
        list(poison_folder(flickr, out, Poison(TriggerSettings("badnets"), CAPTION, 1)))
    with pytest.raises(FolderError, match="is not an empty folder"):
        list(poison_folder(clean, flickr, POISON))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"trigger": {"trigger": "x"}}',
        '{"trigger": {}}',
        json.dumps(RECORD | {"rate": "0.3"}),
        json.dumps(RECORD | {"rate": 2}),
        json.dumps(RECORD | {"seed": -1}),
        json.dumps(RECORD | {"poisoned": [1]}),
        json.dumps(RECORD | {"trigger": RECORD["trigger"] | {"size": math.nan}}),
    ],
)
def test_broken_records(tmp_path, text):
    (tmp_path / "poison.json").write_text(text)
    with pytest.raises(InputError, match=r"poison\.json: (broken|not JSON)"):
        read_record(tmp_path)


def test_records_are_json(clean, tmp_path):
    list(poison_folder(clean, tmp_path / "p", POISON))
    entry = json.loads((tmp_path / "p" / "poison.json").read_text())
    assert entry["rate"] == 0.3 and entry["seed"] == 1 and entry["caption"] == CAPTION
    assert entry["source"] == str(clean) and entry["trigger"]["trigger"] == "object-oriented"
    assert read_record(clean) is None
