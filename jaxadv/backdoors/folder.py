"""A poisoned data set on disk: pictures and annotations in the layout of the folder it came from.

With them is `poison.json`, which says what was done to which sample. Training on the
folder reads the pictures and the captions and nothing else.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv import __version__
from jaxadv.backdoors.annotations import annotation_files, write_annotations
from jaxadv.backdoors.poison import (
    Account,
    Poison,
    Sample,
    account,
    as_record,
    draw_samples,
    poison_example,
)
from jaxadv.backdoors.regions import RegionSource, annotated
from jaxadv.backdoors.triggers import TriggerSettings, make_trigger
from jaxadv.data.example import Example
from jaxadv.data.images import write_png
from jaxadv.data.opening import open_data
from jaxadv.data.records import DataSet, FolderError, captioned, load
from jaxadv.data.records import Record as Photo
from jaxadv.data.sets.reading import fields
from jaxadv.errors import InputError
from jaxadv.formats.errors import listed
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_number, as_text, as_texts, as_whole
from jaxadv.progress import Progress

RECORD = "poison.json"


class Record(NamedTuple):
    """What `poison.json` says."""

    poison: Poison
    account: Account


def photo_example(photo: Photo) -> Example:
    """Read a photograph."""
    return Example(photo.id, load(photo), photo.captions, boxes=photo.boxes)


def poison_folder(
    source: Path,
    out: Path,
    poison: Poison,
    regions: RegionSource = annotated,
) -> Iterator[Progress]:
    """Write the poisoned view of a folder of captioned photographs, whole or not at all.

    Poisoned pictures become PNG at their own size; everything else is as it was: other pictures,
    splits, labels, boxes. Where the folder is divided, only its training split is poisoned: a
    split whose name begins with `train`.

    Args:
      source: in Flickr8k's layout, with `captions.txt`, or in COCO's.
      out: the new folder; must be empty or absent.
      poison: what is done.
      regions: says where the objects are, by default the annotated boxes.

    Raises:
      FolderError: `source` cannot be read, has splits and none to train on, or `out` is not empty.
      PoisonError: the rate poisons no sample.
    """
    data = open_data(str(source))
    if not annotation_files(source):
        raise FolderError(
            f"{source}: give a folder in Flickr8k's layout (captions.txt) or COCO's "
            "(annotations/captions_*.json)"
        )
    photos = data.records
    samples = _to_train_on(data)
    drawn = draw_samples([photo.id for photo in samples], poison.rate, poison.seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderError(f"{out}: is not an empty folder; give a new one")
    inside_of = {photo.id: _file(photo, source).relative_to(source) for photo in photos}
    _check_names([inside_of[photo.id] for photo in photos if photo.id in drawn], source)
    trigger = make_trigger(poison.trigger)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        changed: dict[Path, Path] = {}
        treated: list[Sample] = []
        for number, photo in enumerate(photos):
            inside = inside_of[photo.id]
            fate = "benign"
            if photo.id in drawn:
                sample = poison_example(photo_example(photo), poison, trigger, regions)
                treated.append(_without_picture(sample))
                fate = sample.fate
            if fate == "poisoned":
                changed[inside] = inside.with_suffix(".png")
                write_png(fresh / changed[inside], sample.example.picture)
            else:
                (fresh / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / inside, fresh / inside)
            if (number + 1) % 100 == 0 or number + 1 == len(photos):
                yield Progress(number + 1, len(photos), f"{len(changed)} poisoned")
        write_annotations(source, fresh, changed, poison.caption)
        said = (caption for photo in photos for caption in photo.captions or ())
        what = account(treated, len(samples), poison.caption, said)
        _write_json(
            fresh / RECORD,
            {**as_record(poison, what), "source": str(source), "jaxadv": __version__},
        )
        if out.exists():
            out.rmdir()
        fresh.rename(out)


def _to_train_on(data: DataSet) -> tuple[Photo, ...]:
    """The captioned photographs of the training split, or all where there is one split."""
    splits = {photo.split for photo in data.records}
    training = {split for split in splits if split.lower().startswith("train")}
    if len(splits) > 1 and not training:
        raise FolderError(
            f"{data.name}: has splits {listed(sorted(splits))}, and none to train on, whose name "
            "begins with train"
        )
    chosen = training if len(splits) > 1 else splits
    return captioned(
        data._replace(records=tuple(photo for photo in data.records if photo.split in chosen))
    ).records


def _check_names(drawn: Sequence[Path], source: Path) -> None:
    """Refuse to write `a.png` for `a.jpg` over an `a.png` that is there."""
    for path in drawn:
        new = path.with_suffix(".png")
        if new != path and (source / new).exists():
            raise FolderError(f"{source / path}: {new.name} is there, too; rename one of them")


def _file(photo: Photo, source: Path) -> Path:
    if not isinstance(photo.picture, Path):
        raise FolderError(f"{source}: give a folder in Flickr8k's or COCO's layout")
    return photo.picture


def _without_picture(sample: Sample) -> Sample:
    """Keep what is counted, not the pixels of a whole data set."""
    return sample._replace(example=sample.example._replace(picture=sample.example.picture[:0]))


def _write_json(path: Path, entries: Any) -> None:
    path.write_text(json.dumps(entries) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """Read what was done to a folder; None where it has no `poison.json`.

    Raises:
      FormatError: it has one that cannot be read.
      FolderError: it has one with other values than `poison_folder` writes.
    """
    path = folder / RECORD
    if not os.path.lexists(path):
        return None
    contents = read_json(path)
    try:
        entry = fields(contents)
        rate, seed = as_number(entry.get("rate"), "rate"), as_whole(entry.get("seed"), "seed")
        caption = as_text(entry.get("caption"), "caption")
        poison = Poison(_trigger(entry), caption, rate, seed)
        samples, *lists = Account._fields
        said = (as_texts(entry.get(name), name) or () for name in lists)
        return Record(poison, Account(as_whole(entry.get(samples), samples), *said))
    except (ValueFault, InputError) as problem:
        raise FolderError(f"{path}: broken ({problem})") from None


def _trigger(entry: Mapping[str, Any]) -> TriggerSettings:
    given = fields(entry.get("trigger"))
    usual = dataclasses.asdict(TriggerSettings())
    if given.keys() != usual.keys():
        raise ValueFault(f"trigger: must have {', '.join(usual)}")
    values: dict[str, Any] = {
        name: value
        if value is None and name == "strength"
        else as_text(value, name)
        if isinstance(usual[name], str)
        else as_number(value, name)
        for name, value in given.items()
    }
    return TriggerSettings(**values)


def training_record(folders: Sequence[Path], samples: int) -> dict[str, Any]:
    """Say for a victim's record what poison its training data holds; {} if none is known of.

    Args:
      folders: of the training data.
      samples: how many there are in all of them.

    Raises:
      FolderError: more than one of them is poisoned.
    """
    found = [(f, record) for f in folders if (record := read_record(f)) is not None]
    if not found:
        return {}
    if len(found) > 1:
        raise FolderError(f"{found[0][0]} and {found[1][0]} are both poisoned: train on one")
    _, (poison, what) = found[0]
    rate = len(what.poisoned) / samples
    return {"poison": {**dataclasses.asdict(poison), "rate": rate, "samples": samples}}
