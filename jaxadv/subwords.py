"""Sub-words: the vocabulary of captioners that speak by a tokenizer's tokens.

A `tokenizer.json` is data: the package `tokenizers` reads it and executes nothing of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxadv.errors import InputError
from jaxadv.formats.errors import listed, quoted
from jaxadv.vocabulary import END, UnknownWordError, Vocabulary

_BEGINS = ("\u2581", "\u0120")  # how tokenizers write that a word begins


def number_of(token: int, end: int) -> int:
    """Number a tokenizer's token as captions do, where number 0 ends a caption.

    The number of a token is the tokenizer's own, but 0 and that of the end token are exchanged.

    >>> [number_of(token, end=2) for token in (0, 1, 2, 3)]
    [2, 1, 0, 3]
    """
    return {END: end, end: END}.get(token, token)


class SubwordVocabulary(Vocabulary):
    """The tokens of a tokenizer; number 0 is its end token, every other one has its own id.

    The token whose id is 0 has the end token's id instead. A word may be several tokens, and a free
    place of a target is one token. Rows of a network beyond the tokenizer's tokens are never
    predicted.

    Args:
      tokenizer: the text of a `tokenizer.json`.
      end: the id of the end token.
      rows: how many tokens the network scores.
      lead: what a caption begins with in the tokenizer's eyes, such as a blank; it is no part of
        the caption.

    Raises:
      InputError: the text is no tokenizer, or it has tokens of other numbers than the network.
    """

    def __init__(self, tokenizer: str, end: int, rows: int, lead: str = "") -> None:
        """Read the tokenizer."""
        read = _read(tokenizer)
        if read.id_to_token(end) is None:
            raise InputError(f"tokenizer: has no token {end}, which is to end a caption")
        known = read.get_vocab(with_added_tokens=True)
        if (most := max(known.values(), default=0)) >= rows:
            raise InputError(
                f"tokenizer: its tokens go up to number {most:,}, and the network scores {rows:,}"
            )
        texts = {token: text for text, token in known.items()}
        words = [texts.get(i, f"<unused-{i}>") for i in range(rows)]
        words[end], words[0] = words[0], words[end]
        values = {
            "tokenizer": tokenizer,
            "end": end,
            "lead": lead,
            "rows": rows,
            "words": tuple(words[1:]),
            "says_unknown": False,
            "_read": read,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    tokenizer: str
    end: int
    lead: str
    rows: int
    _read: Any

    def __eq__(self, other: object) -> bool:
        """Return whether two have the same tokens, so that a program compiled for one serves."""
        return isinstance(other, SubwordVocabulary) and self._key == other._key

    def __hash__(self) -> int:
        """Hash what it was made of."""
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again: a tokenizer that was read is no data."""
        return (SubwordVocabulary, self._key)

    @property
    def _key(self) -> tuple[str, int, int, str]:
        return (self.tokenizer, self.end, self.rows, self.lead)

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """The numbers of rows without a token."""
        known = np.zeros(self.rows, bool)
        known[self._numbers_of(self._read.get_vocab(with_added_tokens=True).values())] = True
        return tuple(np.flatnonzero(~known).tolist())

    @property
    def unknown(self) -> int | None:
        """None: captions have no mark of unknown words."""
        return None

    def with_unknown(self) -> "SubwordVocabulary":
        """Return the same vocabulary."""
        return self

    def __contains__(self, word: str) -> bool:
        """Return whether a caption can contain the word, as one token or several."""
        try:
            return bool(self.encode(word))
        except UnknownWordError:
            return False

    def number(self, word: str) -> int:
        """Return the number of a word that is one token, as it is written behind another word.

        Raises:
          UnknownWordError: it is several tokens, or none.
        """
        numbers = self.behind(word)
        if len(numbers) != 1:
            parts = listed([self.words[n - 1] for n in numbers])
            raise UnknownWordError(
                f"word {quoted(word)}: {len(numbers)} tokens of this victim's ({parts}); a keyword "
                "must be one"
            )
        return numbers[0]

    def encode(self, text: str) -> list[int]:
        """Turn a caption into the numbers of its tokens, without the end token.

        Raises:
          UnknownWordError: the tokenizer has no token for a part of it.
        """
        return self._tokens(self.lead + text.strip(), text)

    def behind(self, text: str) -> list[int]:
        """Turn a text that stands behind another word into the numbers of its tokens.

        Raises:
          UnknownWordError: the tokenizer has no token for a part of it.
        """
        text = text.strip()
        numbers = self._tokens(" " + text, text)
        # some tokenizers mark the beginning of every word themselves, and the blank is one too many
        is_blank = numbers and not self.decode(numbers[:1]).strip()
        return self._tokens(text, text) if is_blank else numbers

    def template(self, text: str, first: bool = False) -> list[int]:
        """Turn a part of a prompt, with the tokenizer's own marks in it, into numbers.

        Args:
          text: as it is written, blanks and ends of lines included.
          first: whether the prompt begins with it, with the mark that begins every text.
        """
        return self._numbers_of(self._read.encode(text, add_special_tokens=first).ids)

    def encode_known(self, text: str) -> list[int]:
        """Turn a caption into numbers, as `encode`."""
        return self.encode(text)

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn numbers into a caption, up to the first end token."""
        said = []
        for token in map(int, tokens):
            if token == END:
                break
            said.append(token)
        known = [n for n in said if n not in self._unused]
        text: str = self._read.decode(self._numbers_of(known), skip_special_tokens=True)
        return text.strip()

    def words_of(self, tokens: Sequence[int]) -> list[str]:
        """Return a caption's words as people write them."""
        return self.decode(tokens).split()

    def words_begin(self, tokens: Sequence[int]) -> list[int]:
        """Return the places of a caption's tokens where a word begins.

        Of `a`, ` tri`, `angle` these are 0 and 1.
        """
        said = self.decode(tokens)
        begins, before = [0], ""
        for at in range(1, len(tokens)):
            read = self.decode(tokens[:at])
            # a blank may be a token of its own; then the next word begins at the blank
            if read != before and said == f"{read} {self.decode(tokens[at:])}":
                begins.append(at)
                before = read
        return begins

    @cached_property
    def _unused(self) -> frozenset[int]:
        return frozenset(self.suppressed)

    def _tokens(self, text: str, told: str) -> list[int]:
        found = self._read.encode(text, add_special_tokens=False)
        unknown = getattr(self._read.model, "unk_token", None)
        if unknown is not None and unknown in found.tokens:
            at = found.tokens.index(unknown)
            part = text[slice(*found.offsets[at])]
            raise UnknownWordError(
                f"{quoted(told)}: the victim's tokenizer has no token for {quoted(part)}"
            )
        return self._numbers_of(found.ids)

    def _numbers_of(self, ids: Iterable[int]) -> list[int]:
        """Turn ids into numbers, or numbers into ids."""
        return [number_of(i, self.end) for i in ids]


