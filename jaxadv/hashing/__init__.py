"""Attacks on cross-modal hashers (Li et al., NeurIPS 2019): protocol, CMLA and measures."""

from jaxadv.hashing.cmla import HashTarget, Known, Weights, cmla
from jaxadv.hashing.cmla import hash_target as target
from jaxadv.hashing.encoding import known
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.hashing.metrics import distortion, pack, retrieval

__all__ = [
    "CrossModalHasher",
    "HashTarget",
    "Known",
    "Weights",
    "cmla",
    "distortion",
    "known",
    "pack",
    "retrieval",
    "target",
]
