"""An attack of one's own, from the four pieces: objective, judge, constraint, optimiser."""

import jax
import optax

from jaxadv.core.attack import Appraisal, Objective, descend
from jaxadv.core.constraints import ball
from jaxadv.labels.judging import label_judge
from jaxadv.labels.target import leaves_top


def flee(victim, *, radius=0.1, rate=0.01):
    """Make a tagger doubt all that is right, by signed steps in a ball."""

    def loss(params, image, adversarial, target, latent):
        logits = victim.logits(params, adversarial)
        wrong = optax.sigmoid_binary_cross_entropy(logits, target.relevant).sum()
        success = leaves_top(target, jax.lax.stop_gradient(logits))
        return -wrong, Appraisal(latent, success, reports={})

    return descend(
        Objective(init=lambda params, image, target, key: (), loss=loss),
        label_judge(victim),
        constraint=ball(radius),
        optimiser=optax.sign_sgd(rate),
    )
