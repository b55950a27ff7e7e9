"""COCO 2014 and 2017: captions, instances, Karpathy's split, and the attacked images.

The layout is that of the owner's archives, unpacked into one folder: `annotations/`, `train2014/`,
`val2014/` (or 2017). With them are, where they are to be used, `dataset_coco.json` (Karpathy's
split, which divides the same pictures) and `val_data.json` (what the exact-caption paper attacked).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.coco_files import read_captions, read_instances
from jaxadv.data.sets.karpathy import read_split
from jaxadv.data.sets.layout import Download, find, make, need, there, twice
from jaxadv.data.sets.reading import LeftOut, fields
from jaxadv.formats.errors import listed, quoted
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_whole

OWNER = "https://cocodataset.org/#download"
SPLIT = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
ATTACKED = "https://github.com/wubaoyuan/adversarial-attack-to-caption (data/val_data)"

EXPECTED = {
    2014: {
        "train": 82_783,
        "val": 40_504,
        "karpathy-train": 113_287,
        "karpathy-val": 5_000,
        "karpathy-test": 5_000,
        "labelled-train": 82_081,  # the TkMIA paper's counts
        "labelled-val": 40_137,
        "exact-caption": 1_000,
        "exact-caption-targets": 5_000,
        "classes": 80,
        "vocabulary": 9_487,
    },
    2017: {"train": 118_287, "val": 5_000, "classes": 80},
}


def needs(year: int) -> tuple[Download, ...]:
    """List what the set consists of."""
    annotations = f"annotations_trainval{year}.zip"
    return (
        Download(f"annotations/captions_train{year}.json", annotations, OWNER),
        Download(f"annotations/instances_train{year}.json", annotations, OWNER),
        Download(f"train{year}", f"train{year}.zip", OWNER),
        Download(f"val{year}", f"val{year}.zip", OWNER),
        Download("dataset_coco.json", "caption_datasets.zip", SPLIT, optional=True),
        Download("val_data.json", "val_data.json", ATTACKED, optional=True),
    )


def read_year(folder: Path, year: int) -> DataSet:
    """Read COCO 2014 or 2017.

    Raises:
      FolderError: files are missing or broken.
    """
    splits = {f"{part}{year}": part for part in ("train", "val")}
    present = {name: part for name, part in splits.items() if _annotations(folder, name)}
    if not present:
        need(folder, needs(year)[0])
    problems = [
        f"{folder}/annotations: nothing of {name}; it is in annotations_trainval{year}.zip"
        for name in splits
        if name not in present
    ]
    return read(folder, f"coco{year}", present, EXPECTED[year], problems)


def splits_of(folder: Path) -> dict[str, str]:
    """Find the splits of any folder in COCO's layout, by the names of its annotation files."""
    paths = [
        path
        for kind in ("captions", "instances")
        for path in (folder / "annotations").glob(f"{kind}_*.json")
    ]
    return {name: name for name in sorted({path.stem.split("_", 1)[1] for path in paths})}


def read(
    folder: Path,
    name: str,
    splits: Mapping[str, str],
    expected: Mapping[str, int] | None = None,
    problems: list[str] | None = None,
) -> DataSet:
    """Read a folder in COCO's layout, whose splits are `folder of the pictures: name`.

    Regions of a crowd count as labels and have no box. Every picture that a file lists is there;
    what no file says of it is not known.

    Raises:
      FolderError: files are missing or broken, or the splits have different categories.
    """
    problems = [] if problems is None else problems
    records: list[Record] = []
    classes: tuple[str, ...] | None = None
    for pictures, split in splits.items():
        found, names = _split(folder, pictures, split, problems)
        if None not in (names, classes) and names != classes:
            raise FolderError(f"{folder}: the splits have different categories")
        classes = classes if names is None else names
        records += found
    kept = there(records, problems)
    selections: dict[str, tuple[str, ...]] = {}
    vocabulary = None
    karpathy = find(folder, "dataset_coco.json", "annotations/dataset_coco.json")
    if karpathy is not None:
        named = {record.id: record.id for record in records}
        chosen, vocabulary = read_split(karpathy, _cocoid, named, problems)
        selections |= chosen
    attacked = find(folder, "val_data.json", "annotations/val_data.json")
    if attacked is not None:
        selections |= read_attacked(attacked, {record.id for record in kept}, problems)
    if classes is not None:
        for split in splits.values():
            ids = tuple(r.id for r in kept if r.split == split and r.labels)
            selections[f"labelled-{split}"] = ids
    return make(
        name,
        folder,
        kept,
        problems,
        classes=classes,
        vocabulary=vocabulary,
        selections=selections,
        expected=expected or {},
    )


