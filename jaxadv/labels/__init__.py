"""Attacks on multi-label classifiers (Sun et al., ACM MM 2023): protocol, targets, measures."""

from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import label_judge, label_objective, stateless
from jaxadv.labels.kfool import kfool
from jaxadv.labels.metrics import attack_row, mean_average_precision, ranking_scores
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.ml_cw_u import objective as ml_cw_u_objective
from jaxadv.labels.predicting import predict
from jaxadv.labels.ranking import in_top
from jaxadv.labels.reliable import objective as reliable_objective
from jaxadv.labels.reliable import reliable
from jaxadv.labels.target import (
    LabelTarget,
    is_valid,
    leaves_top,
    specify_global,
    specify_random,
    target,
)
from jaxadv.labels.tkmia import objective as tkmia_objective
from jaxadv.labels.tkmia import tkmia
from jaxadv.labels.tkml_ap_u import objective as tkml_ap_u_objective
from jaxadv.labels.tkml_ap_u import tkml_ap_u

__all__ = [
    "LabelTarget",
    "MultiLabelClassifier",
    "attack_row",
    "in_top",
    "is_valid",
    "kfool",
    "label_judge",
    "label_objective",
    "leaves_top",
    "mean_average_precision",
    "ml_cw_u",
    "ml_cw_u_objective",
    "predict",
    "ranking_scores",
    "reliable",
    "reliable_objective",
    "specify_global",
    "specify_random",
    "stateless",
    "target",
    "tkmia",
    "tkmia_objective",
    "tkml_ap_u",
    "tkml_ap_u_objective",
]
