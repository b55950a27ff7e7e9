"""Annotations that people bring: each kind of fault beside every reader that it can reach."""

import json
import math
import os
import time

import numpy as np
import pytest
from PIL import Image

from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, label_matrix, labelled, left_out
from jaxadv.data.sets import folders, layout
from jaxadv.errors import InputError

BOM = b"\xef\xbb\xbf"


def picture(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def notes(folder, entries, suffix="json"):
    for entry in entries:
        picture(folder / entry["image"])
    lines = suffix == "jsonl"
    text = "".join(json.dumps(e) + "\n" for e in entries) if lines else json.dumps(entries)
    (folder / f"set.{suffix}").write_text(text)
    return folders.read(folder)


def two(name, first, second):
    return [{"image": "a.jpg", name: first}, {"image": "b.jpg", name: second}]


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("captions", "a dog runs", ("a dog runs",)),
        ("caption", ["a dog runs", "a dog"], ("a dog runs", "a dog")),
        ("caption", None, None),
        ("caption", math.nan, None),
        ("caption", "", ()),
        ("captions", [None, "a dog", ""], ("a dog",)),
        ("labels", "cat", ("cat",)),
        ("labels", [None, "cat", " cat "], ("cat",)),
        ("labels", None, None),
        ("labels", [], ()),
        ("labels", {"cat": 1, "dog": 0}, ("cat",)),
        ("labels", ["Dog", "dog"], ("Dog", "dog")),
        ("tags", "red", ("red",)),
        ("tags", math.nan, None),
        ("split", "train", "train"),
        ("split", None, "data"),
        ("boxes", None, None),
        ("boxes", [], ()),
    ],
)
def test_what_a_person_has_in_mind(name, value, wanted, suffix, tmp_path):
    other = {"split": "test", "boxes": [], "captions": "two cats", "caption": "two cats"}
    data = notes(tmp_path, two(name, value, other.get(name, ["dog"])), suffix)
    assert getattr(data.records[0], "captions" if name == "caption" else name) == wanted
    assert data.problems == ()


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("caption", 7), ("caption", {"en": "a dog"}), ("caption", True), ("caption", ["a dog", 7]),
        ("caption", "\ud83d"), ("labels", 3), ("labels", [3]), ("labels", [["cat"]]),
        ("labels", {"cat": 0.5}), ("labels", ""), ("tags", {"red": "yes"}), ("split", 1),
        ("split", "../x"), ("split", ["a"]), ("boxes", {}), ("boxes", "x"), ("id", 7),
    ],
)  # fmt: skip
def test_other_values_cost_their_entry_and_name_it(name, value, suffix, tmp_path):
    entries = [{"image": "a.jpg", name: value}, {"image": "c.jpg", "labels": ["cat"]}]
    data = notes(tmp_path, entries, suffix)
    assert [record.id for record in data.records] == ["c"]
    (line,) = data.problems
    which = "line 1" if suffix == "jsonl" else "entry 1"
    assert f"set.{suffix}, {which}: " in line and name in line and line.endswith("; left out")


@pytest.mark.parametrize(
    "box",
    [
        [], None, {}, {"label": "cat"}, {"label": "cat", "left": 0, "top": 0, "right": 2},
        {"label": 3, "left": 0, "top": 0, "right": 2, "bottom": 2},
        {"label": " ", "left": 0, "top": 0, "right": 2, "bottom": 2},
        {"label": "cat", "left": "0", "top": 0, "right": 2, "bottom": 2},
        {"label": "cat", "left": math.nan, "top": 0, "right": 2, "bottom": 2},
        {"label": "cat", "left": 0, "top": 0, "right": math.inf, "bottom": 2},
        {"label": "cat", "left": 0, "top": 0, "right": 10**400, "bottom": 2},
        {"label": "cat", "left": 2, "top": 0, "right": 2, "bottom": 2},
        {"label": "cat", "left": 0, "top": 3, "right": 2, "bottom": 2},
    ],
)  # fmt: skip
def test_a_bad_box_costs_itself(box, tmp_path):
    good = {"label": "cat", "left": 0, "top": 0, "right": 2, "bottom": 3}
    data = notes(tmp_path, [{"image": "a.jpg", "boxes": [good, box], "labels": ["cat"]}])
    assert data.records[0].boxes == (("cat", 0, 0, 2, 3),) and data.records[0].labels == ("cat",)
    assert len(data.problems) == 1 and "box 2 of entry 1" in data.problems[0]


