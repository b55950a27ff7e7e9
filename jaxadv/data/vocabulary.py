"""Words and their numbers: number 0 begins, ends and pads every caption (`reference` D3 layout)."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxadv.errors import InputError

END = 0
UNKNOWN = "UNK"


class UnknownWordError(InputError):
    """A word that the victim cannot say, with the nearest ones that it can."""


def tokenize(text: str) -> list[str]:
    """Split a caption as the captioners' vocabularies do: lower case, no punctuation.

    >>> tokenize("A man's dog, running!")
    ['a', "man's", 'dog', 'running']
    """
    return re.findall(r"[a-z0-9_]+(?:['-][a-z0-9]+)*", text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words of a captioner; `words[i]` has number `i + 1`, number 0 is the end of a caption.

    >>> v = Vocabulary(("a", "giraffe", "eats"))
    >>> v.encode("A giraffe eats.")
    [1, 2, 3]
    >>> v.decode([1, 2, 3, 0, 0])
    'a giraffe eats'
    >>> v.number("girafe")
    Traceback (most recent call last):
    ...
    jaxadv.data.vocabulary.UnknownWordError: unknown word 'girafe': did you mean 'giraffe'?
    """

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of scores that a captioner gives: the words and the end of the caption."""
        return len(self.words) + 1

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word.lower(): i + 1 for i, word in enumerate(self.words)}

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._numbers

    def number(self, word: str) -> int:
        """Return the word's number; an unknown word is an error that names the nearest ones."""
        if word.lower() in self._numbers:
            return self._numbers[word.lower()]
        near = difflib.get_close_matches(word, self.words, n=3, cutoff=0.6)
        hint = (
            "did you mean " + " or ".join(repr(w) for w in near) + "?"
            if near
            else f"the victim knows {len(self.words)} words, such as "
            + ", ".join(repr(w) for w in sorted(self.words)[:8])
        )
        raise UnknownWordError(f"unknown word {word!r}: {hint}")

    def encode(self, text: str) -> list[int]:
        """Turn a caption into the numbers of its words, without the end token."""
        return [self.number(word) for word in tokenize(text)]

    def encode_known(self, text: str) -> list[int]:
        """Turn a caption into numbers, rare words as `UNK` (for training on people's captions)."""
        unknown = self.number(UNKNOWN)
        return [self._numbers.get(word, unknown) for word in tokenize(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn numbers into a caption, up to the first end token."""
        said = []
        for token in tokens:
            if int(token) == END:
                break
            said.append(self.words[int(token) - 1])
        return " ".join(said)


def build_vocabulary(captions: Sequence[str], more_than: int) -> Vocabulary:
    """Collect the words seen more than `more_than` times, then `UNK` (ruotianluo's rule, 5).

    >>> build_vocabulary(["a cat", "a dog", "a cat"], more_than=1).words
    ('a', 'cat', 'UNK')
    """
    counts = Counter(word for caption in captions for word in tokenize(caption))
    kept = sorted(word for word, count in counts.items() if count > more_than)
    return Vocabulary((*kept, UNKNOWN))
