"""Data sets of a dozen pictures in the layouts of their owners, and the records they hold.

Each writer puts one into a folder and gives what a reader must find there, in the reader's order.
"""

import json

import h5py
import numpy as np
import scipy.io
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.records import Record
from jaxadv.data.sets import iapr_tc12, mirflickr

COUNT = 12
WIDTH, HEIGHT = 20, 16


def pixels(number):
    """A picture of its own for every number."""
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path, quality=90)
    return path


def turned(path, orientation=6):
    """A picture that its EXIF tag turns, WIDTH x HEIGHT as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels(0)).save(path, exif=exif)
    return path


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def ordered(records):
    return sorted(records, key=lambda r: r.id)


def said(number):
    return tuple(f"A dog number {number}, said {k} times." for k in range(5))


def box(number, label="dog"):
    return Box(label, 1.25, 2.0, 5.5 + number / 4, 9.75)


# ---------------------------------------------------------------- COCO


def coco(folder, year=2014):
    """Pictures 0 to 8 train, 9 to 11 validation; even ones show dogs, every third a crowd."""
    records = []
    for part, numbers in (("train", range(9)), ("val", range(9, COUNT))):
        images, captions, instances = [], [], []
        for n in numbers:
            file = f"COCO_{part}2014_{n:012d}.jpg" if year == 2014 else f"{n:012d}.jpg"
            path = picture(folder / f"{part}{year}" / file, n)
            images.append({"id": n, "file_name": file, "width": WIDTH, "height": HEIGHT})
            captions += [{"image_id": n, "id": 10 * n + k, "caption": c}
                         for k, c in enumerate(said(n))]  # fmt: skip
            labels, boxes = [], []
            if n % 2 == 0:
                x, y, right, bottom = box(n)[1:]
                place = {"bbox": [x, y, right - x, bottom - y], "iscrowd": 0}
                instances.append({"image_id": n, "category_id": 18, "id": n, **place})
                labels.append("dog")
                boxes.append(box(n))
            if n % 3 == 0:
                crowd = {"bbox": [0, 0, 3, 3], "iscrowd": 1}
                instances.append({"image_id": n, "category_id": 1, "id": 100 + n, **crowd})
                labels.insert(0, "person")
            records.append(
                Record(f"coco-{n}", path, said(n), tuple(labels), None, tuple(boxes), part)
            )
        categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
        notes = folder / "annotations"
        write(notes / f"captions_{part}{year}.json",
              json.dumps({"images": images, "annotations": captions}))  # fmt: skip
        write(notes / f"instances_{part}{year}.json",
              json.dumps({"images": images, "annotations": instances,
                          "categories": categories}))  # fmt: skip
    return ordered(records)


def karpathy(folder, name="coco", absent=False):
    """Karpathy's file: 0 to 6 train, 7 and 8 restval, 9 validation, 10 and 11 test."""
    parts = ["train"] * 7 + ["restval"] * 2 + ["val"] + ["test"] * 2
    images = [
        {
            "cocoid": n, "filename": f"{n}.jpg", "split": part,
            "sentences": [{"tokens": ["a", "dog", f"number{n}"]}],
        }
        for n, part in enumerate(parts)
    ]  # fmt: skip
    if absent:
        images.append({**images[0], "cocoid": 99, "filename": "99.jpg"})
    write(folder / f"dataset_{name}.json", json.dumps({"images": images, "dataset": name}))


def attacked(folder, targets=((3, 4), (5, 6))):
    entries = [
        {"id": n, "file_path": "x", "target": [{"id": t, "file_path": "x"} for t in aims]}
        for n, aims in enumerate(targets)
    ]
    write(folder / "val_data.json", json.dumps(entries))


# ---------------------------------------------------------------- VOC