# ---------------------------------------------------------------- COCO


def coco(folder, annotations, kind="instances", images=None, **more):
    for number in (1, 2):
        picture(folder / "train" / f"{number}.jpg")
    (folder / "annotations").mkdir(exist_ok=True)
    listed = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)] if images is None else images
    contents = {"images": listed, "annotations": annotations}
    contents |= {"categories": [{"id": 1, "name": "cat"}]} if kind == "instances" else {}
    (folder / "annotations" / f"{kind}_train.json").write_text(json.dumps(contents | more))
    return folder


GOOD = {"id": 11, "image_id": 1, "category_id": 1, "bbox": [4, 4, 2, 1], "iscrowd": 0}
GONE = object()


def odd(**changed):
    return {
        k: v for k, v in (GOOD | {"id": 4574, "image_id": 2} | changed).items() if v is not GONE
    }


@pytest.mark.parametrize(
    "bbox",
    [[], None, GONE, [1, 2, 3], [1, 2, 3, 0], [1, 2, -3, 4], [math.nan, 1, 2, 3], "1234",
     [1, 2, 3, "4"], [1, 2, 3, 10**400], [True, 1, 2, 3], {"x": 1}],
)  # fmt: skip
def test_a_label_needs_no_box(bbox, tmp_path):
    data = folders.read(coco(tmp_path, [GOOD, odd(bbox=bbox)]))
    assert [r.labels for r in data.records] == [("cat",), ("cat",)]
    assert [len(r.boxes) for r in data.records] == [1, 0]
    assert len(data.problems) == 1 and "the box of annotation 4574: bbox" in data.problems[0]


def test_a_crowd_has_no_box_to_miss(tmp_path):
    crowd = odd(bbox=GONE, iscrowd=1, segmentation={"counts": [5, 9], "size": [6, 8]})
    data = folders.read(coco(tmp_path, [GOOD, crowd]))
    assert data.records[1].labels == ("cat",) and data.problems == ()


@pytest.mark.parametrize(
    "changed",
    [{"category_id": 99}, {"category_id": "1"}, {"category_id": None}, {"image_id": None},
     {"image_id": 99}, {"image_id": 2.0}, {"image_id": "2"}, {"image_id": [2]}],
)  # fmt: skip
def test_an_annotation_of_nothing_costs_itself(changed, tmp_path):
    data = folders.read(coco(tmp_path, [GOOD, odd(**changed), 7]))
    assert [r.labels for r in data.records] == [("cat",), ()]
    assert "annotation 4574: " in data.problems[0] and "entry 3 of annotations" in data.problems[1]


@pytest.mark.parametrize(
    ("caption", "wanted", "said"),
    [(None, (), 0), (math.nan, (), 0), ("", (), 0), (["a dog", "dogs"], ("a dog", "dogs"), 0),
     (7, (), 1), ("🐶", (), 1), (["a dog", 7], (), 1)],
)  # fmt: skip
def test_captions_of_coco_are_checked(caption, wanted, said, tmp_path):
    entries = [
        {"id": 1, "image_id": 1, "caption": caption},
        {"id": 2, "image_id": 2, "caption": "x"},
    ]
    data = folders.read(coco(tmp_path, entries, "captions"))
    assert [r.captions for r in data.records] == [wanted, ("x",)]
    assert len(data.problems) == said and all("annotation 1" in line for line in data.problems)


@pytest.mark.parametrize(
    "image",
    [7, {"id": 3}, {"id": "3", "file_name": "3.jpg"}, {"id": 3, "file_name": None},
     {"id": 3, "file_name": "/etc/passwd"}, {"id": 3, "file_name": "../3.jpg"},
     {"id": 3, "file_name": "x" * 5000}, {"id": 3, "file_name": "a\0b"},
     {"id": 3, "file_name": ""}],
)  # fmt: skip
def test_a_picture_that_is_none_costs_itself(image, tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)]
    data = folders.read(coco(tmp_path, [GOOD], images=[*images, image]))
    assert [r.id for r in data.records] == ["coco-1", "coco-2"] and len(data.problems) == 1
    assert len(data.problems[0]) < 600


def test_a_file_without_annotations_says_nothing_of_labels(tmp_path):
    data = folders.read(coco(tmp_path, []))
    assert [r.labels for r in data.records] == [None, None]
    with pytest.raises(FolderError, match="labels are not known"):
        labelled(data)


# ---------------------------------------------------------------- names are keys


