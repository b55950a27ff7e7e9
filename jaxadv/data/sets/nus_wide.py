"""NUS-WIDE, from the owner's archives unpacked into one folder.

`ImageList/`, `Groundtruth/AllLabels/`, `NUS_WID_Tags/` and `ConceptsList/` line up: line i of each
is about picture i of `Imagelist.txt`. `Groundtruth/TrainTestLabels` is not read (its
`Labels_lake_Train.txt` has a line that is no truth value). The pictures themselves were never in an
archive of the owner's; put them where the list has them, under `Flickr/`.
"""

import os
from pathlib import Path, PurePosixPath

import numpy as np

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, draw, find, make, need, picture_name, shown
from jaxadv.data.sets.reading import read_flags
from jaxadv.formats.files import check_file
from jaxadv.formats.text import read_lines
from jaxadv.formats.values import ValueFault

OWNER = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
FREQUENT = 21
EXPECTED = {
    "all": 269_648,
    "train": 161_789,
    "test": 107_859,
    "frequent-21": 195_834,
    "pairs": 190_421,
    "query": 2_100,
    "training": 10_500,
    "attacked-training": 5_000,
    "database": 188_321,
    "labelled-train": 103_990,  # the TkMIA paper's counts, of a division of its own
    "labelled-test": 69_706,
    "classes": 81,
    "tags": 1_000,
}


def needs() -> tuple[Download, ...]:
    """List what the set consists of."""
    return (
        Download("ImageList/Imagelist.txt", "ImageList.zip", OWNER),
        Download("ConceptsList/Concepts81.txt", "ConceptsList.zip", OWNER),
        Download("Groundtruth/AllLabels", "Groundtruth.zip", OWNER),
        Download("NUS_WID_Tags/AllTags1k.txt", "NUS_WID_Tags.zip", OWNER),
        Download("NUS_WID_Tags/TagList1k.txt", "NUS_WID_Tags.zip", OWNER),
        Download("Flickr", "the pictures of NUS-WIDE-urls.txt", OWNER),
    )


def read(folder: Path) -> DataSet:
    """Read NUS-WIDE.

    Selections: `frequent-21` has a label among the 21 most frequent concepts, `pairs` also a tag;
    `query`, `database`, `training` (of the database) and `attacked-training` (of the training set)
    divide the pairs at random as the CMLA paper counts them; `labelled-train` and `labelled-test`
    are the owner's halves without pictures that have no label.

    Raises:
      FolderError: files are missing or broken.
    """
    images, concepts, labels, tags, words, pictures = (
        need(folder, download, *_elsewhere(download.path)) for download in needs()
    )
    listed = [line.replace("\\", "/") for line in read_lines(images)]
    classes, vocabulary = tuple(read_lines(concepts)), tuple(read_lines(words))
    truth = np.stack([read_flags(_of(labels, name), len(listed)) for name in classes], axis=1)
    chosen = _tag_numbers(tags, len(listed), len(vocabulary))
    part = _parts(images.parent)
    found: list[Record] = []
    problems: list[str] = []
    rows: list[int] = []
    for row, name in enumerate(listed):
        try:
            path = pictures / picture_name(name)
        except ValueFault as fault:
            problems.append(f"{images}, picture {row + 1}: {fault}; left out")
            continue
        if not os.path.isfile(path):
            problems.append(f"{shown(path)}: no such picture")
            continue
        rows.append(row)
        found.append(
            Record(
                str(PurePosixPath(name).with_suffix("")),
                path,
                labels=tuple(classes[c] for c in np.flatnonzero(truth[row])),
                tags=tuple(vocabulary[t] for t in chosen[row]),
                split=part.get(name, "data"),
            )
        )
    # of the whole list, so that what is frequent does not depend on which pictures one still gets
    frequent = set(sorted(range(len(classes)), key=lambda c: (-truth[:, c].sum(), c))[:FREQUENT])
    names = {classes[c] for c in frequent}
    twenty_one = [r for r in found if names & set(r.labels or ())]
    selections = {
        "frequent-21": tuple(sorted(r.id for r in twenty_one)),
        "pairs": tuple(sorted(r.id for r in twenty_one if len(r.tags or ()))),
    }
    selections |= divide(selections["pairs"], 2_100, 10_500, 5_000)
    for split in ("train", "test"):
        selections[f"labelled-{split}"] = tuple(
            sorted(r.id for r in found if r.split == split and r.labels)
        )
    return make(
        "nus_wide",
        folder,
        found,
        problems,
        classes=classes,
        tags=vocabulary,
        selections=selections,
        expected=EXPECTED,
    )


def divide(
    pairs: tuple[str, ...], query: int, training: int, attacked: int
) -> dict[str, tuple[str, ...]]:
    """Divide image-text pairs as the CMLA paper does: the training set is of the database.

    >>> {k: len(v) for k, v in divide(tuple("abcdefgh"), 2, 3, 1).items()}
    {'query': 2, 'database': 6, 'training': 3, 'attacked-training': 1}
    """
    asked, fitted, rest = draw(pairs, query, training)
    return {
        "query": tuple(sorted(asked)),
        "database": tuple(sorted(fitted + rest)),
        "training": tuple(sorted(fitted)),
        "attacked-training": tuple(sorted(fitted[:attacked])),
    }


def _elsewhere(path: str) -> tuple[str, ...]:
    """Where people have a file who unpacked an archive without its top folder, or with another."""
    last = path.split("/", 1)[-1]
    return (last, f"NUS-WIDE/{path}", f"NUS_WIDE/{path}") if path != "Flickr" else ("images",)


def _of(labels: Path, concept: str) -> Path:
    path = find(labels, f"Labels_{concept}.txt")
    if path is None:
        raise FolderError(
            f"{labels}/Labels_{concept}.txt: missing; unpack Groundtruth.zip from {OWNER}"
        )
    return path


def _tag_numbers(path: Path, pictures: int, width: int) -> list[np.ndarray]:
    """Read a line of `width` truth values for each picture, as the numbers of the true ones."""
    rows: list[np.ndarray] = []
    check_file(path)
    with path.open("rb") as file:  # half a gigabyte, so a line at a time
        for number, line in enumerate(file, 1):
            digits = np.frombuffer(line.translate(None, b" \t\r\n"), np.uint8)
            if not len(digits):
                continue
            if len(digits) != width or not np.isin(digits, (48, 49)).all():
                raise FolderError(f"{path}, line {number}: not {width} of 0 and 1")
            rows.append(np.flatnonzero(digits == 49))
    if len(rows) != pictures:
        raise FolderError(f"{path}: {len(rows):,} lines, where {pictures:,} pictures are listed")
    return rows


def _parts(lists: Path) -> dict[str, str]:
    part: dict[str, str] = {}
    for split in ("train", "test"):
        path = find(lists, f"{split}imagelist.txt")
        for line in read_lines(path) if path else ():
            part[line.replace("\\", "/")] = split
    return part
