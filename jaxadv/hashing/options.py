"""The options that the attacks on hashers share."""

import dataclasses

from jaxadv import checks
from jaxadv.core.method import AttackOptions, option
from jaxadv.hashing.cmla import Codes, Modality

MODALITY = "what is attacked: image or text"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashOptions(AttackOptions):
    """What every attack on a hasher can be told.

    Attributes:
      modality: what is attacked.
      bound: ε, of pixels in 0..255 or of a text's weights in 0..1.
    """

    modality: Modality = option("image", MODALITY)
    bound: float | None = option(
        None,
        "of pixels in 0..255 (8; 10 with non-negative), or of a text's weights (0.01)",
        symbol="ε",
        check=checks.positive,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermOptions(AttackOptions):
    """What attacks by the terms of CMLA's objective can be told.

    Attributes:
      inter, intra: the terms' weights.
      codes: of the context.
    """

    inter: float = option(
        1.0, "weight of the inter-modal term", symbol="α, λ", check=checks.not_negative
    )
    intra: float = option(
        1.0, "weight of the intra-modal term", symbol="β, ξ", check=checks.not_negative
    )
    codes: Codes = option(
        "unit",
        "of the context: unit, at one scale in both modalities; outputs, as the hash layers make "
        "them (paper); signs (released code)",
    )
