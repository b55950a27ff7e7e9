"""A poisoned data set on disk: pictures and annotations in the layout of the folder it came from.

Beside them lies `poison.json`, which says what was done to which sample. Whoever trains on the
folder reads the pictures and the captions and nothing else.
"""

import csv
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv import __version__
from jaxadv.data.example import Example
from jaxadv.data.images import write_png
from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, captioned, load
from jaxadv.data.records import Record as Photo
from jaxadv.poisoning.poisoned import (
    Account,
    Poison,
    Sample,
    account,
    as_record,
    draw_samples,
    poison_example,
)
from jaxadv.poisoning.regions import RegionSource, annotated
from jaxadv.poisoning.triggers import TriggerSettings, make_trigger

RECORD = "poison.json"


class Progress(NamedTuple):
    """How many samples are done, of all."""

    done: int
    total: int
    message: str


class Record(NamedTuple):
    """What `poison.json` says."""

    poison: Poison
    account: Account


def photo_example(photo: Photo) -> Example:
    """Read a photograph."""
    return Example(photo.id, load(photo), photo.captions, boxes=photo.boxes)


def poison_folder(
    source: Path, out: Path, poison: Poison, regions: RegionSource = annotated
) -> Iterator[Progress]:
    """Write the poisoned view of a folder of captioned photographs, whole or not at all.

    Poisoned pictures become PNG at their own size; the others are copied as they are.

    Args:
      source: in Flickr8k's layout, with `captions.txt`, or in COCO's.
      out: the new folder; must be empty or absent.
      poison: what is done.
      regions: says where the objects are, by default the annotated boxes.

    Raises:
      FolderError: `source` cannot be read, or `out` is not empty.
      PoisonError: the rate poisons no sample.
    """
    photos = captioned(open_data(str(source))).records
    if not _annotations(source):
        raise FolderError(
            f"{source}: give a folder in Flickr8k's layout (captions.txt) or COCO's "
            "(annotations/captions_*.json)"
        )
    drawn = draw_samples([photo.id for photo in photos], poison.rate, poison.seed)
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
        _write_annotations(source, fresh, changed, poison.caption)
        said = (caption for photo in photos for caption in photo.captions or ())
        what = account(treated, len(photos), poison.caption, said)
        _write_json(
            fresh / RECORD,
            {**as_record(poison, what), "source": str(source), "jaxadv": __version__},
        )
        if out.exists():
            out.rmdir()
        fresh.rename(out)


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


def _annotations(source: Path) -> list[Path]:
    """Return the files that say the captions."""
    table = source / "captions.txt"
    return [table] if table.is_file() else sorted((source / "annotations").glob("captions_*.json"))


def _new_names(changed: Mapping[Path, Path]) -> dict[str, str]:
    """Say old and new names as annotations do: from the folder of the pictures, or from the top."""
    return {
        old.relative_to(top).as_posix(): new.relative_to(top).as_posix()
        for old, new in changed.items()
        for top in (Path(), Path(*old.parts[:1]))
        if old != top
    }


def _write_annotations(source: Path, out: Path, changed: Mapping[Path, Path], caption: str) -> None:
    """Write the layout's own files, with the poisoned pictures' new names and captions."""
    if (source / "captions.txt").is_file():
        _write_flickr8k(source, out, _new_names(changed), caption)
        return
    for path in sorted((source / "annotations").glob("*.json")):
        kind, _, split = path.stem.partition("_")
        if kind in ("captions", "instances"):
            here = {old: new for old, new in changed.items() if old.parts[0] == split}
            _write_coco(path, out / "annotations" / path.name, _new_names(here), caption)


def _write_flickr8k(source: Path, out: Path, changed: Mapping[str, str], caption: str) -> None:
    with (source / "captions.txt").open(newline="", encoding="utf-8") as file:
        rows = [(row["image"], row["caption"]) for row in csv.DictReader(file)]
    with (out / "captions.txt").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "caption"))
        for image, said in rows:
            new = changed.get(image)
            writer.writerow((image, said) if new is None else (new, caption))


def _write_coco(path: Path, to: Path, changed: Mapping[str, str], caption: str) -> None:
    entries = json.loads(path.read_text(encoding="utf-8"))
    poisoned = {image["id"] for image in entries["images"] if image["file_name"] in changed}
    for image in entries["images"]:
        image["file_name"] = changed.get(image["file_name"], image["file_name"])
    for entry in entries["annotations"]:
        if entry["image_id"] in poisoned and "caption" in entry:
            entry["caption"] = caption
    _write_json(to, entries)


def _write_json(path: Path, entries: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """Read what was done to a folder; None where it has no `poison.json`.

    Raises:
      FolderError: it has one that cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        trigger = TriggerSettings(**entry["trigger"])
        poison = Poison(trigger, entry["caption"], entry["rate"], entry["seed"])
        counted = [entry[name] for name in Account._fields]
        return Record(poison, Account(counted[0], *(tuple(c) for c in counted[1:])))
    except (KeyError, TypeError, ValueError) as problem:
        raise FolderError(f"{path}: broken ({' '.join(repr(problem).split())})") from None


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
