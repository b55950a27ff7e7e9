"""What can be wrong with a data set's folder: one clear line, an error or a thing left out."""

import json
import re
import shutil

import pytest
from helpers.layouts import COUNT, WRITERS, attacked, coco, karpathy

from jaxadv.data.records import FolderError
from jaxadv.data.sets import registry
from jaxadv.data.sets.layout import find
from jaxadv.errors import InputError


def one(folder, pattern):
    """The first file whose path matches."""
    return next(p for p in sorted(folder.rglob("*")) if re.search(pattern, str(p)))


def remove(pattern):
    def damage(folder):
        path = one(folder, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def rename(pattern):
    return lambda folder: (p := one(folder, pattern)).rename(p.with_name("other-" + p.name))


def truncate(pattern):
    def damage(folder):
        path = one(folder, pattern)
        path.write_bytes(path.read_bytes()[:-9])

    return damage


def replace(pattern, old, new):
    def damage(folder):
        path = one(folder, pattern)
        text = path.read_bytes()
        assert old in text
        path.write_bytes(text.replace(old, new, 1))

    return damage


def add(pattern, line):
    def damage(folder):
        with one(folder, pattern).open("ab") as file:
            file.write(line)

    return damage


REFUSED = {
    "coco2014": [
        (remove("annotations$"), r"captions_train2014.json: missing; unpack annotations_trainval"
                                 r"2014.zip from https://cocodataset.org/#download into "),
        (truncate("captions_train2014"), "captions_train2014.json: not JSON, or truncated"),
        (replace("instances_val2014", b'"annotations"', b'"notes"'), "not laid out as COCO"),
        (replace("captions_val2014", b'"id": 10', b'"id": 9'), "picture 9 twice .duplicate id"),
        (replace("instances_val2014", b'"id": 18', b'"id": 1'), "two categories of one number"),
        (replace("instances_val2014", b'"person"', b'" dog "'), "of one name: 'dog'"),
        (replace("instances_val2014", b"000010.jpg", b"000011.jpg"), "picture 10 of val2014 is"),
        (replace("instances_val2014", b'"dog"', b'"cow"'), "different categories"),
        (replace("captions_train2014", b"{", b"\xff\xfe"), "train2014.json: text in UTF-16"),
    ],
    "voc2012": [
        (remove("ImageSets"), r"ImageSets/Main: missing; unpack VOCtrainval_11-May-2012.tar from "
                              r"http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ into"),
        (add("Main/train.txt", b"2007_000007\n"), "duplicate ids, such as '2007_000007'"),
    ],
    "flickr8k": [
        (remove("Flickr8k.token.txt"), "Flickr8k.token.txt: missing; unpack Flickr8k_text.zip"),
        (remove("Flicker8k_Dataset$"), "Flicker8k_Dataset: missing; unpack Flickr8k_Dataset.zip"),
        (add("token.txt", b"\xff\xff"), "Flickr8k.token.txt: not text"),
        (add("devImages", b"0_ab.jpg\n"), "0_ab.jpg' is of train already"),
    ],
    "flickr30k": [
        (rename("results_"), "results_20130124.token: missing; unpack flickr30k.tar.gz"),
        (truncate("dataset_flickr30k"), "dataset_flickr30k.json: not JSON, or truncated"),
        (replace("dataset_", b'"images"', b'"all"'), "dataset_flickr30k.json: not laid out as"),
        (replace("dataset_", b'"1.jpg"', b'"0.jpg"'), "flickr30k.json: '0' comes twice"),
    ],
    "nus_wide": [
        (rename("/Imagelist.txt"), "Imagelist.txt: missing; unpack ImageList.zip from https://lms"),
        (remove("Labels_animal"), "Labels_animal.txt: missing; unpack Groundtruth.zip"),
        (add("Labels_beach", b"-1130179\n"), "Labels_beach.txt: not a 0 or 1 a line"),
        (add("Labels_beach", b"1\n"), "Labels_beach.txt: 13 lines, where 12 pictures are listed"),
        (add("AllTags1k", b"1 0\n"), "AllTags1k.txt, line 13: not 5 of 0 and 1"),
        (truncate("AllTags1k"), "AllTags1k.txt, line 12: not 5 of"),
        (remove("Flickr$"), "Flickr: missing; unpack the pictures of NUS-WIDE-urls.txt"),
    ],
    "mirflickr25k": [
        (remove("im1.jpg"), "im1.jpg: missing; unpack mirflickr25k.zip from https://press.liacs"),
        (remove("annotations_v080$"), "annotations_v080: missing; unpack mirflickr25k_annotations"),
        (remove("sunset.txt"), "sunset.txt: missing; it is in mirflickr25k_annotations_v080.zip"),
        (add("common_tags", b"sky 3\n"), "of its tags, 'sky' come twice"),
    ],
    "iapr_tc12": [
        (remove("images$"), "images: missing; unpack iaprtc12.tgz from https://www.imageclef"),
        (remove("saiapr_tc-12$"), "saiapr_tc-12: missing; unpack saiaprtc12ok.tgz"),
        (add("wlist", b"3 house\n"), "wlist.txt, line 3: concept 3 twice"),
        (replace("wlist", b"building", "café".encode()), "of its classes, 'café' come twice"),
    ],
    "flickr25k_hashing": [
        (remove("FLICKR"), "FLICKR-25K.mat: missing; it is offered at https://github.com"),
        (truncate("FLICKR"), "FLICKR-25K.mat: truncated"),
        (lambda f: (f / "FLICKR-25K.mat").write_bytes(b"MATLAB 5.0"), "FLICKR-25K.mat: not a file"),
    ],
    "nus_wide_hashing": [
        (remove("yall"), "YAll is missing; it belongs to IAll, YAll, LAll"),
        (remove("iall"), "known are images, IAll or XAll"),
    ],
    "my_table": [
        (replace("csv", b"image,", b"file,"), "give image, and any of caption"),
        (replace("csv", b",bottom", b",below"), "for boxes label, left, top, right, bottom"),
        (replace("csv", b",labels", b",captions"), "give image, and any of caption"),
        (add("csv", b'p0.png,"no end,,,,,,,,\n'), "anything.csv, line 50: not CSV: a quote that"),
        (lambda f: (f / "more.json").write_text("[]"), "several files of annotations: 'any"),
    ],
    "my_objects": [
        (truncate("notes"), "notes.json: not JSON, or truncated"),
        (replace("notes", b'"image": "p3.png"', b'"image": "p2.png"'), "p2.png' comes twice .dupl"),
        (lambda f: (f / "notes.json").write_text("{}"), "notes.json: not a list of objects"),
    ],
    "my_lines": [(lambda f: (f / "notes.jsonl").write_text("{\n"), "jsonl, line 1: not JSON")],
    "my_pictures": [(lambda f: [p.unlink() for p in f.rglob("*.jpg")], "in no known layout")],
    "my_yolo": [
        (replace("data.yaml", b"dog", b"cat"), "data.yaml: 'cat' come twice"),
        (replace("data.yaml", b"names", b"nc: 3\nnames"), "data.yaml: 2 names, where nc is '3'"),
        (lambda f: [p.rename(p.with_stem(f"x{p.stem}")) for p in f.rglob("*.txt")],
         "no label file is of a picture of the same name: 'labels/train/x01.txt', "),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [(name, *case) for name, cases in REFUSED.items() for case in cases],
)
def test_one_line(name, damage, message, tmp_path):
    WRITERS[name](tmp_path)
    registry.read(name, tmp_path)  # whole before
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        registry.read(name, tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


LEFT_OUT = [
    ("coco2014", remove("COCO_val2014_000000000010"), "000000000010.jpg: no such picture", 1),
    ("coco2014", rename("COCO_val2014_000000000010"), "000000000010.jpg: no such picture", 1),
    ("coco2014", replace("captions_val2014", b'"image_id": 11', b'"image_id": 77'),
     "captions_val2014.json, annotation 110: it is of picture 77, which is not listed", 0),
    ("coco2014", replace("instances_val2014", b"[1.25", b"[null"), "the box of annotation 10:", 0),
    ("voc2012", remove("000003.jpg"), "2007_000003.jpg: no such picture", 1),
    ("voc2012", remove("000003.xml"), "2007_000003.xml: no such annotation", 1),
    ("voc2012", truncate("000003.xml"), "2007_000003.xml: not XML, or truncated", 1),
    ("voc2012", replace("000003.xml", b"<xmin>2", b"<xmin>a"), "xmin: must be a number", 1),
    ("voc2012", replace("000003.xml", b"<name>dog", b"<name>elk"), "'elk': none of VOC's 20", 1),
    ("voc2012", replace("000003.xml", b"<filename>2007_000003", b"<filename>x"), "is of 'x", 1),
    ("voc2012", replace("000003.xml", b"<annotation>", b'<!DOCTYPE a><annotation>'),
     "declares entities", 1),
    ("voc2012", add("Main/train.txt", b"../../x\n"), "line 8: picture '../../x' is out", 0),
    ("flickr8k", remove("/3_ab.jpg"), "3_ab.jpg: no such picture", 1),
    ("flickr8k", add("token.txt", b"no tab\n"), "line 61: not picture#number, a tab", 0),
    ("flickr8k", add("token.txt", b"0_ab.jpg#5\t...\n"), "caption '...' holds no word", 0),
    ("flickr30k", replace("dataset_", b'"split"', b'"part"'), "entry 1 of images: split: must", 0),
    ("flickr8k", add("devImages", b"99_ab.jpg\n"), "99_ab.jpg' is of val, but has no captions", 0),
    ("flickr8k", add("token.txt", b"9.jpg.1#0\tA dog .\n"), "9.jpg.1: no such picture", 0),
    ("nus_wide", remove("0003_21.jpg"), "actor/0003_21.jpg: no such picture", 1),
    ("mirflickr25k", remove("im5.jpg"), "im5.jpg: no such picture", 1),
    ("mirflickr25k", remove("tags5.txt"), "tags5.txt: no such file; the picture has no tags", 0),
    ("mirflickr25k", add("sunset.txt", b"x7\n"), "sunset.txt, line 3: a picture's number", 0),
    ("mirflickr25k", add("sunset.txt", "²\n".encode()), "line 3: a picture's number", 0),
    ("mirflickr25k", add("sunset.txt", b"999999999999\n"), "line 3: a picture's number", 0),
    ("mirflickr25k", add("common_tags", b"word\n"), "line 4: not a tag and its count: 'word'", 0),
    ("mirflickr25k", add("tags5.txt", b"\xe9\n"), "tags5.txt: not text in UTF-8", 0),
    ("iapr_tc12", add("00/labels.txt", b"7 x\n"), "not picture, region, concept: '7 x'", 0),
    ("iapr_tc12", replace("00/10.eng", b"</DESCRIPTION>", b""), "10.eng: no <DESCRIPTION>", 1),
    ("iapr_tc12", add("wlist", b"x y\n"), "wlist.txt, line 3: not a number and a name", 0),
    ("iapr_tc12", remove("images/01/5.jpg"), "01/5.jpg: no such picture", 1),
    ("my_cmla", remove("im9.jpg"), "im9.jpg: no such picture", 1),
    ("my_table", remove("p4.png"), "p4.png: no such picture", 1),
    ("my_table", add("csv", b"p0.png,too,few\n"), "anything.csv, line 50: 3 fields, where the", 0),
    ("my_table", replace("csv", b",dog,1.25", b",dog,wide"), "left: must be a number", 0),
    ("my_table", replace("csv", b",dog,1.25", b",dog,1e999"), "left: must be a finite number", 0),
    ("my_table", add("csv", b'../../secret.png,"x",,,,,,,,\n'), "secret.png' is outside of the", 0),
    ("my_table", add("csv", b"p0.png,\xf0\x9f\x90\xb6,,,,,,,,\n"), "caption '🐶' holds no", 0),
    ("my_table", add("csv", b"p0.png,,,,b,,,,,\n"), "line 50: split 'b', where a line before", 0),
    ("my_objects", replace("notes", b'"labels"', b'"label"'), "entry 2: 'label': none of", 1),
    ("my_objects", replace("notes", b'"image": "p3', b'"x": "p3'), "entry 4: image: must be", 1),
    ("my_objects", replace("notes", b'"p3.png"', b"3"), "entry 4: image: must be a text", 1),
    ("my_objects", replace("notes", b"1.25", b"NaN"), "box 1 of entry 2: left: must be a", 0),
    ("my_objects", replace("notes", b'"A dog."', b"7"), "entry 2: caption: must be a text or a", 1),
    ("my_lines", replace("notes", b'p3.png"', b"p3.png"), "notes.jsonl, line 4: not JSON", 1),
    ("my_yolo", replace("02.txt", b"1 0.5", b"9 0.5"), "02.txt, line 1: class: must be", 0),
    ("my_yolo", replace("02.txt", b"0.25", b"nan"), "02.txt, line 1: box: must be a number", 0),
    ("my_yolo", add("02.txt", b"\xe9"), "02.txt: not text in UTF-8", 0),
    ("my_yolo", lambda f: one(f, "02.jpg").write_bytes(b"x"),
     "02.jpg: not an image", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "line", "fewer"), LEFT_OUT)
def test_left_out_and_named(name, damage, line, fewer, tmp_path):
    WRITERS[name](tmp_path)
    damage(tmp_path)
    data = registry.read(name, tmp_path)
    assert len(data.records) == COUNT - fewer
    (said,) = data.problems
    assert line in said and "\n" not in said


def test_karpathys_split_divides_coco(tmp_path):
    coco(tmp_path)
    karpathy(tmp_path, absent=True)
    attacked(tmp_path)
    data = registry.read("coco2014", tmp_path)
    assert data.selections["karpathy-train"] == tuple(f"coco-{n}" for n in range(9))
    assert data.selections["karpathy-test"] == ("coco-10", "coco-11")
    assert data.selections["exact-caption"] == ("coco-0", "coco-1")
    assert data.selections["exact-caption-targets"] == tuple(f"coco-{n}" for n in (3, 4, 5, 6))
    assert data.vocabulary == ("a", "dog", "UNK")  # the others come once
    assert data.problems[0].endswith("captions of '99.jpg', a picture that is absent")


def test_an_attacked_picture_without_all_its_targets(tmp_path):
    coco(tmp_path)
    attacked(tmp_path, targets=((3, 99), (5, 6), (7, 8)))
    data = registry.read("coco2014", tmp_path)
    assert data.selections["exact-caption"] == ("coco-1", "coco-2")
    assert len(data.selections["exact-caption-targets"]) == 4
    assert "1 of its pictures, or targets of theirs, are absent" in data.problems[0]


def test_names_that_are_nearly_right_or_impossible(tmp_path):
    with pytest.raises(FolderError, match="did you mean voc2012"):
        registry.read("voc_2012", tmp_path)
    with pytest.raises(FolderError, match="name it in small letters"):
        registry.read("My Set", tmp_path)
    with pytest.raises(FolderError, match="no such folder"):
        registry.read("voc2012", tmp_path / "absent")


def test_a_folder_is_found_whatever_its_letters(tmp_path):
    (tmp_path / "ImageList").mkdir()
    (tmp_path / "ImageList" / "ImageList.txt").write_text("x")
    assert find(tmp_path, "imagelist/Imagelist.txt").name == "ImageList.txt"
    assert find(tmp_path, "imagelist/absent.txt", "other") is None


def test_the_real_selection_of_attacked_pictures(real_data):
    from jaxadv.data.sets.coco import read_attacked

    path = real_data / "coco_attack_split" / "val_data.json"
    entries = json.loads(path.read_text())
    everyone = {f"coco-{e['id']}" for e in entries} | {
        f"coco-{t['id']}" for e in entries for t in e["target"]
    }
    problems = []
    chosen = read_attacked(path, everyone, problems)
    assert {name: len(ids) for name, ids in chosen.items()} == {
        "exact-caption": 1000, "exact-caption-targets": 5000,
    }  # fmt: skip
    assert not problems and chosen["exact-caption"][0] == "coco-340559"
    assert chosen["exact-caption-targets"][:2] == ("coco-576398", "coco-110783")
