"""Vocabularies as captioners' authors distribute them, to the numbers of `Vocabulary`."""

import ast
import pickle
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.formats.errors import FormatError, PortingError, listed, quoted
from jaxadv.formats.files import read_bytes
from jaxadv.formats.text import decode, parse_json
from jaxadv.formats.values import ValueFault, as_text
from jaxadv.vocabulary import UNKNOWN, Vocabulary

MOST_BYTES = 1 << 28  # of a vocabulary: `dataset_coco.json` has 150 MB
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

    Accepted are `cocotalk.json` (`ix_to_word`), plain JSON (`{"1": "word", ...}` or a list, also
    under `vocab`), `dataset_coco.json` (the words of its sentences seen more than 5 times, in the
    order in which they come, then UNK: ruotianluo's rule) and im2txt's `word_counts.txt`.

    Raises:
      InputError: another file, numbers that are not 1, 2, 3, ..., or a word that is there twice or
        that nobody can type.
    """
    text = _text(path, "its words (ix_to_word)")
    if path.suffix.lower() == ".txt" and not _is_json(text):
        return _word_counts(text, path)
    content = parse_json(text, str(path))
    if isinstance(content, dict) and "images" in content and "ix_to_word" not in content:
        words = _count(content, path)
    else:
        words = _listed(content, path)
    if not words:
        raise PortingError(f"{path}: not a vocabulary; it has no words")
    return Lexicon(Vocabulary(_checked(words, "word", path, blanks=False)))


def read_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the names of a classifier's classes, or of a hasher's tags and classes.

    Accepted are a text file of one class a line, a JSON list of classes, and a JSON object of lists
    (`{"tags": [...], "classes": [...]}`).

    Raises:
      InputError: another file, or a name that is there twice or that nobody can type.
    """
    text = _text(path, "the names")
    if path.suffix.lower() == ".txt" and not _is_json(text):
        lists: Any = {"classes": [line for line in _lines(text) if line.strip()]}
    else:
        content = parse_json(text, str(path))
        lists = content if isinstance(content, dict) else {"classes": content}
    for name, words in lists.items():
        if name not in ("tags", "classes") or not isinstance(words, list):
            raise PortingError(
                f"{path}: give a list of classes in the order of their numbers, or an object of "
                'lists, {"tags": [...], "classes": [...]}'
            )
        if not words:
            raise PortingError(f"{path}: no {name}")
    return {
        name: _checked(words, {"tags": "tag"}.get(name, "class"), path)
        for name, words in lists.items()
    }


def _text(path: Path, what: str) -> str:
    contents = read_bytes(path, MOST_BYTES)
    if contents[:1] == pickle.PROTO:
        raise PortingError(
            f"{path}: a pickle, which is not read, as it can execute anything; save {what} as JSON"
        )
    return decode(contents, path)


def _is_json(text: str) -> bool:
    """Whether a text that is called `.txt` is JSON all the same."""
    if text.lstrip()[:1] not in ("[", "{"):
        return False
    try:
        parse_json(text, "")
    except FormatError:
        return False
    return True


def _lines(text: str) -> list[str]:
    """Split at line feeds alone: U+2028 and the like are part of a name."""
    return re.split(r"\r\n|\r|\n", text)


def _checked(
    words: Sequence[object], what: str, path: Path, blanks: bool = True
) -> tuple[str, ...]:
    """Return names in one Unicode form (NFC), each of which can be typed, and none twice."""
    found: list[str] = []
    for number, word in enumerate(words, 1):
        try:
            name = unicodedata.normalize("NFC", as_text(word, f"{what} {number:,}")).strip()
        except ValueFault as fault:
            raise PortingError(f"{path}: {fault}") from None
        if not name or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
            raise PortingError(
                f"{path}: {what} {number:,}, {quoted(word)}, is empty or holds control characters"
            )
        if not blanks and name.split() != [name]:
            raise PortingError(
                f"{path}: {what} {number:,}, {quoted(word)}, holds a blank, so that no caption can "
                "be split into its words"
            )
        found.append(name)
    _refuse_twice(found, what, path)
    return tuple(found)


def _refuse_twice(names: Sequence[str], what: str, path: Path) -> None:
    """Name what is there twice: a name stands for one number."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = [str(n) for n, name in enumerate(names, 1) if name == twice[0]]
        more = f", and so are {len(twice) - 1:,} others" if len(twice) > 1 else ""
        raise PortingError(
            f"{path}: the {what} {quoted(twice[0])} is there {len(places):,} times, as numbers "
            f"{', '.join(places[:5])}{more}: give each a name of its own"
        )


def _word_counts(text: str, path: Path) -> Lexicon:
    """Read im2txt's `word count` lines, whose numbers are the words'.

    Where Python 3 wrote them, the words are literals of bytes (`b'a' 969108`).
    """
    lines = _lines(text)
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not _COUNTED.fullmatch(line):
            raise PortingError(
                f"{path}: line {number} is not a word and its count, as in im2txt's "
                f"word_counts.txt: {quoted(line)}"
            )
    words = [line.rpartition(" ")[0] for line in lines]
    if all(_BYTES.fullmatch(word) for word in words):
        try:
            words = [ast.literal_eval(word).decode() for word in words]
        except (ValueError, SyntaxError):  # UnicodeDecodeError is a ValueError
            raise PortingError(f"{path}: a word is not a literal of UTF-8 bytes") from None
    if _UNKNOWN not in words:
        words.append(_UNKNOWN)
    words = list(_checked(words, "word", path, blanks=False))
    for mark in (_BEGIN, _END):
        if mark not in words:
            raise PortingError(f"{path}: no {mark}, so not im2txt's word_counts.txt")
    begin, end = words.index(_BEGIN), words.index(_END)
    return Lexicon(Vocabulary(tuple(words[:end] + words[end + 1 :])), begin, end)


def _listed(content: Any, path: Path) -> list[Any]:
    """The words of JSON in the order of their numbers, which say what is wrong with them."""
    for key in ("ix_to_word", "vocab"):
        if isinstance(content, dict) and isinstance(content.get(key), dict | list):
            content = content[key]
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise PortingError(f"{path}: not a vocabulary; give ix_to_word, number: word, or a list")
    if content and all(type(value) is int for value in content.values()):
        raise PortingError(
            f"{path}: says word: number, the other way round; give number: word, from 1"
        )
    numbers = [str(number) for number in range(1, len(content) + 1)]
    if "0" in content:
        raise PortingError(
            f"{path}: its numbers are from 0; words are numbered from 1, as 0 ends a caption"
        )
    absent = [number for number in numbers if number not in content]
    if absent:
        raise PortingError(
            f"{path}: words must be numbered from 1 to {len(content)} without gaps; missing are "
            f"{listed(absent)}"
        )
    return [content[number] for number in numbers]


def _count(content: dict[str, Any], path: Path) -> list[str]:
    try:
        sentences = [sentence["tokens"] for i in content["images"] for sentence in i["sentences"]]
        if not all(isinstance(tokens, list) for tokens in sentences):
            raise TypeError
        counts = Counter(word for tokens in sentences for word in tokens)
    except (KeyError, TypeError):
        raise PortingError(
            f"{path}: not laid out as dataset_coco.json: images, of sentences, of tokens"
        ) from None
    kept = [word for word, count in counts.items() if count > MORE_THAN]
    return kept if len(kept) == len(counts) else [*kept, UNKNOWN]
