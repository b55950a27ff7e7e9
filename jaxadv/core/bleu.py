"""BLEU-1 to BLEU-4 of a corpus of captions.

Papineni, Roukos, Ward, Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
2002, with the details of the `coco-caption` evaluation code, so that values compare: the reference
length closest to the candidate's (the shorter of two equally close) sets the brevity penalty, and
there is no smoothing beyond constants that keep 0 / 0 from being an error.

A caption is a sequence of hashable tokens, as in `jaxadv.core.cider`.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from jaxadv.errors import InputError

Caption = Sequence[Hashable]

LONGEST = 4

# coco-caption's: a corpus without a single n-gram has precision 1e-15 / 1e-9, not an error.
_TINY, _SMALL = 1e-15, 1e-9


def corpus_bleu(
    candidates: Sequence[Caption], references: Sequence[Sequence[Caption]]
) -> tuple[float, float, float, float]:
    """BLEU-1, -2, -3, -4 of one candidate for each image; `references[i]` are those of image i.

    BLEU-n is the geometric mean of the clipped precisions of 1..n-grams, counted over the whole
    corpus (it is not the mean over images), times exp(1 - r/c) where the candidates' total length c
    is less than that of the closest references, r.

    >>> bleu = corpus_bleu([("a", "red", "cat")], [[("a", "red", "dog")]])
    >>> [round(value, 6) for value in bleu[:2]]
    [0.666667, 0.57735]

    Raises:
      InputError: no candidate, not one for each image, or an image without references.
    """
    if not candidates or len(candidates) != len(references):
        raise InputError(
            f"BLEU needs one candidate for each image: {len(candidates)} candidates, "
            f"{len(references)} images"
        )
    length = closest_length = 0
    matched, guessed = [0] * LONGEST, [0] * LONGEST
    for candidate, captions in zip(candidates, references, strict=True):
        if not captions:
            raise InputError("BLEU needs at least one reference caption for each image")
        size = len(candidate)
        length += size
        closest_length += min((abs(len(caption) - size), len(caption)) for caption in captions)[1]
        for n in range(1, LONGEST + 1):
            most: Counter[Caption] = Counter()
            for caption in captions:
                most |= _ngrams(caption, n)
            matched[n - 1] += (_ngrams(candidate, n) & most).total()
            guessed[n - 1] += max(size - n + 1, 0)

    ratio = (length + _TINY) / (closest_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, bleus = 1.0, []
    for n in range(1, LONGEST + 1):
        product *= (matched[n - 1] + _TINY) / (guessed[n - 1] + _SMALL)
        bleus.append(brevity * product ** (1 / n))
    return bleus[0], bleus[1], bleus[2], bleus[3]


def _ngrams(caption: Caption, n: int) -> Counter[Caption]:
    if isinstance(caption, str):
        raise TypeError(f"a caption is a sequence of tokens, not the text {caption!r}; split it")
    words = tuple(caption)
    return Counter(words[start : start + n] for start in range(len(words) - n + 1))
