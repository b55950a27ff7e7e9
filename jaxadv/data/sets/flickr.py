"""Flickr8k and Flickr30k, from the owners' archives or as Kaggle passes them around.

The owners' Flickr8k has `Flickr8k.token.txt` and lists of its three parts; Flickr30k has
`results_20130124.token` and no parts. With either there may be Karpathy's
`dataset_flickr8k.json` or `dataset_flickr30k.json`. Kaggle's have `captions.txt`, or `results.csv`
with bars.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.data.sets.karpathy import read_split
from jaxadv.data.sets.layout import Download, find, make, need, picture_name, there
from jaxadv.data.sets.reading import LeftOut
from jaxadv.formats.errors import quoted
from jaxadv.formats.text import numbered_lines, read_csv, read_lines, read_text
from jaxadv.formats.values import ValueFault, as_text

FORMS = "https://forms.illinois.edu/sec/1713398 (8k), https://forms.illinois.edu/sec/229675 (30k)"
SPLIT = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
PICTURES = {
    "flickr8k": ("Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Images", "images"),
    "flickr30k": ("flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images",
                  "Images"),
}  # fmt: skip
TOKENS = {
    "flickr8k": ("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"),
    "flickr30k": ("results_20130124.token", "flickr30k/results_20130124.token"),
}
TABLES = ("captions.txt", "results.csv", "flickr30k_images/results.csv")
PARTS = {"train": "trainImages", "val": "devImages", "test": "testImages"}
EXPECTED = {
    "flickr8k": {"all": 8_091, "train": 6_000, "val": 1_000, "test": 1_000},
    "flickr30k": {
        "all": 31_783,
        "karpathy-train": 29_000,
        "karpathy-val": 1_014,
        "karpathy-test": 1_000,
    },
}


def needs(name: str) -> tuple[Download, ...]:
    """List what the set consists of."""
    eight = name == "flickr8k"
    texts = "Flickr8k_text.zip" if eight else "flickr30k.tar.gz"
    pictures = "Flickr8k_Dataset.zip" if eight else "flickr30k-images.tar.gz"
    return (
        Download(TOKENS[name][0], texts, FORMS),
        Download(PICTURES[name][0], pictures, FORMS),
        Download(f"dataset_{name}.json", "caption_datasets.zip", SPLIT, optional=True),
    )


def read(folder: Path, name: str) -> DataSet:
    """Read `flickr8k` or `flickr30k`.

    Raises:
      FolderError: files are missing or broken.
    """
    captions_wanted, pictures_wanted, _ = needs(name)
    tokens, table = find(folder, *TOKENS[name]), find(folder, *TABLES)
    problems: list[str] = []
    if tokens is not None:
        captions = _tokens(tokens, problems)
    elif table is not None:
        captions = _table(table, problems)
    else:
        captions = _tokens(need(folder, captions_wanted), problems)
    pictures = need(folder, pictures_wanted, *PICTURES[name])
    split = _parts(folder)
    records = there(
        [
            Record(Path(file).stem, pictures / file, tuple(said), split=split.get(file, "data"))
            for file, said in captions.items()
        ],
        problems,
    )
    problems += [
        f"{folder}: {quoted(file)} is of {part}, but has no captions"
        for file, part in split.items()
        if file not in captions
    ]
    selections: dict[str, tuple[str, ...]] = {}
    vocabulary = None
    karpathy = find(folder, f"dataset_{name}.json")
    if karpathy is not None:
        known = {Path(record.id).stem: record.id for record in records}
        selections, vocabulary = read_split(karpathy, _stem, known, problems)
    return make(
        name,
        folder,
        records,
        problems,
        vocabulary=vocabulary,
        selections=selections,
        expected=EXPECTED[name],
    )


def _stem(entry: Mapping[str, Any]) -> str:
    return Path(as_text(entry.get("filename"), "filename")).stem


def _tokens(path: Path, problems: list[str]) -> dict[str, list[str]]:
    """Read lines `picture.jpg#0 TAB caption`."""
    captions: dict[str, list[str]] = defaultdict(list)
    left_out = LeftOut(path, problems)
    for number, line in numbered_lines(path):
        place, tab, caption = line.partition("\t")
        file, mark, _ = place.rpartition("#")
        if tab and mark:
            _add(captions, file, caption, f"line {number}", left_out)
        else:
            left_out.add(
                f"line {number}", f"not picture#number, a tab and a caption: {quoted(line)}"
            )
    return captions


def _table(path: Path, problems: list[str]) -> dict[str, list[str]]:
    """Read Kaggle's table of pictures and captions, with commas or bars."""
    captions: dict[str, list[str]] = defaultdict(list)
    left_out = LeftOut(path, problems)
    if "|" not in read_text(path).partition("\n")[0]:
        table = read_csv(path)
        if not {"image", "caption"} <= set(table.columns):
            raise FolderError(f"{path}: not laid out as a table with columns image and caption")
        problems += table.problems
        for number, row in table.rows:
            _add(captions, row["image"], row["caption"], f"line {number}", left_out)
        return captions
    for number, line in numbered_lines(path)[1:]:
        # Kaggle's has a line without its second bar
        match = re.fullmatch(r"([^|]+)\|\s*\d+\s*\|?(.+)", line)
        if match is None:
            left_out.add(f"line {number}", f"not picture | number | caption: {quoted(line)}")
        else:
            _add(captions, match[1], match[2], f"line {number}", left_out)
    return captions


def _add(
    captions: dict[str, list[str]], file: str, caption: str, which: str, left_out: LeftOut
) -> None:
    try:
        captions[picture_name(file.strip())] += left_out.captions(caption.strip(), which) or ()
    except ValueFault as fault:
        left_out.add(which, fault)


def _parts(folder: Path) -> dict[str, str]:
    """Read which part each picture of Flickr8k is of; of the others none says it."""
    split: dict[str, str] = {}
    for part, stem in PARTS.items():
        path = find(folder, f"Flickr_8k.{stem}.txt", f"Flickr8k_text/Flickr_8k.{stem}.txt")
        for file in read_lines(path) if path else ():
            if split.setdefault(file, part) != part:
                raise FolderError(f"{path}: {quoted(file)} is of {split[file]} already")
    return split