def yolo(folder, description, labels=("0", "2"), encoding="utf-8"):
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for number, which in enumerate(labels):
        picture(folder / "images" / f"{number}.jpg")
        text = f"{which} .5 .5 .5 .5\n" if which else ""
        (folder / "labels" / f"{number}.txt").write_text(text, encoding=encoding)
    (folder / "data.yaml").write_text(description)
    return folder


def test_duplicate_names_are_refused(tmp_path):
    same = [{"id": 0, "name": "mushroom"}, {"id": 1, "name": "mushroom"}]
    with pytest.raises(FolderError, match="two categories of one name: 'mushroom'"):
        folders.read(coco(tmp_path / "a", [GOOD], categories=same))
    same = [{"id": 1, "name": "cat"}, {"id": 1, "name": "kitten"}]
    with pytest.raises(FolderError, match="two categories of one number: '1'"):
        folders.read(coco(tmp_path / "b", [GOOD], categories=same))
    with pytest.raises(FolderError, match=r"data.yaml: 'cat' come twice"):
        folders.read(yolo(tmp_path / "c", "names: [cat, dog, ' cat']\n"))
    with pytest.raises(FolderError, match=r"'1.jpg' of train under two numbers"):
        images = [{"id": i, "file_name": "1.jpg"} for i in (1, 2)]
        folders.read(coco(tmp_path / "d", [GOOD], images=images))


@pytest.mark.parametrize(
    "names", [("yes", "no", "on"), ("Cat", "cat", "CAT"), ("1", "1.0", "null"), ("~", "é", "0x1")]
)
def test_yaml_holds_words_and_case_counts(names, tmp_path):
    data = folders.read(yolo(tmp_path, f"names: [{', '.join(names)}]\n"))
    assert data.classes == names
    np.testing.assert_array_equal(label_matrix(data), [[True, False, False], [False, False, True]])