def pascal(folder, year=2012):
    """Pictures 0 to 6 train, 7 to 11 validation; every third has a difficult cat beside its dog."""
    root = folder / "VOCdevkit" / f"VOC{year}"
    records = []
    for part, numbers in (("train", range(7)), ("val", range(7, COUNT))):
        names = []
        for n in numbers:
            name = f"2007_{n:06d}"
            names.append(name)
            path = picture(root / "JPEGImages" / f"{name}.jpg", n)
            things = [("dog", 0, (2, 3, 5 + n, 9))] + [("cat", 1, (1, 1, 4, 4))] * (n % 3 == 0)
            objects = "".join(
                f"<object><name>{label}</name><difficult>{hard}</difficult><part><name>head</name>"
                f"<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
                f"<bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
                "</bndbox></object>"
                for label, hard, (x, y, right, bottom) in things
            )
            write(root / "Annotations" / f"{name}.xml",
                  f"<annotation><filename>{name}.jpg</filename>{objects}</annotation>")  # fmt: skip
            boxes = tuple(Box(label, x - 1, y - 1, r, b) for label, _, (x, y, r, b) in things)
            records.append(Record(name, path, labels=("dog",), boxes=boxes, split=part))
        write(root / "ImageSets" / "Main" / f"{part}.txt", "\n".join(names) + "\n")
    return ordered(records)


# ---------------------------------------------------------------- Flickr8k and Flickr30k


def flickr8k(folder):
    parts = {"train": range(8), "val": range(8, 10), "test": range(10, COUNT)}
    lines, records = [], []
    stems = {"train": "trainImages", "val": "devImages", "test": "testImages"}
    for part, numbers in parts.items():
        files = []
        for n in numbers:
            path = picture(folder / "Flicker8k_Dataset" / f"{n}_ab.jpg", n)
            files.append(path.name)
            lines += [f"{path.name}#{k}\t{c}" for k, c in enumerate(said(n))]
            records.append(Record(path.stem, path, said(n), split=part))
        write(folder / f"Flickr_8k.{stems[part]}.txt", "\n".join(files) + "\n")
    write(folder / "Flickr8k.token.txt", "\n".join(lines) + "\n")
    return ordered(records)


def flickr30k(folder):
    lines, records = [], []
    for n in range(COUNT):
        path = picture(folder / "flickr30k-images" / f"{n}.jpg", n)
        lines += [f"{path.name}#{k}\t{c}" for k, c in enumerate(said(n))]
        records.append(Record(path.stem, path, said(n)))
    write(folder / "results_20130124.token", "\n".join(lines) + "\n")
    karpathy(folder, "flickr30k")
    return ordered(records)


# ---------------------------------------------------------------- NUS-WIDE, MIRFlickr, IAPR TC-12


