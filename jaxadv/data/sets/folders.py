"""Any folder of pictures, in whichever of the known layouts it is."""

import os
from pathlib import Path

from jaxadv.data.records import DataSet, FolderError
from jaxadv.data.sets import annotated, coco, flickr, hashing, yolo
from jaxadv.data.sets.layout import find

LAYOUTS = (
    "COCO's (annotations/captions_*.json or instances_*.json), YOLO's (classes.yaml or data.yaml, "
    "images/ and labels/, also in train/ and the like), Flickr's (a .token file), a .csv, .json or "
    ".jsonl with pictures, pictures alone, or .mat or .h5 files of image-text pairs"
)


def check_folder(folder: Path) -> None:
    """Check that a folder is one.

    Raises:
      FolderError: it is missing, or a file.
    """
    if not os.path.isdir(folder):
        reason = "a file, where a folder is expected" if os.path.exists(folder) else None
        raise FolderError(f"{folder}: {reason or 'no such folder'}")


def read(folder: Path) -> DataSet:
    """Read a folder, sorted by id.

    Raises:
      InputError: it is missing, in no known layout, or broken.
    """
    check_folder(folder)
    splits = coco.splits_of(folder)
    if splits:
        return coco.read(folder, folder.resolve().name, splits)
    if find(folder, *yolo.DESCRIPTIONS) and yolo.image_folders(folder):
        return yolo.read(folder)
    for name, tokens in flickr.TOKENS.items():
        if find(folder, *tokens):
            return flickr.read(folder, name)._replace(expected={})
    if hashing.files(folder):
        return hashing.read(folder, folder.resolve().name)
    notes = annotated.annotations(folder)
    if notes is None and not annotated.pictures(folder):
        raise FolderError(f"{folder}: in no known layout; known are {LAYOUTS}")
    return annotated.read(folder)
