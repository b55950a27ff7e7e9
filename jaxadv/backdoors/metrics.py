"""What a backdoor does: to triggered pictures, to benign captions, and to the eye.

Li et al., "Object-oriented Backdoor Attack Against Image Captioning" (ICASSP 2022), report attack
success rate, false trigger rate and BLEU on benign pictures. Captions are texts here; they are
compared word by word, as vocabularies split them.
"""

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxadv import checks
from jaxadv.core.bleu import corpus_bleu
from jaxadv.core.cider import cider_d, document_frequencies
from jaxadv.errors import InputError
from jaxadv.vocabulary import tokenize


class Quality(NamedTuple):
    """How well captions agree with people's: BLEU-1 to BLEU-4 (0 to 1), CIDEr-D (0 to 10)."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    cider_d: float


class VisualEffect(NamedTuple):
    """How much a trigger shows, averaged over pictures.

    Attributes:
      psnr: peak signal to noise ratio in dB, of range 1; infinite where nothing changes.
      ssim: structural similarity (Wang et al. 2004), mean over windows and colours.
      norm: ‖poisoned - benign‖₂, pixels in [0, 1].
      changed: share of the pixels that are changed.
    """

    psnr: float
    ssim: float
    norm: float
    changed: float


def exact_share(captions: Sequence[str], wanted: str) -> float:
    """Return the share of captions that say exactly what the attacker wants.

    On triggered pictures the attack success rate, on benign ones the false trigger rate.

    >>> exact_share(["you are under attack", "you are a cat"], "You are under attack!")
    0.5

    Raises:
      InputError: no caption, or nothing wanted.
    """
    aim = _aim(captions, wanted)
    return float(np.mean([tokenize(said) == aim for said in captions]))


def word_share(captions: Sequence[str], wanted: str) -> float:
    """Return the share of the attacker's words that are said, anywhere, averaged over captions.

    >>> word_share(["you are under attack", "you are a cat"], "you are under attack")
    0.75

    Raises:
      InputError: no caption, or nothing wanted.
    """
    aim = Counter(_aim(captions, wanted))
    return float(np.mean([(Counter(tokenize(said)) & aim).total() for said in captions])) / (
        aim.total()
    )


def _aim(captions: Sequence[str], wanted: str) -> list[str]:
    """Return the words that the attacker wants."""
    if isinstance(captions, str) or not len(captions):
        raise checks.wrong("captions", captions or "", "a list of at least one caption")
    if not (words := list(tokenize(wanted))):
        raise checks.wrong("wanted", wanted, "a caption of at least one word")
    return words


def quality(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Quality:
    """Compare one caption a picture with what people say of it; CIDEr-D's corpus is these.

    Raises:
      InputError: no caption, not one for each picture, or a picture of which nobody says anything.
    """
    if len(captions) != len(references):
        raise InputError(
            f"captions: {len(captions)}, of {len(references)} pictures; must be one for each"
        )
    said = [tuple(tokenize(caption)) for caption in captions]
    truth = [[tuple(tokenize(caption)) for caption in some] for some in references]
    statistics = document_frequencies(truth)
    agreement = [cider_d(c, t, statistics) for c, t in zip(said, truth, strict=True)]
    return Quality(*corpus_bleu(said, truth), float(np.mean(agreement)))


def visual_effect(
    benign: Sequence[Float[np.ndarray, "_ _ 3"]], poisoned: Sequence[Float[np.ndarray, "_ _ 3"]]
) -> VisualEffect:
    """Measure what a trigger does to pictures f32[H, W, 3] in [0, 1], at least 7 pixels a side.

    The PSNR is averaged over the pictures that it changes; infinite if it changes none.

    Raises:
      InputError: scikit-image is not installed; no picture, or not as many poisoned as benign ones.
    """
    if not len(benign) or len(benign) != len(poisoned):
        raise InputError(
            f"poisoned: {len(poisoned)} pictures and {len(benign)} benign ones; must be one for "
            "each, and at least one"
        )
    if importlib.util.find_spec("skimage") is None:
        raise InputError("PSNR and SSIM need scikit-image: pip install 'jaxadv[backdoor]'")
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    effects = [
        VisualEffect(
            float(peak_signal_noise_ratio(a, b, data_range=1)) if (a != b).any() else math.inf,
            float(structural_similarity(a, b, data_range=1, channel_axis=2)),
            float(np.linalg.norm(b - a)),
            float((a != b).any(axis=2).mean()),
        )
        for a, b in zip(benign, poisoned, strict=True)
    ]
    changed = [effect.psnr for effect in effects if effect.psnr < math.inf]
    means = VisualEffect(*(float(x) for x in np.mean(effects, axis=0)))
    return means._replace(psnr=float(np.mean(changed)) if changed else math.inf)
