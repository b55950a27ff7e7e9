"""Prepare any data set as a `tensorflow_datasets` builder does, without TensorFlow.

The pictures stay as encoded as they were; pixels become PNGs, which lose nothing. A set is written
shard by shard, by several threads, each shard under a temporary name first: what was finished when
a job was killed is not done again. Only when all are there they become a set that
`tfds.builder_from_directory` opens, in one rename.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxadv.data.example import Box
from jaxadv.data.images import ImageError, decode_image, read_bytes
from jaxadv.data.index import record_lines, write_index
from jaxadv.data.records import DataSet, FolderError, Record

VERSION = "1.0.0"
SHARD = 256  # records
SLACK = 1.0  # pixels by which a box may leave its picture: annotators round


class Progress(NamedTuple):
    """How many records are prepared."""

    done: int
    total: int
    message: str


class _Shard(NamedTuple):
    """Records that are written into one file, and the number of it."""

    split: str
    number: int
    records: tuple[Record, ...]


def import_tfds() -> Any:
    """Import `tensorflow_datasets`, which is an extra.

    Raises:
      FolderError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as problem:
        raise FolderError(f"prepared sets need: pip install 'jaxadv[data]' ({problem})") from None
    return tensorflow_datasets


def prepare(
    data: DataSet, data_dir: Path, *, source: str = "", workers: int | None = None
) -> Iterator[Progress]:
    """Write a data set to `data_dir/NAME/VERSION`.

    What cannot be used is left out and named in the set's problems: a picture that is no picture or
    broken, a box outside of its picture.

    Args:
      data: the set, as a reader gives it.
      data_dir: where prepared sets are kept.
      source: where it was read from, for the record.
      workers: threads; one a core by default.

    Raises:
      FolderError: a set of that name is there already, or nothing of this one can be used.
    """
    tfds = import_tfds()
    builder = _builder(tfds, data, data_dir)
    if Path(builder.data_dir).exists():
        raise FolderError(f"{builder.data_dir}: is prepared already; remove it to prepare it anew")
    staging = data_dir / data.name / f".preparing-{VERSION}"
    _begin(staging, _fingerprint(data))
    shards = _divide(data)
    total, done = len(data.records), 0
    yield Progress(done, total, f"{len(shards)} shards")
    stop = threading.Event()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            jobs = {
                pool.submit(_stage, builder.info.features, data, shard, staging, stop): shard
                for shard in shards
            }
            for job in as_completed(jobs):
                job.result()
                done += len(jobs[job].records)
                yield Progress(done, total, f"shard of {jobs[job].split}")
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    kept = _kept(data, shards, staging)
    if not kept.records:
        raise FolderError(f"{data.name}: no picture can be used; {kept.problems[0]}")
    builder.finish = lambda folder: write_index(
        folder, kept, {"source": source, "version": VERSION, "format": "array_record"}
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloads, and there are none
        builder.download_and_prepare(
            download_dir=str(staging / "downloads"), file_format="array_record"
        )
    shutil.rmtree(staging)
    yield Progress(total, total, f"{len(kept.records)} of {total} in {builder.data_dir}")


def _builder(tfds: Any, data: DataSet, data_dir: Path) -> Any:
    """Make the set's builder, which puts what `prepare` has written in its place."""
    version = tfds.core.Version(VERSION)

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg, misc, name-defined, unused-ignore]
        VERSION = version
        RELEASE_NOTES = {str(version): "As jaxadv prepares it."}  # noqa: RUF012
        name = data.name
        code_path = (
            None  # where checksums of downloads would lie; finding it needs one more package
        )

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self, features=features(tfds, data), disable_shuffling=True
            )

        def _shard_iterators_per_split(self, _: Any) -> Any:
            raise NotImplementedError("shards are staged by jaxadv.data.builders.prepare")

        def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
            staging = data_dir / data.name / f".preparing-{VERSION}"
            infos = []
            for split in dict.fromkeys(record.split for record in data.records):
                template = self._get_filename_template(split_name=split)
                lengths, size = [], 0
                staged = [
                    (path, length)
                    for shard in _divide(data)
                    if shard.split == split
                    for path, length in [(_path(staging, shard), _length(staging, shard))]
                    if length
                ]
                for number, (path, length) in enumerate(staged):
                    place = template.sharded_filepath(shard_index=number, num_shards=len(staged))
                    _link(path, Path(place))
                    lengths.append(length)
                    size += path.stat().st_size
                if lengths:
                    infos.append(
                        tfds.core.SplitInfo(
                            name=split,
                            shard_lengths=lengths,
                            num_bytes=size,
                            filename_template=template,
                        )
                    )
            self.info.set_splits(tfds.core.splits.SplitDict(infos))
            self.finish(Path(self.data_dir))

    return Builder(data_dir=str(data_dir), file_format="array_record")


