"""Karpathy's `dataset_NAME.json`: splits of COCO, Flickr8k and Flickr30k for captioners."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxadv.data.sets.layout import laid_out_as, read_json
from jaxadv.porting.vocabulary import read_lexicon


def read_split(
    path: Path,
    identify: Callable[[dict[str, Any]], str],
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
    """
    chosen: dict[str, list[str]] = defaultdict(list)
    with laid_out_as("Karpathy's split", path):
        for entry in read_json(path)["images"]:
            number = identify(entry)
            part = {"restval": "train"}.get(entry["split"], entry["split"])
            if number in known:
                chosen[f"karpathy-{part}"].append(known[number])
            else:
                problems.append(
                    f"{path}: captions of {entry['filename']}, a picture that is absent"
                )
    words = read_lexicon(path).vocabulary.words
    return {name: tuple(sorted(ids)) for name, ids in sorted(chosen.items())}, words
