"""Words and their numbers: number 0 begins, ends and pads every caption (`reference` D3 layout)."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxadv.errors import InputError
from jaxadv.formats.errors import listed, quoted

END = 0
UNKNOWN = "UNK"

# UNK of ruotianluo's captioners, <UNK>, <S> and the unused rows of im2txt, [UNK] of others
_MARK = re.compile(r"UNK|<[^<>\s]+>|\[[A-Z]+\]")

# in what `_plain` returns, whatever is not ASCII is part of a word
_WORD = re.compile(r"[a-z0-9_\x80-\U0010ffff]+(?:['-][a-z0-9_\x80-\U0010ffff]+)*")
# typographic apostrophes and hyphens; soft hyphens and joiners inside words, and byte-order marks
_AS_TYPED = str.maketrans(
    dict.fromkeys("\u2019\u02bc\uff07", "'")
    | dict.fromkeys("\u2010\u2011", "-")
    | dict.fromkeys("\u00ad\u200c\u200d\u2060\ufeff", "")
)


class UnknownWordError(InputError):
    """A word that the victim cannot say, with the nearest ones that it can."""


def tokenize(text: str) -> list[str]:
    """Split a caption as the captioners' vocabularies do: lower case, no punctuation.

    Letters, marks and digits of any script are parts of words; typographic apostrophes and hyphens
    are read as typed ones.

    >>> tokenize("A man's dog, running!"), tokenize("une crêpe, l’été")
    (['a', "man's", 'dog', 'running'], ['une', 'crêpe', "l'été"])
    """
    return _WORD.findall(_plain(text))


def _plain(text: str) -> str:
    """Fold a text, and turn what is no part of a word into a blank."""
    if text.isascii():
        return text.lower()
    return "".join(
        c if c.isascii() or unicodedata.category(c)[0] in "LMN" else " " for c in _fold(text)
    )


def _fold(text: str) -> str:
    """Write a text in lower case, letters composed with their marks (NFC), as one would type it."""
    if text.isascii():
        return text.lower()
    lower = unicodedata.normalize("NFC", text).lower().translate(_AS_TYPED)
    return unicodedata.normalize("NFC", lower)


@dataclass(frozen=True)
class Vocabulary:
    """The words of a captioner; `words[i]` has number `i + 1`, number 0 is the end of a caption.

    A word is looked up as it is written; one that is not there as it is written is looked up
    without regard to case.

    Args:
      words: all different.
      says_unknown: whether captions may contain the mark of unknown words. By default they never
        do (`suppress_UNK` of the captioners' released evaluation code).

    Raises:
      InputError: a word twice, or one that is no text.

    >>> v = Vocabulary(("a", "giraffe", "eats"))
    >>> v.encode("A giraffe eats.")
    [1, 2, 3]
    >>> v.decode([1, 2, 3, 0, 0])
    'a giraffe eats'
    >>> v.number("girafe")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    jaxadv.vocabulary.UnknownWordError: unknown word 'girafe': did you mean 'giraffe'? ...
    """

    words: tuple[str, ...]
    says_unknown: bool = False

    def __post_init__(self) -> None:
        """Check the words."""
        odd = [word for word in self.words if not isinstance(word, str) or not word]
        if odd:
            raise InputError(f"a vocabulary's words must be texts, not {quoted(odd[0])}")
        if len(set(self.words)) < len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise InputError(f"a vocabulary with words twice: {listed(twice)}")

    @property
    def size(self) -> int:
        """Number of scores that a captioner gives: the words and the end of the caption."""
        return len(self.words) + 1

    def with_unknown(self) -> "Vocabulary":
        """Return the vocabulary whose captions may contain the mark of unknown words."""
        return replace(self, says_unknown=True)

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """The numbers that no caption contains: unknown words, marks and rows without a word.

        >>> Vocabulary(("a", "cat", "UNK")).suppressed
        (3,)
        """
        if self.says_unknown:
            return ()
        return tuple(i + 1 for i, word in enumerate(self.words) if _MARK.fullmatch(word))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: i + 1 for i, word in enumerate(self.words)}

    @cached_property
    def _folded(self) -> dict[str, int]:
        """The number of each word without regard to case; of several that agree, the first's."""
        pairs = ((_fold(word), number) for word, number in self._numbers.items())
        return dict(reversed(list(pairs)))

    def _find(self, word: str) -> int | None:
        """Return a word's number, suppressed or not; None where there is no such word."""
        return self._numbers.get(word) or self._folded.get(_fold(word))

    def __contains__(self, word: str) -> bool:
        """Return whether a caption can contain the word."""
        number = self._find(word)
        return number is not None and number not in self.suppressed

    def number(self, word: str) -> int:
        """Return the word's number.

        Raises:
          UnknownWordError: there is no such word, or no caption can contain it; the message names
            the nearest ones.
        """
        number = self._find(word)
        if number is not None and number not in self.suppressed:
            return number
        if number is not None:
            raise UnknownWordError(
                f"word {quoted(word)}: a mark of the victim's vocabulary, which no caption contains"
            )
        sayable = self._sayable
        near = difflib.get_close_matches(word[:40], sayable, n=3, cutoff=0.6)
        known = f"the victim knows {len(sayable):,} words"
        hint = (
            f"did you mean {' or '.join(quoted(w) for w in near)}? ({known})"
            if near
            else f"{known}, such as {listed(sorted(sayable)[:5])}"
        )
        raise UnknownWordError(f"unknown word {quoted(word)}: {hint}")

    @cached_property
    def _sayable(self) -> tuple[str, ...]:
        return tuple(w for w, number in self._numbers.items() if number not in self.suppressed)

    @property
    def unknown(self) -> int | None:
        """The number that stands for unknown words; None where the vocabulary has none."""
        return next((self._numbers[m] for m in (UNKNOWN, "<UNK>") if m in self._numbers), None)

    def encode(self, text: str) -> list[int]:
        """Turn a caption into the numbers of its words, without the end token."""
        return [self.number(word) for word in tokenize(text)]

    def encode_known(self, text: str) -> list[int]:
        """Turn people's captions into numbers; words that are not there become the mark of such.

        Raises:
          UnknownWordError: such a word, and the vocabulary has no mark.
        """
        if self.unknown is None:
            return self.encode(text)
        return [self._find(word) or self.unknown for word in tokenize(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn numbers into a caption, up to the first end token."""
        said = []
        for token in tokens:
            if int(token) == END:
                break
            said.append(self.words[int(token) - 1])
        return " ".join(said)

    def words_of(self, tokens: Sequence[int]) -> Sequence[Hashable]:
        """Return a caption's words, to be compared and counted: here its numbers."""
        return tokens

    def words_begin(self, tokens: Sequence[int]) -> Sequence[int]:
        """Return the places of a caption's tokens where a word begins: here all."""
        return range(len(tokens))


def build_vocabulary(captions: Sequence[str], more_than: int) -> Vocabulary:
    """Collect the words seen more than `more_than` times, then `UNK` (ruotianluo's rule, 5).

    >>> build_vocabulary(["a cat", "a dog", "a cat"], more_than=1).words
    ('a', 'cat', 'UNK')
    """
    counts = Counter(word for caption in captions for word in tokenize(caption))
    kept = sorted(word for word, count in counts.items() if count > more_than)
    return Vocabulary((*kept, UNKNOWN))
