"""Backdoors in captioners (Li et al., ICASSP 2022): triggers, poisoned data and defences."""

from jaxadv.backdoors.defences import activation_clustering, spectral_signatures
from jaxadv.backdoors.metrics import exact_share, visual_effect
from jaxadv.backdoors.poison import Poison, draw_samples, poisoned_view
from jaxadv.backdoors.triggers import TriggerSettings, badnets, blended, object_oriented

__all__ = [
    "Poison",
    "TriggerSettings",
    "activation_clustering",
    "badnets",
    "blended",
    "draw_samples",
    "exact_share",
    "object_oriented",
    "poisoned_view",
    "spectral_signatures",
    "visual_effect",
]
