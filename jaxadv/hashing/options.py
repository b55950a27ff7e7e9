"""The options that the attacks on hashers share."""

import dataclasses

from jaxadv import checks
from jaxadv.core.method import AttackOptions, option
from jaxadv.hashing.cmla import Modality


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashOptions(AttackOptions):
    """What every attack on a hasher can be told.

    Attributes:
      modality: what is attacked.
      bound: ε, of pixels in 0..255 or of a text's weights in 0..1.
    """

    modality: Modality = option("image", "what is attacked: image or text")
    bound: float | None = option(
        None,
        "of pixels in 0..255 (8; 10 with non-negative), or of a text's weights (0.01)",
        symbol="ε",
        check=checks.positive,
    )
