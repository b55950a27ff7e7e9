"""Whether a picture made against one captioner fools another: compared by words."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.metrics import CaptionScores, caption_scores
from jaxadv.captions.target import PartialCaption
from jaxadv.data.images import resize
from jaxadv.experiments.captions import say
from jaxadv.experiments.subjects import Subject
from jaxadv.vocabulary import END, Vocabulary

Words = tuple[str, ...]


class Viewer:
    """A captioner that is shown the adversarial pictures of another, or its own.

    Args:
      subject: the captioner, with the same pictures as the attacked one.
      images: names of the pictures that are attacked.
    """

    def __init__(self, subject: Subject, images: Sequence[str]) -> None:
        """Caption the pictures as they are."""
        self._name, self._captioner, self._params, pictures = subject
        self._benign = dict(zip(images, self._say([pictures[i] for i in images]), strict=True))

    def entry(self, image: str, adversarial: np.ndarray, wanted: Words) -> dict[str, Any]:
        """Compare what it says of an adversarial picture, resized to what it takes, with a target.

        Args:
          image: name of the picture that was attacked.
          adversarial: f32[H, W, 3].
          wanted: the words of the target, a complete caption.

        Returns:
          its name, what it says, `success` (eq. 17) and `precision` (eq. 18) by words, the
          precision of what it says of the benign picture, which the two share anyway, and whether
          it lacks a word of the target.
        """
        (said,) = self._say([resize(adversarial, self._captioner.image_shape[:2])], batch=1)
        scores = compare_words([wanted, wanted], [said, self._benign[image]])
        now, before = np.asarray(scores.precision).tolist()
        return {
            "victim": self._name,
            "said": " ".join(said),
            "success": bool(scores.success[0]),
            "precision": now,
            "precision_benign": before,
            "cannot_say": any(word not in self._captioner.vocabulary for word in wanted),
        }

    def _say(self, pictures: Sequence[np.ndarray], batch: int = 50) -> list[Words]:
        vocabulary = self._captioner.vocabulary
        spoken = say(self._captioner, self._params, pictures, batch)
        return [words_of(tokens, vocabulary) for tokens in spoken]


def compare_words(wanted: Sequence[Words], said: Sequence[Words]) -> CaptionScores:
    """Compare captions with complete targets by their words; arrays of n (eqs. 17 and 18).

    >>> scores = compare_words([("a", "red", "ring")], [("a", "blue", "ring")])
    >>> bool(scores.success[0]), round(float(scores.precision[0]), 3)
    (False, 0.667)
    """
    every = dict.fromkeys(word for words in (*wanted, *said) for word in words)
    numbers = {word: number for number, word in enumerate(every, start=1)}
    longest = max((len(words) for words in (*wanted, *said)), default=0)
    length = -(-(longest + 1) // ROOM) * ROOM

    def rows(captions: Sequence[Words]) -> jax.Array:
        padded = np.full((len(captions), length), END, np.int32)
        for row, words in zip(padded, captions, strict=True):
            row[: len(words)] = [numbers[word] for word in words]
        return jnp.asarray(padded)

    lengths = jnp.asarray([len(words) for words in wanted], jnp.int32)
    observed = jnp.arange(length) <= lengths[:, None]  # the end is asked for as well
    return _compare(rows(wanted), observed, rows(said))


ROOM = 32  # places, in multiples of which captions are compared, so that few programs are compiled
_compare = jax.jit(jax.vmap(caption_scores))


def words_of(tokens: Sequence[int], vocabulary: Vocabulary) -> Words:
    """Return the words of a caption given by numbers, in lower case."""
    return tuple(vocabulary.decode(tokens).lower().split())


def target_words(target: PartialCaption, vocabulary: Vocabulary) -> Words:
    """Return the words of a complete target."""
    return words_of(np.asarray(target.tokens)[: int(target.length)].tolist(), vocabulary)
