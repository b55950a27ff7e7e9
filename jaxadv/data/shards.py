"""The records of a prepared set, read from the shards that TFDS has written.

TFDS's builder of a folder imports whatever code the folder's `features.json` names. So no builder
sees a folder that is read here: names of shards come from `dataset_info.json`, and records are
`tf.train.Example`s, which hold numbers and bytes alone.
"""

import bisect
import itertools
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.data.images import ImageError
from jaxadv.data.records import FolderError
from jaxadv.formats.errors import FormatError, quoted
from jaxadv.formats.files import check_file
from jaxadv.formats.text import parse_json, read_json
from jaxadv.formats.values import ValueFault, as_text

INFO, FEATURES = "dataset_info.json", "features.json"
FORMAT = "array_record"

_OWN = re.compile(r"tensorflow_datasets\.core\.features(\.\w+)+", re.ASCII)
_NAMED = ("pythonClassName", "python_class_name", "type")  # as protobuf and older versions write it


class Shard(NamedTuple):
    """A file of records, and how many it has."""

    path: Path
    length: int


def damaged(folder: Path, reason: object) -> FolderError:
    """Say that a prepared set as a whole cannot be used, and what to do."""
    return FolderError(
        f"{folder}: a broken prepared set ({reason}); remove it and prepare it again"
    )


def check_features(folder: Path) -> set[str]:
    """Refuse a set whose `features.json` names other code than TFDS's own features.

    Returns the names of what a record has.

    Raises:
      FolderError: it does, or is not as TFDS writes it.
    """
    try:
        described = read_json(folder / FEATURES)
        pending = [described]
        while pending:
            value = pending.pop()
            if isinstance(value, list):
                pending += value
            elif isinstance(value, dict):
                for key, inner in value.items():
                    if key in _NAMED and not isinstance(inner, dict):
                        _check_own(folder, inner)
                    if key == "json" and isinstance(inner, str):  # JSON inside of JSON
                        inner = parse_json(inner, FEATURES)
                    pending.append(inner)
        return set(described["featuresDict"]["features"])
    except FormatError as problem:
        raise damaged(folder, problem) from None
    except (KeyError, TypeError):
        raise damaged(folder, f"{FEATURES} is not laid out as TFDS writes it") from None


def _check_own(folder: Path, name: object) -> None:
    if not isinstance(name, str) or _OWN.fullmatch(name) is None:
        raise damaged(
            folder,
            f"{FEATURES} names the code {quoted(name)}, and only tensorflow_datasets' own features "
            "are accepted",
        )


def read_shards(folder: Path) -> dict[str, tuple[Shard, ...]]:
    """Read which shards each split has; all must be there.

    Raises:
      FolderError: one is missing, the description is damaged, or the set is in another format.
    """
    try:
        info = read_json(folder / INFO)
        written = as_text(info.get("fileFormat"), "fileFormat")
        if written != FORMAT:
            raise FolderError(
                f"{folder}: prepared as {quoted(written)}, which only TensorFlow reads; "
                f"prepare it again with file_format='{FORMAT}'"
            )
        name = as_text(info["name"], "name")
        splits = {
            as_text(split["name"], "name"): [_length(one) for one in split.get("shardLengths", [])]
            for split in info["splits"]
        }
        found = {
            split: tuple(
                Shard(_path(folder, f"{name}-{split}.{FORMAT}-{n:05d}-of-{len(lengths):05d}"), one)
                for n, one in enumerate(lengths)
            )
            for split, lengths in splits.items()
        }
        for shard in itertools.chain.from_iterable(found.values()):
            check_file(shard.path)
    except (FormatError, ValueFault) as problem:
        raise damaged(folder, problem) from None
    except (AttributeError, KeyError, TypeError):
        raise damaged(folder, f"{INFO} is not laid out as TFDS writes it") from None
    return found


def _length(value: Any) -> int:
    """A number of records: protobuf writes numbers of 64 bits as texts."""
    text = as_text(value, "shardLengths")
    if re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) is None:
        raise ValueFault(f"shardLengths: not a number of records: {quoted(text)}")
    return int(text)


def _path(folder: Path, name: str) -> Path:
    if "/" in name or "\0" in name:
        raise ValueFault(f"no name of a file: {quoted(name)}")
    return folder / name


class Fields:
    """What a record holds, by name; all of it are lists."""

    def __init__(self, record: bytes) -> None:
        from tensorflow_datasets.proto import tf_example_pb2

        self._fields = tf_example_pb2.Example.FromString(record).features.feature

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def contents(self, name: str) -> list[bytes]:
        """Return bytes; none where there is no such field."""
        return list(self._fields[name].bytes_list.value) if name in self else []

    def texts(self, name: str) -> list[str]:
        """Return texts; none where there is no such field.

        Raises:
          ValueError: not UTF-8.
        """
        return [text.decode() for text in self.contents(name)]

    def wholes(self, name: str) -> list[int]:
        """Return whole numbers; none where there is no such field."""
        return list(self._fields[name].int64_list.value) if name in self else []

    def numbers(self, name: str) -> list[float]:
        """Return numbers; none where there is no such field."""
        return list(self._fields[name].float_list.value) if name in self else []

    @property
    def id(self) -> str:
        """The record's id: a set's own, or what TFDS's COCO and VOC have."""
        if "id" in self:
            return self.texts("id")[0]
        if "image/id" in self:
            return f"coco-{self.wholes('image/id')[0]}"
        return Path(self.texts("image/filename")[0]).stem


class Source:
    """Reads single records, from several threads; a shard is opened when it is first needed."""

    def __init__(self, folder: Path, shards: dict[str, tuple[Shard, ...]]) -> None:
        self._folder, self._shards = folder, shards
        self._ends = {
            split: list(itertools.accumulate(shard.length for shard in some))
            for split, some in shards.items()
        }
        self._readers: dict[Path, Any] = {}
        self._lock = threading.Lock()

    def read(self, split: str, number: int, wanted: str | None = None) -> Fields:
        """Read a record by its place in a split.

        Args:
          split: the split.
          number: of the record in it, from 0.
          wanted: the id that it must have.

        Raises:
          ImageError: this record is damaged.
          FolderError: its shard is, or holds other records.
        """
        ends = self._ends[split]
        which = bisect.bisect_right(ends, number)
        shard = self._shards[split][which]
        place = number - (ends[which] - shard.length)
        reader = self._reader(shard)
        name = f"record {number:,} of {split}" if wanted is None else wanted
        try:
            fields = Fields(reader.read([place])[0])
            found = fields.id
        except Exception:  # of damage, array_record and protobuf raise what they like
            raise ImageError(
                f"{name}: damaged in {shard.path}; prepare the set again to have it back"
            ) from None
        if wanted not in (None, found):
            raise damaged(
                self._folder, f"{shard.path.name} has {quoted(found)} in place of {quoted(wanted)}"
            )
        return fields

    def _reader(self, shard: Shard) -> Any:
        with self._lock:
            if shard.path not in self._readers:
                self._readers[shard.path] = self._open(shard)
            return self._readers[shard.path]

    def _open(self, shard: Shard) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            check_file(shard.path)
            reader = ArrayRecordReader(
                str(shard.path), options="readahead_buffer_size:0", file_reader_buffer_size=32768
            )
            length = reader.num_records()
        except FormatError as problem:
            raise damaged(self._folder, problem) from None
        except Exception:
            raise damaged(self._folder, f"{shard.path.name} cannot be read") from None
        if length != shard.length:
            raise damaged(
                self._folder, f"{shard.path.name} has {length:,} of {shard.length:,} records"
            )
        return reader
