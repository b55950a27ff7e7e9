"""Attacks on multi-label classifiers (Sun et al., ACM MM 2023): protocol, targets, measures."""

from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.kfool import kfool
from jaxadv.labels.metrics import mean_average_precision, ranking_scores
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.predicting import predict
from jaxadv.labels.target import LabelTarget, target
from jaxadv.labels.tkmia import tkmia
from jaxadv.labels.tkml_ap_u import tkml_ap_u

__all__ = [
    "LabelTarget",
    "MultiLabelClassifier",
    "kfool",
    "mean_average_precision",
    "ml_cw_u",
    "predict",
    "ranking_scores",
    "target",
    "tkmia",
    "tkml_ap_u",
]
