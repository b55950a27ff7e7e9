"""Open prepared data sets: `prepare`'s own, and TFDS's `coco_captions`, `coco` and `voc`.

TFDS's own are read where they were prepared as array_record, the one format that can be read
without TensorFlow. They are read through once, and an index is left with them where that is
allowed.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxadv.data.builders import import_tfds
from jaxadv.data.example import Box
from jaxadv.data.frames import turn_upright
from jaxadv.data.images import ImageError, Stored, decode_frame
from jaxadv.data.index import ABOUT, read_index, write_index
from jaxadv.data.records import DataSet, FolderError, Picture, Record
from jaxadv.data.shards import Fields, Source, check_features, damaged, read_shards
from jaxadv.formats.errors import FormatError, quoted
from jaxadv.formats.text import read_lines
from jaxadv.formats.values import ValueFault, as_number

STOCK = ("coco_captions", "coco", "voc")


def data_folder() -> Path:
    """Where prepared sets are kept: `$TFDS_DATA_DIR`, or TFDS's own default.

    Raises:
      FolderError: neither is there, as this user has no home.
    """
    if chosen := os.environ.get("TFDS_DATA_DIR"):
        return Path(chosen)
    try:
        return Path.home() / "tensorflow_datasets"
    except RuntimeError:
        raise FolderError("this user has no home folder; set TFDS_DATA_DIR") from None


def prepared_folders(data_dir: Path) -> dict[str, Path]:
    """Find the prepared sets, by name (`NAME`, or `NAME/CONFIG`); the newest version of each."""
    found: dict[str, Path] = {}
    for mark in sorted(data_dir.glob("*/**/dataset_info.json"), key=_version):
        folder = mark.parent
        name = str(folder.parent.relative_to(data_dir))
        if (folder / ABOUT).is_file() or name.split("/")[0] in STOCK:
            found[name] = folder
    return dict(sorted(found.items()))


def _version(mark: Path) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in mark.parent.name.split(".")]


def open_prepared(name: str, data_dir: Path | None = None) -> DataSet:
    """Open a prepared set; its pictures stay on disk.

    Raises:
      FolderError: there is none of that name, or it is broken.
    """
    data_dir = data_folder() if data_dir is None else data_dir
    there = prepared_folders(data_dir)
    folder = there.get(name) or next(
        (f for n, f in there.items() if n.startswith(f"{name}/")), None
    )
    if folder is None:
        names = ", ".join(there) or "none"
        raise FolderError(
            f"data set {name!r}: neither a folder nor prepared in {data_dir} (there: {names}); "
            f"prepare it: jaxadv data prepare {name} --from FOLDER"
        )
    import_tfds()
    kinds = check_features(folder)
    shards = read_shards(folder)
    source = Source(folder, shards)
    sizes = {split: sum(shard.length for shard in some) for split, some in shards.items() if some}
    if name.split("/")[0] in STOCK:
        return _open_stock(name, folder, source, sizes)
    if ("image" in kinds) == ("features" in kinds):
        raise damaged(folder, "its records have neither an image nor features")
    return read_index(folder, sizes, _pictures(name, source, "image" in kinds))


def _pictures(name: str, source: Source, images: bool = True) -> Callable[[str, str, int], Picture]:
    """Give what fetches the picture of an id, a split and a number; features are read at once."""

    def read(record: str, split: str, number: int) -> bytes:
        found = source.read(split, number, record).contents("image")
        if not found:
            raise ImageError(f"{name}: {record}: has no picture; prepare the set again")
        return found[0]

    def features(record: str, split: str, number: int) -> np.ndarray:
        return np.array(source.read(split, number, record).numbers("features"), np.float32)

    def stored(record: str, split: str, number: int) -> Stored:
        return Stored(f"{name}: {record}", lambda: read(record, split, number))

    return stored if images else features


def _open_stock(name: str, folder: Path, source: Source, sizes: dict[str, int]) -> DataSet:
    """Open TFDS's own set from its index, which is written where there is none that fits."""
    picture = _pictures(name, source)
    with contextlib.suppress(FolderError):
        return read_index(folder, sizes, picture, strict=True)
    data = _read_stock(name, folder, source, sizes)
    if len(data.records) == sum(sizes.values()):  # in the index, records go by their places
        with contextlib.suppress(OSError):  # somebody else's folder: gone through again next time
            write_index(folder, data, {"source": "tensorflow_datasets"})
    return data


def _read_stock(name: str, folder: Path, source: Source, sizes: dict[str, int]) -> DataSet:
    """Go through a set: `coco_captions` is divided as Karpathy does, `voc` as its owner."""
    picture = _pictures(name, source)
    try:
        classes = tuple(read_lines(folder / "objects-label.labels.txt"))
    except FormatError as problem:
        raise damaged(folder, problem) from None
    records: dict[str, Record] = {}
    problems: list[str] = []
    for split, size in sizes.items():
        for number in range(size):
            try:
                record = _stock_record(source.read(split, number), split, classes, problems)
                if record.id in records:
                    raise ValueFault(f"the id {quoted(record.id)} comes twice")
            except ImageError as problem:
                problems.append(str(problem))
            except ValueFault as problem:
                problems.append(f"record {number:,} of {split}: {problem}")
            else:
                records[record.id] = record._replace(picture=picture(record.id, split, number))
    parts = {"karpathy-train": ("train", "restval"), "karpathy-val": ("val",),
             "karpathy-test": ("test",)}  # fmt: skip
    selections = {
        key: ids
        for key, splits in parts.items()
        if name.startswith("coco_captions")
        and (ids := tuple(sorted(r.id for r in records.values() if r.split in splits)))
    }
    return DataSet(
        name,
        tuple(records.values()),
        classes=classes,
        selections=selections,
        problems=tuple(problems),
    )


def _stock_record(
    fields: Fields, split: str, classes: tuple[str, ...], problems: list[str]
) -> Record:
    """One of TFDS's records; boxes are relative there, and of the picture as it is stored.

    Raises:
      ImageError: it has no picture.
      ValueFault: its labels, boxes or captions are not as TFDS writes them.
    """
    try:
        captions = fields.texts("captions/text") if "captions/text" in fields else None
    except UnicodeDecodeError:
        raise ValueFault("captions: not UTF-8") from None
    (image,) = fields.contents("image") or [b""]
    frame = decode_frame(image, fields.id)
    numbers = fields.wholes("objects/label")
    sides = fields.numbers("objects/bbox")
    crowds = fields.wholes("objects/is_crowd") or [0] * len(numbers)
    present = fields.wholes("labels_no_difficult") if "labels" in fields else numbers
    if not all(0 <= number < len(classes) for number in (*numbers, *present)):
        raise ValueFault(f"labels: one is none of the {len(classes)} classes")
    if not len(sides) == 4 * len(numbers) == 4 * len(crowds):
        raise ValueFault("boxes: not one a label")
    size = (frame.height, frame.width) * 2
    boxes = []
    for place, (number, crowd) in enumerate(zip(numbers, crowds, strict=True)):
        top, left, bottom, right = (
            as_number(side, "boxes") * scale
            for side, scale in zip(sides[4 * place : 4 * place + 4], size, strict=True)
        )
        if not (left < right and top < bottom):
            problems.append(f"{fields.id}: a box of {classes[number]} without an inside")
        elif not crowd:
            boxes.append(turn_upright(Box(classes[number], left, top, right, bottom), frame))
    return Record(
        fields.id,
        Path(),
        None if captions is None else tuple(captions),
        tuple(classes[n] for n in sorted(set(present))),
        None,
        tuple(boxes),
        split,
    )