def features(tfds: Any, data: DataSet) -> Any:
    """Describe the records: only what the set has; `known` names what is known of the record."""
    kinds = tfds.features
    classes = kinds.ClassLabel(names=list(data.classes)) if data.classes else None
    words = kinds.ClassLabel(names=list(data.tags)) if data.tags else None
    first = data.records[0]
    described: dict[str, Any] = {"id": kinds.Text(), "known": kinds.Sequence(kinds.Text())}
    if isinstance(first.picture, np.ndarray):
        described["features"] = kinds.Tensor(shape=first.picture.shape, dtype=np.float32)
    else:
        described["image"] = kinds.Image(shape=(None, None, 3))
    if any(record.captions is not None for record in data.records):
        described["captions"] = kinds.Sequence(kinds.Text())
    if classes is not None:
        described["labels"] = kinds.Sequence(classes)
    if isinstance(first.tags, np.ndarray):
        described["weights"] = kinds.Tensor(shape=first.tags.shape, dtype=np.float32)
    elif words is not None:
        described["tags"] = kinds.Sequence(words)
    if any(record.boxes is not None for record in data.records):
        box = {
            "label": kinds.Text(),
            **{k: kinds.Scalar(np.float32) for k in ("left", "top", "right", "bottom")},
        }
        described["boxes"] = kinds.Sequence(box)
    return kinds.FeaturesDict(described)


# ---------------------------------------------------------------- shards


def _divide(data: DataSet) -> list[_Shard]:
    shards = []
    for split in dict.fromkeys(record.split for record in data.records):
        some = tuple(record for record in data.records if record.split == split)
        for number, start in enumerate(range(0, len(some), SHARD)):
            shards.append(_Shard(split, number, some[start : start + SHARD]))
    return shards


def _path(staging: Path, shard: _Shard) -> Path:
    return staging / f"{shard.split}-{shard.number:05d}"


def _notes(staging: Path, shard: _Shard) -> dict[str, Any]:
    path = _path(staging, shard).with_suffix(".json")
    notes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notes


def _length(staging: Path, shard: _Shard) -> int:
    return len(_notes(staging, shard)["kept"])


def _begin(staging: Path, fingerprint: str) -> None:
    """Go on with what is staged if it is of the same pictures and annotations, else begin anew."""
    mark = staging / "of"
    if mark.is_file() and mark.read_text() == fingerprint:
        return
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        mark.write_text(fingerprint)
    except OSError as problem:
        raise FolderError(f"{staging}: cannot be written ({problem.strerror})") from None