def _cocoid(entry: Mapping[str, Any]) -> str:
    return f"coco-{as_whole(entry.get('cocoid'), 'cocoid')}"


def read_attacked(
    path: Path, present: Collection[str], problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Read the exact-caption paper's own selection, `val_data.json`.

    `exact-caption` are the attacked pictures, `exact-caption-targets` those whose captions are the
    targets, as many for each, in the same order: targets 5i to 5i+4 are those of picture i. A
    picture that is absent, or a target of which is, is left out with all its targets.

    Raises:
      FormatError: it cannot be read.
      FolderError: not such a file.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise FolderError(f"{path}: not laid out as val_data.json: it must be a list")
    attacked: list[str] = []
    targets: list[str] = []
    missing = 0
    left_out = LeftOut(path, problems)
    for number, entry in enumerate(entries, 1):
        try:
            mine, *aims = _numbers(entry)
        except ValueFault as fault:
            left_out.add(f"entry {number}", fault)
            continue
        if all(name in present for name in (mine, *aims)):
            attacked.append(mine)
            targets += aims
        else:
            missing += 1
    if missing:
        problems.append(f"{path}: {missing} of its pictures, or targets of theirs, are absent")
    return {"exact-caption": tuple(attacked), "exact-caption-targets": tuple(targets)}


def _numbers(entry: Any) -> list[str]:
    """The ids of an attacked picture and of its targets."""
    targets = fields(entry).get("target")
    if not isinstance(targets, list):
        raise ValueFault("target must be a list")
    ids = [entry.get("id"), *(fields(target).get("id") for target in targets)]
    return [f"coco-{as_whole(number, 'id')}" for number in ids]


def _annotations_of(folder: Path, pictures: str) -> tuple[Path | None, Path | None]:
    return (
        find(folder, f"annotations/captions_{pictures}.json"),
        find(folder, f"annotations/instances_{pictures}.json"),
    )


def _annotations(folder: Path, pictures: str) -> bool:
    return any(path is not None for path in _annotations_of(folder, pictures))


def _split(
    folder: Path, pictures: str, split: str, problems: list[str]
) -> tuple[list[Record], tuple[str, ...] | None]:
    """Join what the two files of a split say; also the names of its categories, if it has any."""
    said_in, shown_in = _annotations_of(folder, pictures)
    said = None if said_in is None else read_captions(said_in, problems)
    shows = None if shown_in is None else read_instances(shown_in, folder / pictures, problems)
    files: dict[int, str] = {}
    for source in (said, shows):
        for number, file in () if source is None else source.files.items():
            if files.setdefault(number, file) != file:
                raise FolderError(
                    f"{folder / 'annotations'}: picture {number} of {pictures} is "
                    f"{quoted(files[number])} in one file and {quoted(file)} in the other"
                )
    if same := twice(files.values()):
        raise FolderError(
            f"{folder / 'annotations'}: {listed(same)} of {pictures} under two numbers (duplicate)"
        )
    unread = () if shows is None else shows.unread
    records = [
        Record(
            f"coco-{number}",
            folder / pictures / file,
            None if said is None else said.captions.get(number),
            None if shows is None else shows.labels.get(number),
            None,
            None if shows is None else shows.boxes.get(number),
            split,
        )
        for number, file in files.items()
        if number not in unread
    ]
    return records, None if shows is None else shows.classes
