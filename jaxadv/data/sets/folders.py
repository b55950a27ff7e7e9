"""Any folder of pictures, in whichever of the known layouts it is."""

from pathlib import Path

from jaxadv.data.records import DataSet, FolderError
from jaxadv.data.sets import annotated, coco, flickr, hashing, yolo
from jaxadv.data.sets.layout import find

LAYOUTS = (
    "COCO's (annotations/captions_*.json or instances_*.json), YOLO's (classes.yaml, images/, "
    "labels/), Flickr's (a .token file), a .csv, .json or .jsonl beside pictures, pictures alone, "
    "or .mat or .h5 files of image-text pairs"
)


def read(folder: Path) -> DataSet:
    """Read a folder, sorted by id.

    Raises:
      FolderError: it is missing, in no known layout, or broken.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such folder")
    splits = coco.splits_of(folder)
    if splits:
        return coco.read(folder, folder.resolve().name, splits)
    if find(folder, *yolo.DESCRIPTIONS) and (folder / "images").is_dir():
        return yolo.read(folder)
    for name, tokens in flickr.TOKENS.items():
        if find(folder, *tokens):
            return flickr.read(folder, name)._replace(expected={})
    if hashing.files(folder):
        return hashing.read(folder, folder.resolve().name)
    try:
        return annotated.read(folder)
    except FolderError as problem:
        if annotated.annotations(folder) is None:
            raise FolderError(f"{folder}: in no known layout; known are {LAYOUTS}") from None
        raise problem