@dataclass(frozen=True)
class TextTokens:
    """Whole texts as an encoder of texts reads them: the tokenizer's own ids, of a fixed number.

    Args:
      tokenizer: the text of a `tokenizer.json`.
      length: tokens of a text; a longer one is cut off.
      size: tokens that the encoder knows.
      pad: the id that shorter texts are filled up with.

    Raises:
      InputError: the text is no tokenizer, or it has tokens that the encoder does not know.
    """

    tokenizer: str
    length: int
    size: int
    pad: int

    def __post_init__(self) -> None:
        known = self._read.get_vocab(with_added_tokens=True)
        if (most := max(known.values(), default=0)) >= self.size:
            raise InputError(
                f"tokenizer: its tokens go up to number {most:,}, and the network knows "
                f"{self.size:,}"
            )

    @cached_property
    def _read(self) -> Any:
        read = _read(self.tokenizer)
        read.enable_truncation(self.length)
        read.enable_padding(length=self.length, pad_id=self.pad)
        return read

    @cached_property
    def _texts(self) -> list[str]:
        """What each token is written as; nothing for marks and for rows without a token."""
        marks = self._read.get_added_tokens_decoder()
        texts = [""] * self.size
        for text, token in self._read.get_vocab(with_added_tokens=True).items():
            texts[token] = "" if token in marks else text
        return texts

    @cached_property
    def starts(self) -> np.ndarray:
        """Which tokens no word continues with from the one before, bool[size]."""
        # of tokenizers that mark where a word begins; CLIP's marks its end
        marked = any(text.startswith(_BEGINS) for text in self._texts)
        return np.array([not marked or not t or t.startswith(_BEGINS) for t in self._texts])

    @cached_property
    def ends(self) -> np.ndarray:
        """Which tokens no word continues from to the one behind, bool[size]."""
        suffix = getattr(self._read.model, "end_of_word_suffix", None) or ""
        return np.array([not text or text.endswith(suffix) for text in self._texts])

    @cached_property
    def words(self) -> np.ndarray:
        """Which tokens are whole words of letters, bool[size]."""
        suffix = getattr(self._read.model, "end_of_word_suffix", None) or ""
        letters = [t.removesuffix(suffix).lstrip("".join(_BEGINS)) for t in self._texts]
        are_letters = np.array([text.isalpha() for text in letters])
        return are_letters & self.starts & self.ends

    def encode(self, text: str) -> np.ndarray:
        """Turn a text into tokens i32[length], the marks of its beginning and end among them.

        Raises:
          InputError: there is nothing in the text.
        """
        if not text.strip():
            raise InputError(f"text {quoted(text)}: must have a word")
        return np.asarray(self._read.encode(text).ids, np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn tokens into a text, without marks and padding."""
        text: str = self._read.decode([int(token) for token in tokens], skip_special_tokens=True)
        return text.strip()


def _read(tokenizer: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise InputError(
            "this victim speaks by sub-words: pip install 'jaxadv[hub]' brings `tokenizers`"
        ) from None
    try:
        read = Tokenizer.from_str(tokenizer)
    except Exception as problem:  # the package raises plain exceptions
        raise InputError(f"tokenizer: not a tokenizer.json ({quoted(str(problem))})") from None
    read.no_padding()
    read.no_truncation()
    return read
