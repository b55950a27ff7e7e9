"""What a caption attack aims at: some words at some places, as arrays and as people write them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from jaxadv import checks
from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.subwords import SubwordVocabulary
from jaxadv.vocabulary import END, Vocabulary

GAP = "_"
OPEN = "..."
ESCAPE = "\\"
_PUNCTUATION = ",.;:!?\"'"


class TargetError(InputError):
    """A target that cannot be aimed at, and why."""


class PartialCaption(NamedTuple):
    """A targeted (partial) caption `S_O` (paper section 3); fixed shapes, so nothing recompiles.

    Attributes:
      tokens: i32[T], the word at each observed place, 0 elsewhere.
      observed: bool[T], the places O. Observing the end token at place `length` demands that the
        caption ends there; a complete caption observes every word and the end.
      length: i32[], number N of words, observed or latent. Where it is T there is no room for an
        end token, and none is needed.
    """

    tokens: Int[Array, " T"]
    observed: Bool[Array, " T"]
    length: Int[Array, ""]

    @property
    def latent(self) -> Bool[Array, "*batch T"]:
        """The places H of the latent words; bool[T]."""
        return (jnp.arange(self.tokens.shape[-1]) < self.length[..., None]) & ~self.observed

    @property
    def reach(self) -> Int[Array, "*batch"]:
        """Number of places up to the last observed one."""
        places = jnp.arange(1, self.tokens.shape[-1] + 1)
        return jnp.max(jnp.where(self.observed, places, 0), axis=-1)


def check_places(target: PartialCaption, max_length: int) -> None:
    """Check that a target has a place for every word that a victim can say.

    Raises:
      TargetError: it was made for another length.
    """
    places = target.tokens.shape[-1]
    if places != max_length:
        raise TargetError(
            f"the target has {places} places: this victim says up to {max_length} words, so make "
            f"it with max_length={max_length}"
        )


def make_target(
    tokens: list[int], max_length: int, latent: set[int] | None = None, ends: bool = True
) -> PartialCaption:
    """Build a target from the numbers of its words.

    Args:
      tokens: the N words; those at latent places do not matter.
      max_length: T, the victim's.
      latent: places (from 0) whose word is free; none by default.
      ends: whether the caption must end after its N words.
    """
    latent = latent or set()
    length = len(tokens)
    if length > max_length:
        raise TargetError(
            f"a target of {length} words or tokens: this victim says at most {max_length} in a "
            "caption"
        )
    observed = np.array([t < length and t not in latent for t in range(max_length)])
    if not observed.any():
        raise TargetError(
            "a target with no observed word: give at least one word in addition to the gaps"
        )
    words = np.array([tokens[t] if seen else END for t, seen in enumerate(observed)], np.int32)
    if ends and length < max_length:
        observed[length] = True
    return PartialCaption(jnp.asarray(words), jnp.asarray(observed), jnp.asarray(length, jnp.int32))


def parse_target(text: str, vocabulary: Vocabulary, max_length: int) -> PartialCaption:
    """Read a target as people write it: `_` is one free word, `...` at the end leaves it open.

    For a victim that predicts sub-words `_` is one free token, and a word may be several. A word
    that the victim has is that word, whatever it looks like; else punctuation around it is passed
    over. A backslash before `_` or `...` makes it the word of the victim's that looks so.

    >>> v = Vocabulary(("a", "cat", "dog", "on", "is", "the", "grass"))
    >>> t = parse_target("a _ is on the grass", v, 8)
    >>> t.tokens.tolist(), t.observed.astype(int).tolist()
    ([1, 0, 5, 4, 6, 7, 0, 0], [1, 0, 1, 1, 1, 1, 1, 0])
    >>> parse_target("a dog ...", v, 8).observed.astype(int).tolist()
    [1, 1, 0, 0, 0, 0, 0, 0]

    Raises:
      TargetError: no observed word, longer than the victim can say, or `...` before the end.
      UnknownWordError: a word that the victim does not know, with the nearest ones.
    """
    body, ends = _split_end(text.strip(), vocabulary)
    if isinstance(vocabulary, SubwordVocabulary):
        tokens, latent = _subwords(body, vocabulary)
        return make_target(tokens, max_length, latent, ends)
    tokens, latent = [], set()
    for word in _words(body, vocabulary):
        if word not in vocabulary and OPEN in word.replace("…", OPEN) and word[:1] != ESCAPE:
            raise TargetError(
                f"{quoted(text)}: {OPEN} may stand at the end only; {GAP} is one free word"
            )
        if word == GAP or (word not in vocabulary and not word.strip(GAP)):
            latent.add(len(tokens))
            tokens.append(END)
        else:
            tokens += [vocabulary.number(name) for name in _names(word, vocabulary)]
    return make_target(tokens, max_length, latent, ends)


def _subwords(text: str, vocabulary: SubwordVocabulary) -> tuple[list[int], set[int]]:
    """Read the tokens between the gaps, each of which is one free token."""
    tokens: list[int] = []
    latent: set[int] = set()
    for part in re.split(rf"(?:^|(?<=\s)){GAP}(?=\s|$)", text):
        if part.strip():
            part = part.replace(ESCAPE + GAP, GAP).replace(ESCAPE + OPEN, OPEN)
            tokens += (vocabulary.behind if tokens else vocabulary.encode)(part)
        latent.add(len(tokens))
        tokens.append(END)
    latent.remove(len(tokens) - 1)  # behind the last part there is no gap
    return tokens[:-1], latent


def _split_end(text: str, vocabulary: Vocabulary) -> tuple[str, bool]:
    """Return a target without the sign of its open end, and whether it has none."""
    last = (text.split() or [""])[-1]
    for sign in (OPEN, "…"):
        is_word = last == ESCAPE + sign or (last != sign and last in vocabulary)
        if last.endswith(sign) and not is_word:
            return text.removesuffix(sign), False
    return text, True


def _names(word: str, vocabulary: Vocabulary) -> list[str]:
    """Return the words of the victim's that a word of a target means: its punctuation apart."""
    if word in vocabulary:
        return [word]
    if word[:1] == ESCAPE and word[1:] in (GAP, OPEN):
        return [word[1:]]
    bare = word.strip(_PUNCTUATION)
    before, _, behind = word.partition(bare) if bare else (word, "", "")
    marks = [[mark for mark in part if mark in vocabulary] for part in (before, behind)]
    return [*marks[0], *([bare] if bare else []), *marks[1]]


