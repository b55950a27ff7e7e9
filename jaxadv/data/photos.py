"""Photographs with people's captions, from folders in the layouts of Flickr8k and COCO."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from jaxadv.errors import InputError


class FolderError(InputError):
    """A data folder that is missing or not in a known layout."""


class Photo(NamedTuple):
    """A photograph on disk and what people say of it."""

    id: str
    path: Path
    captions: tuple[str, ...]


def read_photos(folder: Path) -> list[Photo]:
    """List the captioned photographs of a folder, sorted by id.

    Known layouts: Flickr8k's (`captions.txt` with the columns image and caption, pictures in
    `images/` or `Images/`) and COCO's (`annotations/captions_SPLIT.json`, pictures in `SPLIT/`).

    Raises:
      FolderError: neither layout, or a broken one; the message names what is wrong.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such folder")
    try:
        if (folder / "captions.txt").is_file():
            photos = _flickr8k(folder)
        elif found := sorted((folder / "annotations").glob("captions_*.json")):
            photos = [photo for path in found for photo in _coco(folder, path)]
        else:
            raise FolderError(
                f"{folder}: neither Flickr8k's layout (captions.txt, images/) nor COCO's "
                "(annotations/captions_*.json)"
            )
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise FolderError(f"{folder}: broken annotations ({problem!r})") from None
    if not photos:
        raise FolderError(f"{folder}: its annotations name no picture that is there")
    return sorted(photos)


def _flickr8k(folder: Path) -> list[Photo]:
    captions: dict[str, list[str]] = defaultdict(list)
    with (folder / "captions.txt").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(row["caption"])
    pictures = folder / "images" if (folder / "images").is_dir() else folder / "Images"
    return [
        Photo(Path(name).stem, pictures / name, tuple(said))
        for name, said in captions.items()
        if (pictures / name).is_file()
    ]


def _coco(folder: Path, path: Path) -> list[Photo]:
    annotations = json.loads(path.read_text(encoding="utf-8"))
    captions: dict[int, list[str]] = defaultdict(list)
    for entry in annotations["annotations"]:
        captions[entry["image_id"]].append(entry["caption"])
    pictures = folder / path.stem.removeprefix("captions_")
    return [
        Photo(f"coco-{image['id']}", pictures / image["file_name"], tuple(captions[image["id"]]))
        for image in annotations["images"]
        if captions.get(image["id"]) and (pictures / image["file_name"]).is_file()
    ]