def nus_wide(folder):
    """Three concepts, five tags; picture 0 has no label, picture 1 no tag."""
    concepts, words = ("airport", "animal", "beach"), ("sky", "red", "sea", "dog", "cat")
    truth = (
        np.array([[n > 0, n % 2, n % 3 == 1] for n in range(COUNT)])
        & (np.arange(COUNT) > 0)[:, None]
    )
    tags = np.array([[n != 1 and (n + t) % 3 == 0 for t in range(5)] for n in range(COUNT)])
    names = [f"{'actor' if n < 6 else 'dog'}\\{n:04d}_{n * 7}.jpg" for n in range(COUNT)]
    lists = folder / "ImageList"
    write(lists / "Imagelist.txt", "\r\n".join(names) + "\r\n")
    write(lists / "TrainImagelist.txt", "\r\n".join(names[:8]) + "\r\n")
    write(lists / "TestImagelist.txt", "\r\n".join(names[8:]) + "\r\n")
    write(folder / "ConceptsList" / "Concepts81.txt", "\n".join(concepts) + "\n")
    write(folder / "NUS_WID_Tags" / "TagList1k.txt", "\n".join(words) + "\n")
    rows = "\n".join("\t".join(str(int(v)) for v in row) + " " for row in tags)
    write(folder / "NUS_WID_Tags" / "AllTags1k.txt", rows + "\n")
    for c, concept in enumerate(concepts):
        values = "\n".join(str(int(v)) for v in truth[:, c])
        write(folder / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt", values + "\n")
    records = []
    for n, name in enumerate(names):
        path = picture(folder / "Flickr" / name.replace("\\", "/"), n)
        records.append(
            Record(
                name.replace("\\", "/").removesuffix(".jpg"),
                path,
                labels=tuple(c for c, there in zip(concepts, truth[n], strict=True) if there),
                tags=tuple(w for w, there in zip(words, tags[n], strict=True) if there),
                split="train" if n < 8 else "test",
            )
        )
    return ordered(records)


def mirflickr25k(folder):
    """Pictures 1 to 12; picture 1 has no label, picture 2 no common tag."""
    words = ("explore", "sky", "nikon")
    root = folder / "mirflickr"
    write(root / "doc" / "common_tags.txt", "".join(f"{w} {40 - i}\n" for i, w in enumerate(words)))
    numbers = {name: [] for name in mirflickr.CLASSES}
    records = []
    for n in range(1, COUNT + 1):
        path = picture(root / f"im{n}.jpg", n)
        mine = [w for i, w in enumerate(words) if n != 2 and (n + i) % 2]
        write(root / "meta" / "tags" / f"tags{n}.txt", "\r\n".join(["zebra", *mine[::-1]]) + "\r\n")
        labels = tuple(c for i, c in enumerate(mirflickr.CLASSES) if n > 1 and (i + n) % 6 == 0)
        for label in labels:
            numbers[label].append(n)
        records.append(Record(f"im{n:05d}", path, labels=labels, tags=tuple(mine)))
    for name, listed in numbers.items():
        write(folder / mirflickr.ANNOTATIONS / f"{name}.txt", "".join(f"{n}\n" for n in listed))
    write(folder / mirflickr.ANNOTATIONS / "baby_r1.txt", "3\n")
    write(folder / mirflickr.ANNOTATIONS / "README.txt", "potential labels, relevant labels\n")
    return ordered(records)


def iapr(folder):
    """Descriptions in Windows' alphabet; concepts 3, 17 and 250, two of which have names."""
    concepts = {0: 3, 1: 17, 2: 250}
    names = {3: "building", 17: "café", 250: "250"}
    root, segmented = folder / "iaprtc12", folder / "saiapr_tc-12"
    rows, records = {"00": [], "01": []}, []
    for n in range(COUNT):
        group = f"{n % 2:02d}"
        path = picture(root / "images" / group / f"{n}.jpg", n)
        text = f"a yellow building with a flag; in the café of Río {n}"
        write(
            root / "annotations_complete_eng" / group / f"{n}.eng",
            f"<DOC>\n<DOCNO>annotations/{group}/{n}.eng</DOCNO>\n<TITLE>T</TITLE>\n"
            f"<DESCRIPTION>{text}</DESCRIPTION>\n<NOTES></NOTES>\n</DOC>\n",
            "cp1252",
        )
        mine = sorted({concepts[n % 3], concepts[n % 2]})
        rows[group] += [f"{n} {region} {c}" for region, c in enumerate(mine, 1)]
        tags = tuple(sorted(w for w in ("yellow", "building", "flag", "caf", "r", "o")))
        records.append(Record(f"{group}/{n}", path, (text,), tuple(names[c] for c in mine), tags))
    for group, lines in rows.items():
        write(segmented / group / "labels.txt", "\n".join(lines) + "\n")
    write(segmented / "wlist.txt", "3\tbuilding\n17 café\n")
    assert iapr_tc12.LEAST <= COUNT
    return ordered(records)


# ---------------------------------------------------------------- the hashing community's


def tables():
    rng = np.random.default_rng(5)
    labels = (rng.random((COUNT, 4)) < 0.5).astype(np.uint8)
    tags = (rng.random((COUNT, 6)) < 0.5).astype(np.float64)
    return tags, labels


def hashed(pictures, tags, labels, split="data", start=0):
    return [
        Record(
            f"{split}-{n:02d}",
            pictures[n],
            labels=tuple(str(i) for i in np.flatnonzero(labels[n])),
            tags=tuple(str(i) for i in np.flatnonzero(tags[n])),
            split=split,
        )
        for n in range(start, len(pictures))
    ]


def flickr25k_hashing(folder):
    """`FLICKR-25K.mat`, which is HDF5: pictures [n, 3, width, height]."""
    tags, labels = tables()
    pictures = np.stack([pixels(n) for n in range(COUNT)])
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "FLICKR-25K.mat", "w") as file:
        file["images"] = pictures.transpose(0, 3, 2, 1)
        file["YAll"], file["LAll"] = tags.T, labels.T
    return hashed(pictures, tags, labels)


