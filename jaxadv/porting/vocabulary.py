"""Vocabularies as captioners' authors distribute them, to the numbers of `Vocabulary`."""

import ast
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data.vocabulary import UNKNOWN, Vocabulary
from jaxadv.porting.errors import PortingError

MORE_THAN = 5  # ruotianluo's `count_thr`: rarer words are UNK

# im2txt's marks; that of rare words is not in its file, but the row behind those that are
_BEGIN, _END, _UNKNOWN = "<S>", "</S>", "<UNK>"
_COUNTED = re.compile(r"\S+ \d+")
_ESCAPE = r"\\(?:[\\'tnr]|x[0-9a-f]{2})"
_BYTES = re.compile(rf"""b'(?:[^'\\]|{_ESCAPE})*'|b"(?:[^"\\]|{_ESCAPE})*\"""")


class Lexicon(NamedTuple):
    """A captioner's words, and the rows of its tables that they are.

    ruotianluo's captioners begin and end a caption with row 0. Google's im2txt begins it with `<S>`
    and ends it with `</S>`, whose rows lie anywhere.

    Attributes:
      vocabulary: the words of all rows but `end`, in the order of the rows.
      begin: the row whose embedding begins a caption.
      end: the row whose score ends a caption.
    """

    vocabulary: Vocabulary
    begin: int = 0
    end: int = 0

    @property
    def scored(self) -> np.ndarray:
        """Row of every number's score; i64[V]."""
        rows = np.arange(self.vocabulary.size)
        return np.concatenate([[self.end], rows[rows != self.end]])

    @property
    def embedded(self) -> np.ndarray:
        """Row of every number's embedding; i64[V]. A word `<S>` has that of number 0, too."""
        return np.concatenate([[self.begin], self.scored[1:]])

    def filled(self, size: int) -> "Lexicon":
        """Name the rows without a word, of which im2txt's tables have some, up to `size` rows.

        They stay, as they are part of the softmax. Nobody types `<unused-11519>` by accident.
        """
        unused = tuple(f"<unused-{row}>" for row in range(self.vocabulary.size, size))
        return self._replace(vocabulary=Vocabulary(self.vocabulary.words + unused))


def read_lexicon(path: Path) -> Lexicon:
    """Read the words of a captioner, in the order of its scores.

    Accepted are `cocotalk.json` (`ix_to_word`), plain JSON (`{"1": "word", ...}` or a list),
    `dataset_coco.json` (the words of its sentences seen more than 5 times, in the order in which
    they come, then UNK: ruotianluo's rule) and im2txt's `word_counts.txt`.

    Raises:
      PortingError: another file, or numbers that are not 1, 2, 3, ...
    """
    text = _text(path)
    if path.suffix.lower() == ".txt":
        return _word_counts(text, path)
    content = _json(text, path)
    if isinstance(content, dict) and "images" in content and "ix_to_word" not in content:
        words = _count(content, path)
    else:
        words = _listed(content, path)
    if not words or not all(isinstance(word, str) and word for word in words):
        raise PortingError(f"{path}: not a vocabulary; every word must be a text")
    return Lexicon(Vocabulary(tuple(words)))


def read_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the names of a classifier's classes, or of a hasher's tags and classes.

    Accepted are a text file of one class a line, a JSON list of classes, and a JSON object of lists
    (`{"tags": [...], "classes": [...]}`).

    Raises:
      PortingError: another file.
    """
    text = _text(path)
    if path.suffix.lower() == ".txt":
        return {"classes": tuple(line.strip() for line in text.splitlines() if line.strip())}
    content = _json(text, path)
    lists = content if isinstance(content, dict) else {"classes": content}
    for name, words in lists.items():
        if name not in ("tags", "classes") or not isinstance(words, list):
            raise PortingError(f"{path}: give a list of classes, or lists of tags and classes")
        if not all(isinstance(word, str) and word for word in words):
            raise PortingError(f"{path}: every one of the {name} must be a text")
    return {name: tuple(words) for name, words in lists.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise PortingError(f"{path}: cannot be read ({problem.strerror})") from None
    except UnicodeDecodeError as problem:
        raise PortingError(f"{path}: not text ({problem})") from None


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as problem:
        raise PortingError(f"{path}: not JSON ({problem})") from None


def _word_counts(text: str, path: Path) -> Lexicon:
    """Read im2txt's `word count` lines, whose numbers are the words'.

    Where Python 3 wrote them, the words are literals of bytes (`b'a' 969108`).
    """
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not _COUNTED.fullmatch(line):
            raise PortingError(f"{path}: line {number} is not a word and its count: {line[:80]!r}")
    words = [line.rpartition(" ")[0] for line in lines]
    if all(_BYTES.fullmatch(word) for word in words):
        try:
            words = [ast.literal_eval(word).decode() for word in words]
        except (ValueError, SyntaxError) as problem:  # UnicodeDecodeError is a ValueError
            raise PortingError(f"{path}: not a literal of UTF-8 bytes ({problem})") from None
    if _UNKNOWN not in words:
        words.append(_UNKNOWN)
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise PortingError(f"{path}: in several lines: {', '.join(map(repr, twice[:8]))}")
    for mark in (_BEGIN, _END):
        if mark not in words:
            raise PortingError(f"{path}: no {mark}, so not im2txt's word_counts.txt")
    begin, end = words.index(_BEGIN), words.index(_END)
    return Lexicon(Vocabulary(tuple(words[:end] + words[end + 1 :])), begin, end)


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
