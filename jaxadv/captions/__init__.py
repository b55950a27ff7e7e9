"""Attacks on captioners (Xu et al., CVPR 2019): protocol, targets, objectives and measures."""

from jaxadv.captions.anchored import anchored
from jaxadv.captions.bank import Known, bank_of
from jaxadv.captions.captioner import (
    Captioner,
    beam,
    caption_log_probability,
    greedy,
    with_unknown_words,
)
from jaxadv.captions.criteria import says_keywords, says_target
from jaxadv.captions.gem import gem
from jaxadv.captions.gem import objective as gem_objective
from jaxadv.captions.judging import caption_judge, caption_objective
from jaxadv.captions.metrics import precision, recall, success_sign
from jaxadv.captions.reliable import reliable
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.speaking import say
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import (
    Keywords,
    PartialCaption,
    keywords,
    make_target,
    stack_targets,
    target,
    write_target,
)
from jaxadv.captions.untargeted import untargeted
from jaxadv.data.sentence_forms import parse_clause, say_as

__all__ = [
    "Captioner",
    "Keywords",
    "Known",
    "PartialCaption",
    "anchored",
    "bank_of",
    "beam",
    "caption_judge",
    "caption_log_probability",
    "caption_objective",
    "gem",
    "gem_objective",
    "greedy",
    "keywords",
    "make_target",
    "parse_clause",
    "precision",
    "recall",
    "reliable",
    "say",
    "say_as",
    "says_keywords",
    "says_target",
    "show_and_fool",
    "ssvm",
    "stack_targets",
    "success_sign",
    "target",
    "untargeted",
    "with_unknown_words",
    "write_target",
]
