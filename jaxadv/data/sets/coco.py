"""COCO 2014 and 2017: captions, instances, Karpathy's split, and the attacked images.

The layout is that of the owner's archives, unpacked into one folder: `annotations/`, `train2014/`,
`val2014/` (or 2017). Beside them lie, where they are to be used, `dataset_coco.json` (Karpathy's
split, which divides the same pictures) and `val_data.json` (what the exact-caption paper attacked).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.example import Box
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.karpathy import read_split
from jaxadv.data.sets.layout import (
    Download,
    find,
    inside,
    laid_out_as,
    make,
    need,
    read_json,
    there,
)

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

    Regions of a crowd count as labels and have no box.

    Raises:
      FolderError: files are missing or broken, or the splits have different categories.
    """
    problems = [] if problems is None else problems
    records: list[Record] = []
    classes: tuple[str, ...] | None = None
    for pictures, split in splits.items():
        captions, instances = (_read(path) for path in _annotations_of(folder, pictures))
        if instances is not None:
            names = tuple(_categories(instances).values())
            if classes is not None and names != classes:
                raise FolderError(f"{folder}: the splits have different categories")
            classes = names
        with laid_out_as("COCO's annotations", folder / "annotations" / f"*_{pictures}.json"):
            records += _records(folder / pictures, split, captions, instances, problems)
    kept = there(records, problems)
    selections: dict[str, tuple[str, ...]] = {}
    vocabulary = None
    karpathy = find(folder, "dataset_coco.json", "annotations/dataset_coco.json")
    if karpathy is not None:
        named = {record.id: record.id for record in records}
        chosen, vocabulary = read_split(karpathy, lambda i: f"coco-{i['cocoid']}", named, problems)
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


def read_attacked(
    path: Path, present: Collection[str], problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Read the exact-caption paper's own selection, `val_data.json`.

    `exact-caption` are the attacked pictures, `exact-caption-targets` those whose captions are the
    targets, as many for each, in the same order: targets 5i to 5i+4 are those of picture i. A
    picture that is absent, or a target of which is, is left out with all its targets.

    Raises:
      FolderError: not such a file.
    """
    attacked: list[str] = []
    targets: list[str] = []
    with laid_out_as("val_data.json", path):
        entries = read_json(path)
        for entry in entries:
            mine = f"coco-{int(entry['id'])}"
            aims = [f"coco-{int(target['id'])}" for target in entry["target"]]
            if all(name in present for name in (mine, *aims)):
                attacked.append(mine)
                targets += aims
    if len(attacked) < len(entries):
        missing = len(entries) - len(attacked)
        problems.append(f"{path}: {missing} of its pictures, or targets of theirs, are absent")
    return {"exact-caption": tuple(attacked), "exact-caption-targets": tuple(targets)}


def _annotations_of(folder: Path, pictures: str) -> tuple[Path | None, Path | None]:
    return (
        find(folder, f"annotations/captions_{pictures}.json"),
        find(folder, f"annotations/instances_{pictures}.json"),
    )


def _annotations(folder: Path, pictures: str) -> bool:
    return any(path is not None for path in _annotations_of(folder, pictures))


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    with laid_out_as("COCO's annotations", path):
        contents = read_json(path)
        if not isinstance(contents["annotations"], list) or not isinstance(
            contents["images"], list
        ):
            raise TypeError("annotations and images must be lists")
        if "instances" in path.name:
            _categories(contents)
        return dict(contents)


def _categories(instances: dict[str, Any]) -> dict[int, str]:
    ordered = sorted(instances["categories"], key=lambda c: int(c["id"]))
    return {int(c["id"]): str(c["name"]) for c in ordered}


def _records(
    pictures: Path,
    split: str,
    captions: dict[str, Any] | None,
    instances: dict[str, Any] | None,
    problems: list[str],
) -> list[Record]:
    """Join what the two files of a split say; a picture is there if one of them speaks of it."""
    files: dict[int, str] = {}
    for source in (captions, instances):
        listed = [] if source is None else source["images"]
        if len({int(image["id"]) for image in listed}) < len(listed):
            raise FolderError(f"{pictures}: its annotations list a picture twice (duplicate id)")
        files |= {int(image["id"]): image["file_name"] for image in listed}
    said: dict[int, list[str]] = defaultdict(list)
    for entry in captions["annotations"] if captions else ():
        said[int(entry["image_id"])].append(str(entry["caption"]))
    present: dict[int, set[int]] = defaultdict(set)
    boxes: dict[int, list[Box]] = defaultdict(list)
    names = _categories(instances) if instances else {}
    looked = {int(image["id"]) for image in instances["images"]} if instances else set()
    for entry in instances["annotations"] if instances else ():
        image, category = int(entry["image_id"]), int(entry["category_id"])
        present[image].add(category)
        x, y, width, height = map(float, entry["bbox"])
        if not entry.get("iscrowd"):
            boxes[image].append(Box(names[category], x, y, x + width, y + height))
    problems += [
        f"{pictures}: {what} of picture {number}, which is not listed"
        for what, found in (("a caption", said), ("an instance", present))
        for number in sorted(set(found) - set(files))
    ]
    return [
        Record(
            f"coco-{number}",
            inside(pictures, file),
            tuple(said[number]) if number in said else None,
            tuple(names[c] for c in sorted(present[number])) if number in looked else None,
            None,
            tuple(boxes[number]) if number in looked else None,
            split,
        )
        for number, file in files.items()
        if number in looked or number in said
    ]
