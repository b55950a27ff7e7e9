"""Attacks on captioners (Xu et al., CVPR 2019): protocol, targets, objectives and measures."""

from jaxadv.captions.captioner import Captioner
from jaxadv.captions.gem import gem
from jaxadv.captions.metrics import precision, recall, success_sign
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.speaking import say
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import PartialCaption, keywords, target
from jaxadv.captions.untargeted import untargeted

__all__ = [
    "Captioner",
    "PartialCaption",
    "gem",
    "keywords",
    "precision",
    "recall",
    "say",
    "show_and_fool",
    "ssvm",
    "success_sign",
    "target",
    "untargeted",
]
