"""Open prepared data sets: `prepare`'s own, and TFDS's `coco_captions`, `coco` and `voc`.

TFDS's own are read where they were prepared as array_record, the one format that can be read
without TensorFlow. They are gone through once, and an index is left beside them where that is
allowed.
"""

import contextlib
import io
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jaxadv.data.builders import import_tfds
from jaxadv.data.example import Box
from jaxadv.data.images import Stored
from jaxadv.data.index import ABOUT, read_index, write_index
from jaxadv.data.records import DataSet, FolderError, Record

STOCK = ("coco_captions", "coco", "voc")


def data_folder() -> Path:
    """Where prepared sets are kept: `$TFDS_DATA_DIR`, or TFDS's own default."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


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
    builder = import_tfds().builder_from_directory(str(folder))
    if (folder / ABOUT).is_file():
        return read_index(folder, _pictures(builder))
    return _read_stock(name, folder, builder)


def _pictures(builder: Any) -> Callable[[str, str, int], Any]:
    """Give what fetches a picture: by split and number, the file is opened at the first."""
    tfds = import_tfds()
    fields = builder.info.features

    @cache
    def source(split: str) -> Any:
        decoders = {"image": tfds.decode.SkipDecoding()} if "image" in fields else None
        return builder.as_data_source(split, decoders=decoders)

    def picture(record: str, split: str, number: int) -> Any:
        if "image" not in fields:
            return source(split)[number]["features"]
        return Stored(f"{builder.name}: {record}", lambda: source(split)[number]["image"])

    return picture


def _read_stock(name: str, folder: Path, builder: Any) -> DataSet:
    """Read TFDS's own set: `coco_captions` is divided as Karpathy does, `voc` as its owner."""
    if builder.info.file_format.value != "array_record":
        raise FolderError(
            f"{folder}: prepared as {builder.info.file_format.value}, which only TensorFlow reads; "
            "prepare it again with file_format='array_record'"
        )
    picture = _pictures(builder)
    kinds = builder.info.features["objects"]["label"]
    classes = tuple(kinds.names)
    records = []
    tfds = import_tfds()
    for split in builder.info.splits:
        skip = {"image": tfds.decode.SkipDecoding()}
        for number, fields in enumerate(builder.as_data_source(split, decoders=skip)):
            record = _stock_record(fields, split, classes)
            records.append(record._replace(picture=picture(record.id, split, number)))
    parts = {"karpathy-train": ("train", "restval"), "karpathy-val": ("val",),
             "karpathy-test": ("test",)}  # fmt: skip
    selections = {
        key: ids
        for key, splits in parts.items()
        if name.startswith("coco_captions")
        and (ids := tuple(sorted(r.id for r in records if r.split in splits)))
    }
    data = DataSet(name, tuple(records), classes=classes, selections=selections)
    with contextlib.suppress(OSError):  # somebody else's folder: gone through again next time
        write_index(folder, data, {"source": "tensorflow_datasets"})
    return data


def _stock_record(fields: dict[str, Any], split: str, classes: tuple[str, ...]) -> Record:
    """One of TFDS's records; boxes are relative there, and of the picture as it is stored."""
    from PIL import Image

    things = fields["objects"]
    numbers = [int(number) for number in things["label"]]
    crowds = things.get("is_crowd", [False] * len(numbers))
    with Image.open(io.BytesIO(fields["image"])) as image:
        width, height = image.size
    boxes = tuple(
        Box(classes[n], left * width, top * height, right * width, bottom * height)
        for n, (top, left, bottom, right), crowd in zip(
            numbers, things["bbox"], crowds, strict=True
        )
        if not crowd
    )
    present = fields.get("labels_no_difficult", numbers)
    said = fields.get("captions")
    file = Path(_text(fields["image/filename"])).stem
    return Record(
        f"coco-{int(fields['image/id'])}" if "image/id" in fields else file,
        Path(file),
        None if said is None else tuple(_text(caption) for caption in said["text"]),
        tuple(classes[n] for n in sorted({int(n) for n in present})),
        None,
        tuple(Box(b.label, *(float(side) for side in b[1:])) for b in boxes),
        split,
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
