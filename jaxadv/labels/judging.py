"""What the attacks on taggers share: judging by the ranking, one pass over the picture a step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from jaxadv import checks
from jaxadv.core.attack import Appraisal, Check, Judge, Objective, Verdict
from jaxadv.data.images import check_size
from jaxadv.labels.classifier import MultiLabelClassifier, Params
from jaxadv.labels.target import LabelError, LabelTarget, check_target, excluded, leaves_top

ITERATIONS = 300  # of the paper's tables; it also runs 100 and 500
TRADEOFF = 1e-4  # α and the learning rate are searched in {1e-3, 5e-4, 1e-4, 5e-5}
LEARNING_RATE = 5e-4  # these two are the released commands'


class Termed(NamedTuple):
    """What a method's own loss finds at a picture's scores, and its latent for the next step."""

    loss: Float[Array, ""]
    latent: Any


Term = Callable[[Float[Array, " c"], LabelTarget, Any], Termed]
"""`(scores f32[c], target, latent) -> Termed`."""


def stateless(loss: Callable[[Float[Array, " c"], LabelTarget], Float[Array, ""]]) -> Term:
    """Make a term of a loss that carries nothing from step to step.

    Raises:
      InputError: the loss is no function.
    """
    checks.callable_("loss", loss, "jaxadv.labels.ml_cw_u.loss")
    return lambda scores, target, latent: Termed(loss(scores, target), latent)


def label_optimiser(learning_rate: float = LEARNING_RATE) -> optax.GradientTransformation:
    """SGD with momentum 0.9, as in the paper's section 5.1.

    Raises:
      InputError: the learning rate is not positive and finite.
    """
    checks.in_range(learning_rate=learning_rate)
    return optax.sgd(learning_rate, momentum=0.9)


def label_judge(victim: MultiLabelClassifier, delta: int | None = None) -> Judge:
    """Judge a picture by how many specified labels are out of the first k; says the logits.

    Logits are ranked, not probabilities: of these many are 1.0 where a tagger is sure.

    Raises:
      InputError: the victim is no tagger, or δ is less than 1.
    """
    _check_victim(victim, delta)

    def judge(params: Params, image: Array, target: LabelTarget) -> Verdict:
        check_size(image, victim.image_shape)
        logits = victim.logits(params, image)
        return Verdict(leaves_top(target, logits, delta), logits)

    return judge


def label_check(
    victim: MultiLabelClassifier, delta: int | None = None, *, needs_others: bool = False
) -> Check:
    """Refuse targets for which an attack can do nothing.

    Args:
      victim: the tagger.
      delta: δ; None for all.
      needs_others: whether the attack is lost without a label that is not relevant.

    Raises:
      InputError: the victim is no tagger, or δ is less than 1.
    """
    _check_victim(victim, delta)
    checks.true_or_false("needs_others", needs_others)

    def check(params: Params, image: Any, target: Any) -> None:
        checks.made_of("target", target, LabelTarget, "make_label_target(relevant, ...)")
        check_size(image, victim.image_shape)
        check_target(target, victim.classes, delta)
        if needs_others and np.all(target.relevant):
            raise LabelError(
                "every label is relevant: this attack raises those that are not; use tkmia"
            )

    return check


def _check_victim(victim: MultiLabelClassifier, delta: int | None) -> None:
    checks.victim(victim, MultiLabelClassifier, "classifier")
    if delta is not None:
        checks.in_range(delta=delta)


def label_objective(
    victim: MultiLabelClassifier,
    term: Term,
    tradeoff: float,
    *,
    delta: int | None = None,
    first: Callable[[], Any] = tuple,
) -> Objective:
    """Make an objective of a term on the scores: `term + α/2 ‖ε‖²` (eqs. 3 and 6).

    ε is the perturbation of the picture in [-1, 1], where the paper attacks: twice that of ours.

    Args:
      victim: the tagger.
      term: the method's own loss.
      tradeoff: α.
      delta: δ, how many specified labels must leave the first k; None for all.
      first: the method's latent quantities before the first step.

    Raises:
      InputError: the victim is no tagger, or a number is outside its range.
    """
    _check_victim(victim, delta)
    checks.callable_("term", term, "jaxadv.labels.stateless(loss)")
    checks.in_range(tradeoff=tradeoff)
    checks.callable_("first", first, "tuple")

    def loss(
        params: Params, image: Array, adversarial: Array, target: LabelTarget, latent: Any
    ) -> tuple[Float[Array, ""], Appraisal]:
        logits = victim.logits(params, adversarial)
        found = term(jax.nn.sigmoid(logits), target, latent)
        total = found.loss + tradeoff / 2 * jnp.sum((2 * (adversarial - image)) ** 2)
        seen = jax.lax.stop_gradient(logits)
        reports = {"excluded": excluded(target, seen)}
        return total, Appraisal(found.latent, leaves_top(target, seen, delta), reports)

    return Objective(init=lambda params, image, target, key: first(), loss=loss)
