"""Vocabularies as captioners' authors distribute them, to the numbers of `Vocabulary`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from jaxadv.data.vocabulary import UNKNOWN, Vocabulary
from jaxadv.porting.errors import PortingError

MORE_THAN = 5  # ruotianluo's `count_thr`: rarer words are UNK


def read_vocabulary(path: Path) -> Vocabulary:
    """Read the words of a captioner, in the order of its scores.

    Accepted are `cocotalk.json` (`ix_to_word`), plain JSON (`{"1": "word", ...}` or a list) and
    `dataset_coco.json` (the words of its sentences seen more than 5 times, in the order in which
    they come, then UNK: ruotianluo's rule).

    Raises:
      PortingError: another file, or numbers that are not 1, 2, 3, ...
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise PortingError(f"{path}: cannot be read ({problem.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise PortingError(f"{path}: not JSON ({problem})") from None
    if isinstance(content, dict) and "images" in content and "ix_to_word" not in content:
        words = _count(content, path)
    else:
        words = _listed(content, path)
    if not words or not all(isinstance(word, str) and word for word in words):
        raise PortingError(f"{path}: not a vocabulary; every word must be a text")
    return Vocabulary(tuple(words))


def _listed(content: Any, path: Path) -> list[Any]:
    if isinstance(content, dict):
        content = content.get("ix_to_word", content)
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise PortingError(f"{path}: not a vocabulary; give ix_to_word, number: word, or a list")
    expected = [str(number) for number in range(1, len(content) + 1)]
    if set(content) != set(expected):
        raise PortingError(f"{path}: words must be numbered from 1 to {len(content)} without gaps")
    return [content[number] for number in expected]


def _count(content: dict[str, Any], path: Path) -> list[str]:
    try:
        counts = Counter(
            word
            for image in content["images"]
            for sentence in image["sentences"]
            for word in sentence["tokens"]
        )
    except (KeyError, TypeError) as problem:
        raise PortingError(f"{path}: not laid out as dataset_coco.json ({problem!r})") from None
    kept = [word for word, count in counts.items() if count > MORE_THAN]
    return kept if len(kept) == len(counts) else [*kept, UNKNOWN]