def nus_wide_hashing(folder):
    """Three files, of which one is HDF5."""
    tags, labels = tables()
    pictures = np.stack([pixels(n) for n in range(COUNT)])
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "nus-wide-tc21-iall.mat", "w") as file:
        file["IAll"] = pictures.transpose(0, 3, 2, 1)
    scipy.io.savemat(folder / "nus-wide-tc21-yall.mat", {"YAll": tags})
    scipy.io.savemat(folder / "nus-wide-tc21-lall.mat", {"LAll": labels}, do_compression=True)
    return hashed(pictures, tags, labels)


def iapr_tc12_hashing(folder):
    """Features in two halves."""
    tags, labels = tables()
    features = np.random.default_rng(6).random((COUNT, 7)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        folder / "IAPR-TC12.mat",
        {"VDatabase": features[:8], "YDatabase": tags[:8], "databaseL": labels[:8],
         "VTest": features[8:], "YTest": tags[8:], "testL": labels[8:]},
    )  # fmt: skip
    return [
        Record(
            f"{split}-{n:01d}", record.picture, labels=record.labels, tags=record.tags, split=split
        )
        for split, start, stop in (("database", 0, 8), ("query", 8, COUNT))
        for n, record in enumerate(hashed(features, tags, labels)[start:stop])
    ]


def wikipedia(folder):
    """Features, topics, and one label each."""
    rng = np.random.default_rng(7)
    features, topics = rng.random((COUNT, 7)), rng.random((COUNT, 3))
    label = np.arange(COUNT) % 4 + 1
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        folder / "wikiData.mat",
        {"I_tr": features[:9], "T_tr": topics[:9], "L_tr": label[:9, None].astype(np.uint8),
         "I_te": features[9:], "T_te": topics[9:], "L_te": label[9:, None].astype(np.uint8)},
    )  # fmt: skip
    records = [
        Record(f"{split}-{n}", features[start + n].astype(np.float32),
               labels=(str(label[start + n] - 1),),
               tags=topics[start + n].astype(np.float32), split=split)
        for split, start, count in (("train", 0, 9), ("test", 9, 3)) for n in range(count)
    ]  # fmt: skip
    return ordered(records)


def cmla(folder):
    """CMLA's three `.h5` files; the pictures are where another machine had them."""
    tags, labels = tables()
    parts = {"Query": range(3), "Train": range(3, 8), "DataBase": range(8, COUNT)}
    records = []
    folder.mkdir(parents=True, exist_ok=True)
    with (
        h5py.File(folder / "Img.h5", "w") as images,
        h5py.File(folder / "Tag.h5", "w") as texts,
        h5py.File(folder / "Lab.h5", "w") as truth,
    ):
        for part, numbers in parts.items():
            numbers = list(numbers)
            images[f"Img{part}"] = [f"/home/author/data/Flickr/im{n}.jpg".encode() for n in numbers]
            texts[f"Tag{part}"], truth[f"Lab{part}"] = tags[numbers], labels[numbers]
            paths = [picture(folder / "images" / f"im{n}.jpg", n) for n in numbers]
            for row, (n, path) in enumerate(zip(numbers, paths, strict=True)):
                mine = hashed([path] * COUNT, tags, labels)[n]
                split = part.lower()
                records.append(mine._replace(id=f"{split}-{row}", split=split))
    return ordered(records)


