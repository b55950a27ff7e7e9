"""kFool: to the boundaries of k classes at once (Tursynbek et al. 2022), for several labels.

The step is that of the code that TkML-AP and TkMIA compare with; for several labels the score of
"the only relevant label" is the largest of all relevant ones (TkMIA paper, appendix B.2).
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv import checks
from jaxadv.core.attack import Attack, AttackInfo, AttackState, Fixed, Params, Status, end_step
from jaxadv.core.batching import any_in_batch
from jaxadv.core.constraints import clip
from jaxadv.core.method import Method
from jaxadv.core.norms import l2_norm
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import label_check, label_judge
from jaxadv.labels.options import LabelOptions
from jaxadv.labels.target import LabelTarget, excluded, leaves_top


def kfool(
    victim: MultiLabelClassifier,
    *,
    overshoot: float = 0.02,
    delta: int | None = None,
    stop_at_success: bool = True,
) -> Attack:
    """Step along the bisector of the boundaries between the best relevant label and k others.

    With `y = argmax_{i in Y} f_i` and the k irrelevant labels i of the highest scores, all of the
    present picture, `w_i = ∇f_i - ∇f_y` and the linearised boundary `f_i = f_y` is
    `d_i = (f_i - f_y) / ‖w_i‖` away. The step is `|sum_i d_i| w / ‖w‖`, `w = sum_i w_i / ‖w_i‖`: on
    a flat victim with k = 1, the least one that reaches the boundary. It has no learning rate.

    (The released code takes the k others among all labels, relevant ones too, and keeps the y of
    the benign picture.) One step takes a backward pass a boundary.

    Args:
      victim: the tagger.
      overshoot: η; steps are 1 + η as long, to cross the boundary (DeepFool: 0.02).
      delta: δ, how many specified labels must leave the first k; None for all.
      stop_at_success: stop at the first picture that fools the victim (paper: yes).

    Raises:
      InputError: the victim is no tagger, or an argument is outside its range.
    """
    check = label_check(victim, delta, needs_others=True)
    checks.not_negative("overshoot", overshoot)
    checks.true_or_false("stop_at_success", stop_at_success)
    constraint = clip()

    def init(params: Params, image: Array, target: LabelTarget, key: Array) -> AttackState:
        still = jnp.zeros_like(image)
        return AttackState(
            perturbation=still,
            variable=still,
            optimiser=(),
            latent=(),
            best=still,
            best_norm=jnp.asarray(jnp.inf, image.dtype),
            status=jnp.asarray(Status.RUNNING, jnp.int32),
        )

    def step(
        params: Params, image: Array, target: LabelTarget, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        adversarial = image + state.perturbation
        scores, logits, direction = to_boundaries(victim, params, adversarial, target)
        variable = constraint.project(state.variable + (1 + overshoot) * direction, image)
        moved = state._replace(perturbation=variable, variable=variable)
        success = leaves_top(target, logits, delta)
        finite = jnp.isfinite(logits).all() & jnp.isfinite(variable).all()
        new, norm = end_step(state, moved, success, finite, stop_at_success)
        gap = _kth_gap(scores, target)
        return new, AttackInfo(gap, success, norm, {"excluded": excluded(target, logits)})

    return Attack(init, step, label_judge(victim, delta), check, Fixed(victim))


def to_boundaries(
    victim: MultiLabelClassifier, params: Params, image: Array, target: LabelTarget
) -> tuple[Array, Array, Array]:
    """Return the scores and logits of a picture, f32[c] each, and kFool's step from it.

    Labels are ranked by their logits, and the boundaries are those of the scores.
    """

    def seen(x: Array) -> tuple[Array, Array]:
        logits = victim.logits(params, x)
        return jax.nn.sigmoid(logits), logits

    scores, pull, logits = jax.vjp(seen, image, has_aux=True)
    best = jnp.argmax(jnp.where(target.relevant, logits, -jnp.inf))
    others = jnp.argsort(jnp.where(target.relevant, jnp.inf, -logits), stable=True)
    places = jnp.arange(scores.shape[-1])
    counted = (places < target.k) & ~target.relevant[others]

    def boundary(other: Array) -> tuple[Array, Array]:
        (normal,) = pull(jnp.zeros_like(scores).at[other].add(1.0).at[best].add(-1.0))
        length = l2_norm(normal)
        flat = length == 0  # where a boundary has no direction there is no step to it
        length = jnp.where(flat, 1.0, length)
        distance = jnp.where(flat, 0.0, (scores[other] - scores[best]) / length)
        return normal / length, distance

    def add(sums: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        other, wanted = at
        found = jax.lax.cond(
            any_in_batch(wanted),
            lambda: boundary(other),
            lambda: (jnp.zeros_like(image), jnp.zeros_like(scores[0])),
        )
        return jax.tree.map(lambda s, x: s + jnp.where(wanted, x, 0.0), sums, found), None

    start = (jnp.zeros_like(image), jnp.zeros_like(scores[0]))
    (normal, distance), _ = jax.lax.scan(add, start, (others, counted))
    length = l2_norm(normal)
    return scores, logits, jnp.abs(distance) * normal / jnp.where(length > 0, length, 1.0)


def _kth_gap(scores: Array, target: LabelTarget) -> Array:
    """`max_{y in Y} f_y` above the k-th highest irrelevant score: positive until all Y are out."""
    falling = -jnp.sort(jnp.where(target.relevant, jnp.inf, -scores))
    return jnp.max(jnp.where(target.relevant, scores, -jnp.inf)) - falling[target.k - 1]


METHOD = Method(
    name="kfool",
    options=LabelOptions,
    make=lambda victim, options: kfool(victim, delta=options.delta),
    iterations=lambda options: options.iterations,
)
