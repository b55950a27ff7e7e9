"""Whether a picture made against one captioner fools another: compared by words."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.metrics import CaptionScores, caption_scores
from jaxadv.captions.target import PartialCaption
from jaxadv.data.images import resize
from jaxadv.experiments.captions import Request, say
from jaxadv.experiments.subjects import Subject
from jaxadv.vocabulary import END, Vocabulary

Words = tuple[str, ...]


class Shown(Protocol):
    """An adversarial picture, and what it was made for."""

    @property
    def request(self) -> Request:
        """What was asked."""

    @property
    def image(self) -> np.ndarray:
        """The picture, f32[H, W, 3]."""


class Transfer(NamedTuple):
    """What a victim says of adversarial pictures that were made on another, or on itself.

    Attributes:
      method: the attack.
      source: the victim that they were made on.
      victim: the one that says their captions.
      attempts: complete captions aimed at.
      unsayable: targets with a word that the victim does not know.
      success: the share that is said exactly (eq. 17), word for word.
      precision: eq. 18, likewise.
      benign: the same precision of what the victim says of the pictures before the attack: what
        targets and captions share anyway.
    """

    method: str
    source: str
    victim: str
    attempts: int
    unsayable: int
    success: float
    precision: float
    benign: float


def transfer(
    method: str,
    source: str,
    wanted: Sequence[Words],
    outcomes: Sequence[Shown],
    victim: Subject,
    benign: Sequence[Words],
    batch: int = 50,
) -> Transfer:
    """Show a source's adversarial pictures to a victim, resized to what it takes.

    Args:
      method: of the attack.
      source: name of the victim that the pictures were made on.
      wanted: the words of each outcome's target, a complete caption.
      outcomes: with the pictures.
      victim: who captions them.
      benign: what the victim says of each of its pictures.
      batch: pictures at once.
    """
    shape = victim.captioner.image_shape[:2]
    pictures = (resize(made.image, shape) for made in outcomes)
    spoken = say(victim.captioner, victim.params, pictures, batch)
    said = [words_of(tokens, victim.captioner.vocabulary) for tokens in spoken]
    scores = compare_words(wanted, said)
    before = compare_words(wanted, [benign[made.request.image] for made in outcomes])
    vocabulary = victim.captioner.vocabulary
    return Transfer(
        method,
        source,
        victim.name,
        len(outcomes),
        sum(any(word not in vocabulary for word in words) for words in wanted),
        float(np.mean(scores.success)),
        float(np.mean(scores.precision)),
        float(np.mean(before.precision)),
    )


def compare_words(wanted: Sequence[Words], said: Sequence[Words]) -> CaptionScores:
    """Compare captions with complete targets by their words; arrays of n (eqs. 17 and 18).

    >>> scores = compare_words([("a", "red", "ring")], [("a", "blue", "ring")])
    >>> bool(scores.success[0]), round(float(scores.precision[0]), 3)
    (False, 0.667)
    """
    every = dict.fromkeys(word for words in (*wanted, *said) for word in words)
    numbers = {word: number for number, word in enumerate(every, start=1)}
    length = 1 + max((len(words) for words in (*wanted, *said)), default=0)  # room for the end

    def rows(captions: Sequence[Words]) -> jax.Array:
        padded = np.full((len(captions), length), END, np.int32)
        for row, words in zip(padded, captions, strict=True):
            row[: len(words)] = [numbers[word] for word in words]
        return jnp.asarray(padded)

    lengths = jnp.asarray([len(words) for words in wanted], jnp.int32)
    observed = jnp.arange(length) <= lengths[:, None]  # the end is asked for as well
    return _compare(rows(wanted), observed, rows(said))


_compare = jax.jit(jax.vmap(caption_scores))


def words_of(tokens: Sequence[int], vocabulary: Vocabulary) -> Words:
    """Return the words of a caption given by numbers, in lower case."""
    return tuple(vocabulary.words[token - 1].lower() for token in tokens)


def target_words(target: PartialCaption, vocabulary: Vocabulary) -> Words:
    """Return the words of a complete target."""
    return words_of(np.asarray(target.tokens)[: int(target.length)].tolist(), vocabulary)
