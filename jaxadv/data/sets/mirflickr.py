"""MIRFlickr-25K, from the owner's two archives: `mirflickr/` and its annotations.

24 labels (the `potential` ones; those of the `_r1` files are stricter and not of the papers), and
the 1,386 tags that at least 20 pictures have, which the owner lists in `doc/common_tags.txt`.
"""

import os
from pathlib import Path

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, find, in_order, list_folder, make, need
from jaxadv.data.sets.nus_wide import divide
from jaxadv.data.sets.reading import LeftOut, numbered
from jaxadv.formats.errors import FormatError, quoted
from jaxadv.formats.text import numbered_lines, read_lines
from jaxadv.formats.values import ValueFault, parse_whole

OWNER = "https://press.liacs.nl/mirflickr/mirdownload.html"
ANNOTATIONS = "mirflickr25k_annotations_v080"
CLASSES = (
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor",
    "lake", "male", "night", "people", "plant_life", "portrait", "river", "sea", "sky",
    "structures", "sunset", "transport", "tree", "water",
)  # fmt: skip
MOST_PICTURES = 1_000_000  # MIRFlickr-1M's
EXPECTED = {
    "all": 25_000,
    "pairs": 20_015,
    "query": 2_000,
    "database": 18_015,
    "training": 10_000,
    "attacked-training": 5_000,
    "classes": 24,
    "tags": 1_386,
}


def needs() -> tuple[Download, ...]:
    """List what the set consists of."""
    return (
        Download("mirflickr/im1.jpg", "mirflickr25k.zip", OWNER),
        Download("mirflickr/meta/tags", "mirflickr25k.zip", OWNER),
        Download("mirflickr/doc/common_tags.txt", "mirflickr25k.zip", OWNER),
        Download(ANNOTATIONS, f"{ANNOTATIONS}.zip", OWNER),
    )


def read(folder: Path) -> DataSet:
    """Read MIRFlickr-25K.

    Selections: `pairs` have a label and a tag; `query`, `database`, `training` (of the database)
    and `attacked-training` (of the training set) divide them at random as the CMLA paper does.

    Raises:
      FolderError: files are missing or broken.
    """
    first, tags, common, annotations = (
        need(folder, download, download.path.removeprefix("mirflickr/")) for download in needs()
    )
    problems: list[str] = []
    vocabulary = _common(common, problems)
    place = numbered(vocabulary)
    labels = {name: _numbers(annotations, name, problems) for name in CLASSES}
    # every picture that is there, or that anything is known of
    known = {*_files(first.parent, "im", ".jpg"), *_files(tags, "tags", ".txt")}
    records: list[Record] = []
    for number in sorted(known.union(*labels.values())):
        picture, said = first.parent / f"im{number}.jpg", tags / f"tags{number}.txt"
        if not os.path.isfile(picture):
            problems.append(f"{picture}: no such picture")
            continue
        mine = None
        if os.path.lexists(said):
            try:
                mine = in_order(place.keys() & set(read_lines(said)), place)
            except FormatError as problem:
                problems.append(f"{problem}; the picture has no tags")
        else:
            problems.append(f"{said}: no such file; the picture has no tags")
        records.append(
            Record(
                f"im{number:05d}",
                picture,
                labels=tuple(name for name in CLASSES if number in labels[name]),
                tags=mine,
            )
        )
    pairs = tuple(r.id for r in records if r.labels and r.tags)
    return make(
        "mirflickr25k",
        folder,
        records,
        problems,
        classes=CLASSES,
        tags=vocabulary,
        selections={"pairs": pairs, **divide(pairs, 2_000, 10_000, 5_000)},
        expected=EXPECTED,
    )


def _common(path: Path, problems: list[str]) -> tuple[str, ...]:
    """Read lines `tag count`."""
    tags = []
    left_out = LeftOut(path, problems)
    for number, line in numbered_lines(path):
        tag, _, count = line.rpartition(" ")
        if tag.strip() and count.isdecimal():
            tags.append(tag.strip())
        else:
            left_out.add(f"line {number}", f"not a tag and its count: {quoted(line)}")
    return tuple(tags)


def _numbers(annotations: Path, name: str, problems: list[str]) -> set[int]:
    path = find(annotations, f"{name}.txt")
    if path is None:
        raise FolderError(f"{annotations}/{name}.txt: missing; it is in {ANNOTATIONS}.zip, {OWNER}")
    numbers = set()
    left_out = LeftOut(path, problems)
    for number, line in numbered_lines(path):
        try:
            numbers.add(parse_whole(line, "a picture's number", MOST_PICTURES))
        except ValueFault as fault:
            left_out.add(f"line {number}", fault)
    return numbers


def _files(folder: Path, prefix: str, suffix: str) -> set[int]:
    """The numbers of a folder's files of that kind."""
    stems = (p.name.removeprefix(prefix).removesuffix(suffix) for p in list_folder(folder))
    return {int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 9}
