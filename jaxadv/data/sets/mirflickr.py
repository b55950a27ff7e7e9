"""MIRFlickr-25K, from the owner's two archives: `mirflickr/` and the annotations beside it.

24 labels (the `potential` ones; those of the `_r1` files are stricter and not of the papers), and
the 1,386 tags that at least 20 pictures have, which the owner lists in `doc/common_tags.txt`.
"""

from pathlib import Path

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.layout import Download, find, make, need, read_lines
from jaxadv.data.sets.nus_wide import divide

OWNER = "https://press.liacs.nl/mirflickr/mirdownload.html"
ANNOTATIONS = "mirflickr25k_annotations_v080"
CLASSES = (
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor",
    "lake", "male", "night", "people", "plant_life", "portrait", "river", "sea", "sky",
    "structures", "sunset", "transport", "tree", "water",
)  # fmt: skip
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
    vocabulary = _common(common)
    words = set(vocabulary)
    labels = {name: _numbers(annotations, name) for name in CLASSES}
    records: list[Record] = []
    problems: list[str] = []
    # im1.jpg is there; the set ends with the last picture that anything is known of
    last = max([1, *(number for numbers in labels.values() for number in numbers)])
    last = max([last, *(_number(path, "tags") for path in tags.glob("tags*.txt"))])
    for number in range(1, last + 1):
        picture, said = first.parent / f"im{number}.jpg", tags / f"tags{number}.txt"
        if not picture.is_file():
            problems.append(f"{picture}: no such picture")
            continue
        if not said.is_file():
            problems.append(f"{said}: no such file; the picture has no tags")
        mine = set(read_lines(said)) & words if said.is_file() else None
        records.append(
            Record(
                f"im{number:05d}",
                picture,
                labels=tuple(name for name in CLASSES if number in labels[name]),
                tags=None if mine is None else tuple(tag for tag in vocabulary if tag in mine),
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


def _common(path: Path) -> tuple[str, ...]:
    """Read lines `tag count`."""
    tags = []
    for number, line in enumerate(read_lines(path), 1):
        tag, _, count = line.rpartition(" ")
        if not tag.strip() or not count.isdigit():
            raise FolderError(f"{path}, line {number}: not a tag and its count: {line[:60]!r}")
        tags.append(tag.strip())
    return tuple(tags)


def _numbers(annotations: Path, name: str) -> set[int]:
    path = find(annotations, f"{name}.txt")
    if path is None:
        raise FolderError(f"{annotations}/{name}.txt: missing; it is in {ANNOTATIONS}.zip, {OWNER}")
    lines = read_lines(path)
    if not all(line.isdigit() for line in lines):
        raise FolderError(f"{path}: not a picture's number a line")
    return {int(line) for line in lines}


def _number(path: Path, prefix: str) -> int:
    digits = path.stem.removeprefix(prefix)
    return int(digits) if digits.isdigit() else 0