def _words(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Cut a target at its blanks; a word of the victim's that holds some is kept whole."""
    found = list(re.finditer(r"\S+", text))
    widest = max((len(word.split()) for word in vocabulary.words), default=1)
    place = 0
    while place < len(found):
        for end in range(min(place + widest, len(found)), place, -1):
            word = text[found[place].start() : found[end - 1].end()]
            if word in vocabulary or end == place + 1:
                yield word
                place = end
                break


def write_target(target: PartialCaption, vocabulary: Vocabulary) -> str:
    """Write a target as `target` reads it."""
    length = int(target.length)
    if isinstance(vocabulary, SubwordVocabulary):
        words = _parts(target, length, vocabulary)
    else:
        words = _written(target, length, vocabulary)
    open_end = length < len(target.tokens) and not bool(target.observed[length])
    return " ".join(words + ([OPEN] if open_end else []))


def _parts(target: PartialCaption, length: int, vocabulary: SubwordVocabulary) -> list[str]:
    """Write the tokens between the gaps as text."""
    found: list[str] = []
    part: list[int] = []
    for token, seen in list(zip(target.tokens, target.observed, strict=True))[:length]:
        if seen:
            part.append(int(token))
            continue
        found += [vocabulary.decode(part), GAP]
        part = []
    return [text for text in (*found, vocabulary.decode(part)) if text]


def _written(target: PartialCaption, length: int, vocabulary: Vocabulary) -> list[str]:
    return [
        _escaped(vocabulary.words[int(token) - 1]) if seen else GAP
        for token, seen in list(zip(target.tokens, target.observed, strict=True))[:length]
    ]


def _escaped(word: str) -> str:
    return ESCAPE + word if word in (GAP, OPEN) else word


def stack_targets(targets: list[PartialCaption]) -> PartialCaption:
    """Put targets side by side along a batch axis."""
    return PartialCaption(*(jnp.stack(leaves) for leaves in zip(*targets, strict=True)))


class Keywords(NamedTuple):
    """Words wanted, or avoided, anywhere in the caption: `words i32[M]`, 0 for padding."""

    words: Int[Array, " M"]


def parse_keywords(text: str, vocabulary: Vocabulary, capacity: int = 4) -> Keywords:
    """Read keywords separated by commas or blanks, padded to `capacity` so nothing recompiles.

    A word of the victim's that holds a comma or a blank is meant where all of it stands.

    Raises:
      TargetError: none, or more than `capacity`.
      UnknownWordError: a word that the victim does not know, with the nearest ones.
    """
    numbers = [vocabulary.number(word) for word in _keywords(text.strip(), vocabulary)]
    if not 1 <= len(numbers) <= capacity:
        raise TargetError(f"{len(numbers)} keywords: give from 1 to {capacity}")
    return Keywords(jnp.asarray(numbers + [END] * (capacity - len(numbers)), jnp.int32))


def _keywords(text: str, vocabulary: Vocabulary) -> list[str]:
    """Cut at commas, then at blanks, where the whole is no word of the victim's."""
    if text in vocabulary or not re.search(r"[,\s]", text):
        return [text] if text else []
    parts = text.split(",") if "," in text else text.split()
    return [word for part in parts for word in _keywords(part.strip(), vocabulary)]


def target(text: str, model: Captioner) -> PartialCaption:
    """Read a target for a captioner: `_` is one free word, `...` at the end leaves it open.

    Args:
      text: such as "a _ dog runs ...".
      model: the captioner that is attacked.

    Raises:
      TargetError, UnknownWordError: as `parse_target`.
    """
    checks.victim(model, Captioner, "captioner")
    return parse_target(text, model.vocabulary, model.max_length)


def keywords(text: str, model: Captioner) -> Keywords:
    """Read keywords, separated by commas, that a caption is to contain.

    Raises:
      TargetError, UnknownWordError: as `parse_keywords`.
    """
    checks.victim(model, Captioner, "captioner")
    return parse_keywords(text, model.vocabulary)
