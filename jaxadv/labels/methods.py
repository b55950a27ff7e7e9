"""The attacks on labels by name; one that is added here is in every command, sweep and table."""

from jaxadv.core.method import Method
from jaxadv.labels.kfool import METHOD as KFOOL
from jaxadv.labels.ml_cw_u import METHOD as ML_CW_U
from jaxadv.labels.reliable import METHOD as RELIABLE
from jaxadv.labels.tkmia import METHOD as TKMIA
from jaxadv.labels.tkml_ap_u import METHOD as TKML_AP_U

METHODS: tuple[Method, ...] = (TKMIA, ML_CW_U, TKML_AP_U, KFOOL, RELIABLE)
