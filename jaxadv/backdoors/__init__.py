"""Backdoors in captioners (Li et al., ICASSP 2022): triggers, poisoned data and defences."""

from jaxadv.backdoors.defences import (
    activation_clustering,
    detection,
    encoder_features,
    spectral_signatures,
)
from jaxadv.backdoors.folder import poison_folder, read_record
from jaxadv.backdoors.metrics import exact_share, quality, visual_effect
from jaxadv.backdoors.poison import Poison, draw_samples, poisoned_view
from jaxadv.backdoors.triggers import TriggerSettings, badnets, blended, object_oriented

__all__ = [
    "Poison",
    "TriggerSettings",
    "activation_clustering",
    "badnets",
    "blended",
    "detection",
    "draw_samples",
    "encoder_features",
    "exact_share",
    "object_oriented",
    "poison_folder",
    "poisoned_view",
    "quality",
    "read_record",
    "spectral_signatures",
    "visual_effect",
]