# ---------------------------------------------------------------- byte-order marks


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("t.csv", "image,caption\na.jpg,a dog\n"),
        ("T.CSV", "image,caption\na.jpg,a dog\n"),
        ("captions.txt", "image,caption\r\na.jpg,a dog\r\n"),
        ("t.json", '[{"image": "a.jpg", "caption": "a dog"}]'),
        ("t.jsonl", '{"image": "a.jpg", "caption": "a dog"}\n'),
        ("Flickr8k.token.txt", "a.jpg#0\ta dog\r\n"),
        ("annotations/captions_images.json",
         '{"images": [{"id": 1, "file_name": "a.jpg"}],'
         ' "annotations": [{"image_id": 1, "caption": "a dog"}]}'),
    ],
)  # fmt: skip
def test_a_byte_order_mark_is_no_text(file, text, tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(BOM + text.encode())
    (record,) = folders.read(tmp_path).records
    assert record.captions == ("a dog",) and record.id in ("a", "coco-1")


def test_a_byte_order_mark_in_yolos_files(tmp_path):
    data = folders.read(yolo(tmp_path, "\ufeffnames: [cat, dog]\n", ("0", "1"), "utf-8-sig"))
    assert [r.labels for r in data.records] == [("cat",), ("dog",)] and data.problems == ()


# ---------------------------------------------------------------- YOLO's labels


@pytest.mark.parametrize(
    "paths", ["../{}/images", "{}/images", "./{}/images", "/home/me/x/{}/images"]
)
def test_roboflows_layout(paths, tmp_path):
    for split in ("train", "valid"):
        picture(tmp_path / split / "images" / "a.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("1 .5 .5 .5 .5\n")
    where = f"train: {paths.format('train')}\nval: {paths.format('valid')}\n"
    (tmp_path / "data.yaml").write_text(f"{where}nc: 2\nnames: [cat, dog]\n")
    data = folders.read(tmp_path)
    assert [(r.id, r.split, r.labels) for r in data.records] == [
        ("train/a", "train", ("dog",)), ("valid/a", "val", ("dog",)),
    ]  # fmt: skip
    assert data.problems == ()


def test_splits_of_one_folder_of_images(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / "images" / split / "a.jpg")
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 .5 .5 .5 .5\n")
    text = "path: /data\ntrain: images/train\nval: [images/val]\ntest: images/gone\nnames: [cat]\n"
    (tmp_path / "data.yaml").write_text(text)
    data = folders.read(tmp_path)
    assert [(r.id, r.split) for r in data.records] == [("train/a", "train"), ("val/a", "val")]
    assert len(data.problems) == 1 and "test: no folder 'images/gone' is there" in data.problems[0]


def test_labels_in_capitals(tmp_path):
    yolo(tmp_path, "names: [cat]\n", ("0",))
    (tmp_path / "labels").rename(tmp_path / "Labels")
    (tmp_path / "images").rename(tmp_path / "Images")
    assert folders.read(tmp_path).records[0].labels == ("cat",)


def test_labels_that_are_not_there_are_not_known(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    data = folders.read(tmp_path)
    assert data.records[0].labels is None and data.records[0].boxes is None
    with pytest.raises(FolderError, match="no folder of labels for its 1 pictures"):
        labelled(data)


def test_label_files_of_other_pictures_are_named(tmp_path):
    yolo(tmp_path, "names: [cat]\n", ("0",))
    for name in ("x.txt", "classes.txt", "._0.txt"):
        (tmp_path / "labels" / name).write_text("0 .5 .5 .5 .5\n")
    data = folders.read(tmp_path)
    assert data.records[0].labels == ("cat",)
    assert len(data.problems) == 1 and "x.txt: labels of no picture" in data.problems[0]


@pytest.mark.parametrize(
    ("line", "labels"),
    [("0 5 5 2 2", ("cat",)), ("0 .5 .5 .5", ("cat",)), ("0 .5 .5 -.5 .5", ("cat",)),
     ("0 .5 .5 0 .5", ("cat",)), ("0 nan .5 .5 .5", ("cat",)), ("0 .1 .1 .2 .1 .2 .2", ("cat",)),
     ("9 .5 .5 .5 .5", ()), ("-1 .5 .5 .5 .5", ()), ("0.0 .5 .5 .5 .5", ()), ("² 0 0 1 1", ()),
     ("9" * 5000, ()), ("cat .5 .5 .5 .5", ())],
)  # fmt: skip
def test_a_bad_line_of_yolo_costs_itself(line, labels, tmp_path):
    yolo(tmp_path, "names: [cat, dog]\n", ("1", "1"))
    (tmp_path / "labels" / "0.txt").write_text(line + "\n")
    data = folders.read(tmp_path)
    assert data.records[0].labels == labels and data.records[0].boxes == ()
    assert data.records[1].labels == ("dog",) and len(data.records[1].boxes) == 1
    assert len(data.problems) == 1 and "0.txt, line 1: " in data.problems[0]


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.jpg,cat\n", r"columns 'image', 'label'; give image"),
        ("image,captions\na.jpg,a dog\n", r"give image, and any of caption"),
        ("image;caption\na.jpg;a dog\n", r"columns 'image;caption'; give image"),
        ('image,caption\na.jpg,"a dog\nb.jpg,a cat\n', "line 2: not CSV: a quote that does not"),
    ],
)
def test_tables_that_are_refused(text, message, tmp_path):
    picture(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        folders.read(tmp_path)


def test_an_empty_column_of_labels_is_said(tmp_path):
    picture(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text("image,caption,labels\na.jpg,a dog,\n")
    data = folders.read(tmp_path)
    assert data.records[0].labels is None and data.classes is None
    with pytest.raises(FolderError, match=r"labels: .*t.csv names none at all"):
        labelled(data)


# ---------------------------------------------------------------- what is no picture, no file


LAYOUTS = {
    "alone": lambda folder: picture(folder / "a.jpg"),
    "table": lambda folder: (
        picture(folder / "a.jpg"), (folder / "t.csv").write_text("image,caption\na.jpg,a dog\n")
    ),
    "objects": lambda folder: (
        picture(folder / "a.jpg"), (folder / "t.json").write_text('[{"image": "a.jpg"}]')
    ),
    "yolo": lambda folder: yolo(folder, "names: [cat]\n", ("0",)),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_files_are_none_of_the_set(layout, tmp_path):
    LAYOUTS[layout](tmp_path)
    wanted = folders.read(tmp_path)
    places = [tmp_path, tmp_path / "images", tmp_path / "labels", tmp_path / ".ipynb_checkpoints"]
    for place in places:
        for name in ("._a.jpg", "._0.txt", "._t.csv", ".DS_Store", "Thumbs.db"):
            if place.is_dir() or place.name.startswith("."):
                place.mkdir(exist_ok=True)
                (place / name).write_bytes(b"\0\5\x16\7")
    picture(tmp_path / ".ipynb_checkpoints" / "a.jpg")
    assert folders.read(tmp_path) == wanted and wanted.problems == ()


@pytest.mark.parametrize(
    "file",
    ["captions.txt", "t.csv", "t.json", "t.jsonl", "data.yaml", "Flickr8k.token.txt",
     "annotations/captions_images.json"],
)  # fmt: skip
def test_a_pipe_where_a_file_is_expected(file, tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / file)
    with pytest.raises(InputError, match="a named pipe, where a file is expected"):
        folders.read(tmp_path)


def test_pipes_among_pictures_and_labels(tmp_path):
    yolo(tmp_path, "names: [cat]\n", ("0", "0"))
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "labels" / "1.txt").unlink()
    os.mkfifo(tmp_path / "labels" / "1.txt")
    data = folders.read(tmp_path)
    assert [(r.id, r.labels) for r in data.records] == [("0", ("cat",)), ("1", None)]
    assert any("pipe.jpg: no file" in line for line in data.problems)
    assert any("1.txt: a named pipe" in line for line in data.problems)


def test_a_file_name_that_is_not_utf_8(tmp_path):
    picture(tmp_path / "a.jpg")
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    data = folders.read(tmp_path)
    assert [r.id for r in data.records] == ["a"]
    assert "caf\\udce9.jpg: its name is not UTF-8" in data.problems[0]


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b"])
def test_names_that_are_no_data(name, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(InputError) as caught:
        open_data(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_where_a_folder_is_expected(tmp_path):
    (tmp_path / "x").touch()
    for read in (lambda path: open_data(str(path)), folders.read):
        with pytest.raises(FolderError, match="a file, where a folder is expected"):
            read(tmp_path / "x")


def test_links_that_lead_back(tmp_path):
    picture(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    (tmp_path / "set").symlink_to(tmp_path / "in")
    assert [r.id for r in folders.read(tmp_path / "set").records] == ["a"]


# ---------------------------------------------------------------- time, and what is said


def test_many_names_take_linear_time(tmp_path):
    names = [f"name {number:05}" for number in range(10_000)]
    entries = [{"image": "a.jpg", "labels": names, "tags": names}]
    entries += [{"image": "a.jpg", "labels": [name]} for name in names]
    for number, entry in enumerate(entries):
        entry["image"] = f"{number}.jpg"
    (tmp_path / "t.json").write_text(json.dumps(entries))
    for number in (0, 7):
        picture(tmp_path / f"{number}.jpg")
    start = time.process_time()
    data = folders.read(tmp_path)
    assert time.process_time() - start < 5
    assert [record.labels for record in data.records] == [tuple(names), ("name 00006",)]


def test_three_thousand_problems_are_five_lines_and_a_count(tmp_path):
    picture(tmp_path / "a.jpg")
    lines = "".join(f"{number}.jpg,x\n" for number in range(3000))
    (tmp_path / "t.csv").write_text(f"image,caption\na.jpg,a dog\n{lines}")
    said = left_out(folders.read(tmp_path).problems)
    assert len(said) == 6 and said[-1] == "left out: 2,995 more, 3,000 in all"
    assert said[0].endswith("0.jpg: no such picture")


def test_pictures_that_are_elsewhere_end_the_reading(tmp_path, monkeypatch):
    """One after the other is named; of very many the file is not what it is taken for."""
    monkeypatch.setattr(layout, "MOST_LEFT_OUT", 3)
    lines = [f"{number}.jpg,a dog" for number in range(9)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    with pytest.raises(FolderError, match=r"3\.jpg: no such picture; more than 3 pictures are not"):
        open_data([str(tmp_path)])


def test_names_from_files_do_not_steer_the_terminal(tmp_path):
    picture(tmp_path / "a.jpg")
    entries = [{"image": "a.jpg"}, {"image": "\x1b[2J\nerror: forged.jpg"}, {"\x1b[2J": 1}]
    (tmp_path / "t.json").write_text(json.dumps(entries))
    data = folders.read(tmp_path)
    assert len(data.problems) == 2 and all(line.isprintable() for line in data.problems)


def test_commands_say_what_was_left_out(tmp_path):
    from helpers.commands import call

    picture(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "captions.txt").write_text("image,caption\na.jpg,a dog\nb.jpg,x\n")
    code, _, err = call(
        "poison", "--data", tmp_path / "in", "--trigger", "badnets", "--rate", 1,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0 and "left out" in err and "b.jpg: no such picture" in err
    code, _, err = call("data", "show", tmp_path / "in")
    assert code == 0 and "b.jpg: no such picture" in err