def _fingerprint(data: DataSet) -> str:
    digest = hashlib.sha256(repr((data.name, data.classes, data.tags, SHARD)).encode())
    for record, line in zip(data.records, record_lines(data, data.records), strict=True):
        digest.update(line.encode())
        if isinstance(record.picture, Path):
            status = record.picture.stat()
            digest.update(f"{record.picture} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _stage(
    described: Any, data: DataSet, shard: _Shard, staging: Path, stop: threading.Event
) -> None:
    """Write a shard, unless it is there; beside it, which records it has, and what is wrong."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    path = _path(staging, shard)
    notes = path.with_suffix(".json")
    if notes.is_file():
        return
    serializer = ExampleSerializer(described.get_serialized_info())
    kept: list[int] = []
    problems: list[str] = []
    changed: dict[int, list[Box]] = {}
    scratch = path.with_suffix(".part")
    writer = ArrayRecordWriter(str(scratch), "group_size:1,uncompressed")
    try:
        for number, record in enumerate(shard.records):
            if stop.is_set():
                return
            try:
                encoded, size = _encode(record)
            except (ImageError, FolderError) as problem:
                problems.append(str(problem))
                continue
            inside = _inside(record, size, problems)
            if inside != record:
                changed[number] = list(inside.boxes or ())
            example = described.encode_example(_fields(described, data, inside, encoded))
            # in one order of fields, so that a set is the same whoever writes it
            written = serializer.get_tf_example(example).SerializeToString(deterministic=True)
            writer.write(written)
            kept.append(number)
    finally:
        writer.close()
    os.replace(scratch, path)
    scratch.write_text(json.dumps({"kept": kept, "problems": problems, "boxes": changed}))
    os.replace(scratch, notes)


def _encode(record: Record) -> tuple[Any, tuple[int, int] | None]:
    """A record's picture as it is stored, checked to be whole; width and height of it upright."""
    picture = record.picture
    if isinstance(picture, np.ndarray):
        return picture, None
    if isinstance(picture, Path):
        name, contents = str(picture), read_bytes(picture)
    else:
        name, given = picture.name, picture.read()
        contents = given if isinstance(given, bytes) else _png(given)
    height, width = decode_image(contents, name).shape[:2]
    return contents, (width, height)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _inside(record: Record, size: tuple[int, int] | None, problems: list[str]) -> Record:
    """Leave out boxes that are not in the picture; name them."""
    if record.boxes is None or size is None:
        return record
    width, height = size
    kept = []
    for box in record.boxes:
        if (
            -SLACK <= box.left < box.right <= width + SLACK
            and -SLACK <= box.top < box.bottom <= height + SLACK
        ):
            kept.append(box)
        else:
            place = ", ".join(f"{side:g}" for side in box[1:])
            problems.append(
                f"{record.id}: a box of {box.label} at {place} is outside of its {width} x {height}"
            )
    return record if len(kept) == len(record.boxes) else record._replace(boxes=tuple(kept))


def _fields(described: Any, data: DataSet, record: Record, encoded: Any) -> dict[str, Any]:
    """A record as the builder's features want it; `known` says what is absent, not empty."""
    values: dict[str, Any] = {
        "captions": record.captions,
        "labels": record.labels,
        "tags": record.tags,
        "boxes": record.boxes,
    }
    known = [key for key, value in values.items() if value is not None]
    fields: dict[str, Any] = {"id": record.id, "known": known}
    fields["features" if "features" in described else "image"] = encoded
    if "captions" in described:
        fields["captions"] = list(record.captions or ())
    if "labels" in described:
        fields["labels"] = list(record.labels or ())
    if "weights" in described:
        fields["weights"] = record.tags
    elif "tags" in described:
        fields["tags"] = [] if record.tags is None else [str(tag) for tag in record.tags]
    if "boxes" in described:
        fields["boxes"] = [box._asdict() for box in record.boxes or ()]
    return fields


def _kept(data: DataSet, shards: list[_Shard], staging: Path) -> DataSet:
    """The set as it is prepared: without what could not be used."""
    kept: dict[str, Record] = {}
    problems = list(data.problems)
    for shard in shards:
        notes = _notes(staging, shard)
        problems += notes["problems"]
        changed = {int(n): tuple(Box(*b) for b in boxes) for n, boxes in notes["boxes"].items()}
        for n in notes["kept"]:
            record = shard.records[n]
            kept[record.id] = record._replace(boxes=changed[n]) if n in changed else record
    records = [kept[record.id] for record in data.records if record.id in kept]
    selections = {
        name: left
        for name, ids in data.selections.items()
        if (left := tuple(i for i in ids if i in kept))
    }
    return data._replace(
        records=tuple(records), selections=selections, problems=tuple(dict.fromkeys(problems))
    )


def _link(path: Path, place: Path) -> None:
    """Put a staged shard in its place; it also stays where it is, in case this is killed now."""
    try:
        os.link(path, place)
    except OSError:  # a file system without links
        shutil.copyfile(path, place)
