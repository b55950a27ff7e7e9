"""Attacks on cross-modal hashers (CMLA: Li et al., NeurIPS 2019; reliable: ours), and measures.

On texts also word for word, by HotFlip's gradients (Ebrahimi et al., ACL 2018).
"""

from jaxadv.hashing.cmla import HashTarget, Known, Weights, bounded, cmla, released
from jaxadv.hashing.cmla import hash_target as target
from jaxadv.hashing.cmla import objective as cmla_objective
from jaxadv.hashing.encoding import known
from jaxadv.hashing.hasher import CrossModalHasher, binary_code, unit
from jaxadv.hashing.metrics import distortion, pack, retrieval, search
from jaxadv.hashing.reliable import reliable
from jaxadv.hashing.substitution import WordTarget, substitution

__all__ = [
    "CrossModalHasher",
    "HashTarget",
    "Known",
    "Weights",
    "WordTarget",
    "binary_code",
    "bounded",
    "cmla",
    "cmla_objective",
    "distortion",
    "known",
    "pack",
    "released",
    "reliable",
    "retrieval",
    "search",
    "substitution",
    "target",
    "unit",
]
