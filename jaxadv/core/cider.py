"""CIDEr-D: how much a caption agrees with people's captions of the same image.

Vedantam, Lawrence Zitnick, Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR
2015, section 6 (CIDEr-D), with the details of the `coco-caption` evaluation code, so that values
compare: n-grams of 1 to 4 words, sigma 6, the factor 10, and an n-gram that no reference has is
weighted like one seen in a single image.

A caption is a sequence of hashable tokens: words, or Python integers (`array.tolist()`, not JAX
scalars). Whether a token that marks the end belongs to it is up to the caller, the same way for
candidates and references.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from jaxadv.errors import InputError

Caption = Sequence[Hashable]
Ngram = tuple[Hashable, ...]

LONGEST = 4
SIGMA = 6.0
SCALE = 10.0


class CiderStatistics(NamedTuple):
    """How common each n-gram is in a corpus of references."""

    frequencies: Mapping[Ngram, int]
    """In the references of how many images the n-gram occurs."""
    images: int
    """How many images the corpus has."""


class PreparedCaption(NamedTuple):
    """The TF-IDF vectors of one caption, for all lengths of n-gram together."""

    weights: Mapping[Ngram, float]
    """Count times inverse document frequency."""
    norms: tuple[float, ...]
    """Euclidean norm of the weights, for each length 1..4."""
    length: int
    """In pairs of neighbouring words, which is what coco-caption measures."""


class PreparedReferences(NamedTuple):
    """The references of one image, for many candidates: see `prepare`."""

    captions: tuple[PreparedCaption, ...]


def document_frequencies(references: Sequence[Sequence[Caption]]) -> CiderStatistics:
    """Count in how many images each n-gram occurs; `references[i]` are the captions of image i.

    A corpus of one image makes every weight log(1) = 0, and so every score 0.
    """
    frequencies: Counter[Ngram] = Counter()
    for captions in references:
        frequencies.update({ngram for caption in captions for ngram in _ngrams(caption)})
    if not frequencies:
        raise InputError("document frequencies need references with at least one word")
    return CiderStatistics(frequencies, len(references))


def prepare(references: Sequence[Caption], statistics: CiderStatistics) -> PreparedReferences:
    """Compute the vectors of an image's references once, for many calls of `cider_d`."""
    if not references:
        raise InputError("CIDEr-D needs at least one reference caption for each image")
    return PreparedReferences(tuple(_prepare(caption, statistics) for caption in references))


def cider_d(
    candidate: Caption,
    references: Sequence[Caption] | PreparedReferences,
    statistics: CiderStatistics,
) -> float:
    """CIDEr-D of one candidate against the references of its image: 0 to 10, more is better.

    For each length n, the cosine of the TF-IDF vectors, where no n-gram counts more often than in
    the reference, times exp(-(difference of lengths)² / 2 sigma²); averaged over lengths and
    references. A corpus's score is the mean over its images.

    >>> corpus = [[("a", "red", "cat")], [("a", "dog")]]
    >>> round(cider_d(("a", "red", "cat"), corpus[0], document_frequencies(corpus)), 6)
    7.5
    """
    if not isinstance(references, PreparedReferences):
        references = prepare(references, statistics)
    prepared = _prepare(candidate, statistics)
    total = sum(_similarity(prepared, reference) for reference in references.captions)
    return SCALE * total / (LONGEST * len(references.captions))


def _similarity(candidate: PreparedCaption, reference: PreparedCaption) -> float:
    """The sum over n of clipped cosines, with the penalty for a difference in length."""
    products = [0.0] * LONGEST
    for ngram, weight in candidate.weights.items():
        other = reference.weights.get(ngram)
        if other is not None:
            products[len(ngram) - 1] += min(weight, other) * other
    cosines = sum(
        product / (ours * theirs)
        for product, ours, theirs in zip(products, candidate.norms, reference.norms, strict=True)
        if ours > 0 and theirs > 0  # else the product is 0 as well
    )
    return cosines * math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))


def _prepare(caption: Caption, statistics: CiderStatistics) -> PreparedCaption:
    log_images = math.log(statistics.images)
    weights = {}
    squares = [0.0] * LONGEST
    for ngram, count in _ngrams(caption).items():
        frequency = statistics.frequencies.get(ngram, 1)
        weight = count * (log_images - math.log(frequency))
        weights[ngram] = weight
        squares[len(ngram) - 1] += weight * weight
    return PreparedCaption(weights, tuple(map(math.sqrt, squares)), max(len(caption) - 1, 0))


def _ngrams(caption: Caption) -> Counter[Ngram]:
    """Count the n-grams of a caption, of lengths 1 to 4."""
    if isinstance(caption, str):
        raise TypeError(f"a caption is a sequence of tokens, not the text {caption!r}; split it")
    words = tuple(caption)
    return Counter(
        words[start : start + n]
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )
