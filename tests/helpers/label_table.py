"""The table of attacks on taggers, on a tiny victim, that every driver is tested with."""

import jax
import jax.numpy as jnp
import optax
from helpers.tiny import batch_of, tiny_image
from helpers.tiny_tagger import TAGGER, label_target, tagger_parameters

from jaxadv.core.constraints import clip, tanh_of_picture
from jaxadv.labels.judging import label_optimiser
from jaxadv.labels.kfool import kfool
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.tkmia import tkmia
from jaxadv.labels.tkml_ap_u import tkml_ap_u

RATE = 0.5
FAST = label_optimiser(RATE)

ATTACKS = {
    "tkmia": tkmia(TAGGER, optimiser=FAST),
    "tkmia-gradient": tkmia(TAGGER, inner="gradient", multiplier_rate=0.1, optimiser=FAST),
    "tkmia-tanh": tkmia(TAGGER, constraint=tanh_of_picture(), optimiser=FAST),
    "tkmia-adam": tkmia(TAGGER, constraint=clip(), optimiser=optax.adam(1e-2)),
    "tkml-ap-u": tkml_ap_u(TAGGER, optimiser=FAST),
    "ml-cw-u": ml_cw_u(TAGGER, optimiser=FAST),
    "kfool": kfool(TAGGER),
}
PARAMETERS = tagger_parameters(dtype="float32")


def pictures(count):
    return batch_of(lambda seed: tiny_image(seed, dtype="float32"), count)


def targets(count):
    every = (label_target(PARAMETERS, x, seed) for seed, x in enumerate(pictures(count)))
    return jax.tree.map(lambda *x: jnp.stack(x), *every)
