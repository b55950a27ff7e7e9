"""Prepare any data set as a `tensorflow_datasets` builder does, without TensorFlow.

The pictures stay as encoded as they were; pixels become PNGs, which lose nothing. A set is written
shard by shard, by several threads, each shard under a temporary name first: what was finished when
a job was killed is not done again. Only when all are there they become a set that
`tfds.builder_from_directory` opens, in one rename.
"""

import contextlib
import io
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.data.index import write_index
from jaxadv.data.records import DataSet, FolderError
from jaxadv.data.staging import (
    begin,
    divide,
    fingerprint,
    read_notes,
    stage,
    staged_path,
    what_is_kept,
)
from jaxadv.formats.errors import quoted
from jaxadv.progress import Progress

VERSION = "1.0.0"
MOST_NAME = 40  # characters of a split


def import_tfds() -> Any:
    """Import `tensorflow_datasets`, which is an extra.

    Raises:
      FolderError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError:
        raise FolderError("prepared sets need: pip install 'jaxadv[data]'") from None
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
    with _writing(data_dir / data.name):
        yield from _prepare(import_tfds(), data, data_dir, source, workers)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say in a line what cannot be written, such as on a full disk."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or "the disk may be full"
        raise FolderError(
            f"{folder}: cannot be written ({reason}); prepared again, it resumes from there"
        ) from None


def _prepare(
    tfds: Any, data: DataSet, data_dir: Path, source: str, workers: int | None
) -> Iterator[Progress]:
    if not data.records:
        raise FolderError(f"{data.name}: has no pictures")
    for split in {record.split for record in data.records}:  # it is part of the names of files
        if not 0 < len(split) <= MOST_NAME or "/" in split or not split.isprintable():
            raise FolderError(
                f"{data.name}: a split named {quoted(split)}; a prepared set's split has a name of "
                f"at most {MOST_NAME} characters, without slashes"
            )
    place = data_dir / data.name / VERSION
    if place.exists():  # before a builder sees what it holds
        raise FolderError(f"{place}: is prepared already; remove it to prepare it again")
    builder = _builder(tfds, data, data_dir)
    staging = data_dir / data.name / f".preparing-{VERSION}"
    begin(staging, fingerprint(data))
    shards = divide(data)
    total, done = len(data.records), 0
    yield Progress(done, total, f"{len(shards)} shards")
    stop = threading.Event()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            jobs = {
                pool.submit(stage, builder.info.features, data, shard, staging, stop): shard
                for shard in shards
            }
            for job in as_completed(jobs):
                job.result()
                done += len(jobs[job].records)
                yield Progress(done, total, f"shard of {jobs[job].split}")
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    kept = what_is_kept(data, shards, staging)
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
                    (staged_path(staging, shard), length)
                    for shard in divide(data)
                    if shard.split == split
                    if (length := len(read_notes(staging, shard)["kept"]))
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


def _link(path: Path, place: Path) -> None:
    """Put a staged shard in its place; it also stays where it is, in case this is killed now."""
    try:
        os.link(path, place)
    except OSError:  # a file system without links
        shutil.copyfile(path, place)
