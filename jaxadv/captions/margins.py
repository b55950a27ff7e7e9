"""Margins of logits for partial captions: what is said right counts no further.

Show-and-Fool's loss (Chen et al. 2018, eq. 7) where words are latent: they are completed by the
most probable kept configuration, chosen again at every picture.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import checks
from jaxadv.captions.captioner import (
    Captioner,
    Features,
    Params,
    teacher_forced_logits,
    without_suppressed,
)
from jaxadv.captions.judging import Term, Termed
from jaxadv.captions.marginal import marginal
from jaxadv.captions.show_and_fool import best_other
from jaxadv.captions.target import PartialCaption


def term(victim: Captioner, *, margin: float = 1.0, top: int = 3, lanes: int = 9) -> Term:
    """Return `sum_t max(-κ, max_{k != S_t} z_t(k) - z_t(S_t))` over the observed places t.

    The words before each place are those of the most probable of the kept configurations.

    Args:
      victim: the captioner.
      margin: κ, by how much a word is to lead.
      top: states kept a latent word.
      lanes: configurations kept at once.

    Raises:
      InputError: the victim is no captioner, or the margin is negative or not finite.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.in_range(margin=margin)

    def hinges(params: Params, features: Features, target: PartialCaption, latent: Any) -> Termed:
        still = jax.lax.stop_gradient(features)
        found = marginal(victim, params, still, target, posterior="joint", top=top, lanes=lanes)
        likely = found.configurations[jnp.argmax(found.weights)]
        tokens = jnp.where(target.observed, target.tokens, likely)
        logits = without_suppressed(
            victim.vocabulary, teacher_forced_logits(victim, params, features, tokens)
        )
        # masked sums: the transpose of an index is a scatter, which CPUs do slowly
        chosen = jnp.where(np.arange(logits.shape[-1]) == tokens[:, None], logits, 0.0).sum(axis=-1)
        gaps = jax.vmap(best_other)(logits, tokens) - chosen
        value = jnp.where(target.observed, jnp.maximum(gaps, -margin), 0.0).sum()
        return Termed(value, latent, found.said, {"log_likelihood": found.log_likelihood})

    return hinges