# ---------------------------------------------------------------- any folder


def table(folder):
    """A CSV of captions, labels, tags and boxes; what a column leaves empty is known to be none."""
    lines = ["image,caption,labels,tags,split,label,left,top,right,bottom"]
    records = []
    for n in range(COUNT):
        path = picture(folder / "images" / f"p{n}.png", n)
        shown = ("cat", "dog")[: n % 3]
        boxes = tuple(box(n, label) for label in shown)
        rows = [f'p{n}.png,"Hello, {k}",,,,,,,,' for k in range(2)]
        rows.append(f"p{n}.png,,{';'.join(shown)},red; blue,{'b' if n % 2 else 'a'},,,,,")
        rows += [f"p{n}.png,,,,,{b.label},{b.left},{b.top},{b.right},{b.bottom}" for b in boxes]
        lines += rows
        records.append(
            Record(f"p{n}", path, ("Hello, 0", "Hello, 1"), shown, ("blue", "red"), boxes,
                   "b" if n % 2 else "a")
        )  # fmt: skip
    write(folder / "anything.csv", "\n".join(lines) + "\n")
    return ordered(records)


def objects(folder, lines=False):
    """A list of objects, each with some of what can be known."""
    entries, records = [], []
    for n in range(COUNT):
        path = picture(folder / f"p{n}.png", n)
        entry, record = {"image": path.name}, Record(f"p{n}", path)
        if n % 2:
            entry |= {"caption": "A dog."}
            record = record._replace(captions=("A dog.",))
        if n % 3:
            entry |= {"labels": ["dog"][: n % 3 - 1], "tags": []}
            record = record._replace(labels=("dog",)[: n % 3 - 1], tags=())
        if n % 4:
            entry |= {"boxes": [box(n)._asdict()]}
            record = record._replace(boxes=(box(n),))
        if n == 0:
            entry |= {"tags": ["red"]}
            record = record._replace(tags=("red",))
        entries.append(entry)
        records.append(record)
    if lines:
        write(folder / "notes.jsonl", "".join(f"{json.dumps(e)}\n" for e in entries))
    else:
        write(folder / "notes.json", json.dumps(entries))
    return ordered(records)


def alone(folder):
    """Pictures without a word."""
    return ordered(
        Record(f"{n % 2}/p{n}", picture(folder / str(n % 2) / f"p{n}.jpg", n)) for n in range(COUNT)
    )


def yolo(folder):
    write(folder / "data.yaml", "names: [cat, dog]\n")
    records = []
    for n in range(COUNT):
        path = picture(folder / "images" / "train" / f"{n:02d}.jpg", n)
        if n:
            write(folder / "labels" / "train" / f"{n:02d}.txt", "1 0.5 0.5 0.5 0.25\n")
        boxes = (Box("dog", 5.0, 6.0, 15.0, 10.0),) if n else ()
        labels = ("dog",) if n else ()
        records.append(Record(f"train/{n:02d}", path, labels=labels, boxes=boxes))
    return ordered(records)


WRITERS = {
    "coco2014": coco,
    "coco2017": lambda folder: coco(folder, 2017),
    "voc2007": lambda folder: pascal(folder, 2007),
    "voc2012": pascal,
    "flickr8k": flickr8k,
    "flickr30k": flickr30k,
    "nus_wide": nus_wide,
    "mirflickr25k": mirflickr25k,
    "iapr_tc12": iapr,
    "flickr25k_hashing": flickr25k_hashing,
    "nus_wide_hashing": nus_wide_hashing,
    "iapr_tc12_hashing": iapr_tc12_hashing,
    "wikipedia": wikipedia,
    "my_cmla": cmla,
    "my_table": table,
    "my_objects": objects,
    "my_lines": lambda folder: objects(folder, lines=True),
    "my_pictures": alone,
    "my_yolo": yolo,
}
