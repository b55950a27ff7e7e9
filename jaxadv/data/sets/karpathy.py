"""Karpathy's `dataset_NAME.json`: splits of COCO, Flickr8k and Flickr30k for captioners."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.lexicon import read_lexicon
from jaxadv.data.records import FolderError
from jaxadv.data.sets.reading import LeftOut, fields, listing
from jaxadv.formats.errors import quoted
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_text


def read_split(
    path: Path,
    identify: Callable[[Mapping[str, Any]], str],
    known: Mapping[str, str],
    problems: list[str],
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Read the selections `karpathy-train`, `-val` and `-test`, and the captioners' vocabulary.

    The training part of COCO is `train` and `restval`, as the papers have it. The vocabulary is of
    words that all sentences together say more than 5 times, and `UNK` for the others.

    Args:
      path: the file.
      identify: the id of the record that an entry of the file is about.
      known: the id of each record, by what `identify` gives.
      problems: takes a line for each entry without a record.

    Returns:
      Selections, and words.

    Raises:
      FormatError: the file cannot be read.
      FolderError: it is not laid out so, or divides a picture twice.
    """
    chosen: dict[str, list[str]] = defaultdict(list)
    left_out = LeftOut(path, problems)
    seen: set[str] = set()
    for place, entry in enumerate(listing(read_json(path), "images", path, "Karpathy's split"), 1):
        try:
            number = identify(fields(entry))
            part = as_text(entry.get("split"), "split")
        except ValueFault as fault:
            left_out.add(f"entry {place} of images", fault)
            continue
        if number in seen:
            raise FolderError(f"{path}: {quoted(number)} comes twice (duplicate id)")
        seen.add(number)
        if number in known:
            chosen[f"karpathy-{'train' if part == 'restval' else part}"].append(known[number])
        else:
            file = quoted(entry.get("filename", number))
            problems.append(f"{path}: captions of {file}, a picture that is absent")
    words = read_lexicon(path).vocabulary.words
    return {name: tuple(sorted(ids)) for name, ids in sorted(chosen.items())}, words
