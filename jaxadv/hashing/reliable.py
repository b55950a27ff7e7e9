"""The reliable attack: lower the average precision in the other modality, hold it in the own one.

Ours; no paper has it. CMLA's two terms (eqs. 3 and 4) are likelihoods of pairs, and stand in for
what is measured: the average precision of what a query finds. Here the average precision itself is
descended, over the context's codes, with the query's code relaxed by tanh. Adam's steps shrink
along half a wave of the cosine, in units of the bound, so there is no learning rate to choose.
Every picture is rounded to 8 bits before the victim sees it. Of those that were seen the one counts
whose bits, ranked as a database is, come to the least

    (1 - keep) · AP_other + keep · max(AP_own of the benign query - AP_own, 0)                (1)

It is never larger than the benign query's, so that what AP_own loses is at most (1 - keep) / keep
times what AP_other loses.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv import checks
from jaxadv.core.attack import Attack, AttackInfo, AttackState, Fixed, Status, keep_where
from jaxadv.core.method import Method, option, steps
from jaxadv.core.norms import l2_norm
from jaxadv.data.images import round_8bit
from jaxadv.hashing.cmla import (
    BOUNDS,
    HashTarget,
    Known,
    Modality,
    bounded,
    codes_of,
    finds_wanted,
    hash_check,
    hash_judge,
)
from jaxadv.hashing.hasher import CrossModalHasher, binary_code
from jaxadv.hashing.options import HashOptions

KEEP = 0.5
BUDGET = 1000
SHARPNESS = 1.5  # of tanh, where the own modality's codes have a root mean square of 1
FIRST_STEP, LAST_STEP = 1 / 8, 1 / 160  # of Adam, in bounds
ROUNDING = 1e-3  # of a level, by which arithmetic may leave the bound


class Search(NamedTuple):
    """Where the search is, apart from the perturbation that it continues from.

    Attributes:
      own: AP_own of the benign query; 0 before the first step has found it.
      score: eq. (1) of the picked picture; infinite before the first step.
      taken: steps taken.
    """

    own: Float[Array, ""]
    score: Float[Array, ""]
    taken: Int[Array, ""]


class Precisions(NamedTuple):
    """The average precision of one code in both modalities.

    Attributes:
      other: of what it must not find in the other modality.
      own: of what is similar in its own one.
    """

    other: Float[Array, ""]
    own: Float[Array, ""]


def average_precision(
    distances: Float[Array, " N"], relevant: Bool[Array, " N"], bits: int
) -> Float[Array, ""]:
    """Return the average precision of a ranking by distances, differentiable in these.

    An item at distance d counts `max(1 - |d - r|, 0)` at the whole number r, of at most two. With
    n_r items at r, h_r of them relevant, and N_r items and H_r relevant ones before r,

        AP = Σ_r h_r (H_r + (h_r + 1) / 2) / (N_r + (n_r + 1) / 2) / Σ_r h_r

    which at whole distances that all differ is the average precision. Of equal items each counts by
    the middle of their places, whatever their order. Made of histograms, it takes O(N · bits), not
    the O(N²) of a comparison of all pairs (cf. FastAP, Cakir et al. 2019).

    Args:
      distances: f[N], in 0..bits.
      relevant: bool[N].
      bits: K.

    Returns:
      f[], 0 where nothing is relevant.

    >>> relevant = jnp.array([True, False, True])
    >>> print(f"{average_precision(jnp.array([0.0, 1.0, 2.0]), relevant, bits=2):.4f}")
    0.8333
    """
    places = jnp.arange(bits + 1, dtype=distances.dtype)
    belongs = jnp.maximum(1 - jnp.abs(distances[:, None] - places), 0)
    items, hits = belongs.sum(0), relevant.astype(distances.dtype) @ belongs
    items_before, hits_before = jnp.cumsum(items) - items, jnp.cumsum(hits) - hits
    precision = (hits_before + (hits + 1) / 2) / (items_before + (items + 1) / 2)
    return jnp.sum(hits * precision) / jnp.maximum(jnp.sum(relevant), 1)


def relaxed(code: Float[Array, " K"], own: Float[Array, "N K"]) -> Float[Array, " K"]:
    """Return a code between -1 and 1, `tanh(1.5 Ĥ / rms(H_own))`, whose signs are those of Ĥ.

    Args:
      code: f[K], the output of the hash layer, Ĥ.
      own: f[N, K], those of the context in the same modality.
    """
    square = jnp.mean(own**2)
    return jnp.tanh(SHARPNESS * code / jnp.sqrt(jnp.where(square > 0, square, 1.0)))


def precisions(
    code: Float[Array, " K"],
    own: Float[Array, "N K"],
    other: Float[Array, "N K"],
    target: HashTarget,
) -> Precisions:
    """Return the average precisions of a code whose distance to another is `(K - Ĥ Hᵀ) / 2`.

    Of signs that is the Hamming distance. Of embeddings of norm 1 and K times the query's it is the
    radius that the curves of `jaxadv.hashing.similarity` are over.

    Args:
      code: f[K], of components in -1..1; or K times an embedding.
      own: f[N, K], signs of the context's codes in the same modality; or its embeddings.
      other: f[N, K], in the other modality.
      target: what is similar, and what is wanted.
    """
    bits = code.shape[-1]

    def of(codes: Array, relevant: Array) -> Array:
        return average_precision((bits - codes @ code) / 2, relevant, bits)

    return Precisions(of(other, ~target.wanted), of(own, target.similar))


def weigh(found: Precisions, own: Float[Array, ""], keep: float) -> Float[Array, ""]:
    """Return eq. (1).

    Args:
      found: of the attacked query.
      own: AP_own of the benign one.
      keep: how much what AP_own loses counts, above 0 and at most 1.
    """
    return (1 - keep) * found.other + keep * jnp.maximum(own - found.own, 0)


def saved_within(
    picture: Float[Array, "*picture"], image: Float[Array, "*picture"], bound: float
) -> Float[Array, "*picture"]:
    """Return the picture as a file of 8 bits holds it within the bound, with its own gradient.

    A level outside the bound gives way to the nearest one inside. Where there is none the benign
    component stays. Bags of words are saved as they are.

    Args:
      picture: f32[H, W, 3] or f32[T], adversarial, in [0, 1].
      image: likewise, benign.
      bound: ε, in levels of 0..255.

    >>> image = jnp.full((1, 1, 3), 0.5)
    >>> (255 * saved_within(image + 8 / 255, image, 8.0)).ravel().tolist()
    [135.0, 135.0, 135.0]
    """
    if picture.ndim != 3:
        return picture
    lowest = jnp.ceil(255 * image - bound - ROUNDING)
    highest = jnp.floor(255 * image + bound + ROUNDING)
    levels = jnp.clip(jnp.round(255 * picture), lowest, highest)
    saved = round_8bit(levels / 255).astype(picture.dtype)
    nearest = jnp.where(lowest <= highest, saved, image)
    return picture + jax.lax.stop_gradient(nearest - picture)


def reliable(
    victim: CrossModalHasher,
    modality: Modality = "image",
    *,
    budget: int = BUDGET,
    bound: float | None = None,
    keep: float = KEEP,
) -> Attack:
    """Lower AP in the other modality at the least price in the own one, within a ball.

    What attacks take as parameters is `Known`, as CMLA does. A step is one pass forward and back.
    The reported perturbation, `best` and `final` alike, is the picked one, of the least eq. (1) so
    far. A dual encoder's embeddings take the place of the codes; that has not been measured.

    Args:
      victim: the pair of hash functions.
      modality: which of the two is attacked.
      budget: steps that the attack will be run.
      bound: ε, of pixels in 0..255 or of a text's weights; 8 and 0.01 by default, as CMLA's.
      keep: what a loss of AP in the own modality weighs, against 1 - keep of AP in the other one.

    Raises:
      InputError: the victim is no hasher, or an argument is outside its range.
    """
    judge, check = hash_judge(victim, modality), hash_check(victim, modality)
    checks.in_range(iterations=budget)
    checks.share("keep", keep)
    constraint = bounded(modality, bound)
    radius = BOUNDS[modality] if bound is None else bound
    embeds = victim.logit_scale is not None
    adam = optax.scale_by_adam(b2=0.99, eps_root=1e-16)

    def saved(variable: Array, image: Array) -> Array:
        return saved_within(constraint.picture(variable, image), image, radius)

    def init(known: Known, image: Array, target: HashTarget, key: Array) -> AttackState:
        variable, infinite = jnp.zeros_like(image), jnp.asarray(jnp.inf, image.dtype)
        nothing = saved(variable, image) - image
        return AttackState(
            perturbation=nothing,
            variable=variable,
            optimiser=adam.init(variable),
            latent=Search(jnp.zeros_like(infinite), infinite, jnp.zeros((), jnp.int32)),
            best=nothing,
            best_norm=infinite,
            status=jnp.asarray(Status.RUNNING, jnp.int32),
        )

    def appraise(
        known: Known, picture: Array, target: HashTarget, search: Search
    ) -> tuple[Array, tuple[Array, Precisions, Array]]:
        code, own, other = codes_of(victim, modality, known, picture)
        success = finds_wanted(jax.lax.stop_gradient(code), other, target.wanted, signs=not embeds)
        if embeds:
            soft = exact = precisions(len(code) * code, own, other, target)
        else:
            signs = binary_code(own), binary_code(other)
            exact = precisions(binary_code(code), *signs, target)
            soft = precisions(relaxed(code, own), *signs, target)
        exact = jax.lax.stop_gradient(exact)
        benign = jnp.where(search.taken == 0, exact.own, search.own)
        return weigh(soft, benign, keep), (benign, exact, success)

    def step(
        known: Known, image: Array, target: HashTarget, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        def loss(variable: Array) -> tuple[Array, Any]:
            return appraise(known, saved(variable, image), target, state.latent)

        (value, (own, exact, success)), slope = jax.value_and_grad(loss, has_aux=True)(
            state.variable
        )
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        picked = _pick(state, saved(state.variable, image) - image, weigh(exact, own, keep), finite)
        direction, optimiser = adam.update(slope, state.optimiser)
        moved = state.variable - radius * _pace(state.latent.taken, budget) * direction
        new = picked._replace(
            variable=constraint.project(moved, image),
            optimiser=optimiser,
            latent=picked.latent._replace(own=own, taken=state.latent.taken + 1),
        )
        diverged = state._replace(status=jnp.full_like(state.status, Status.DIVERGED))
        reports = {"ap_other": exact.other, "ap_own": exact.own}
        norm = l2_norm(saved(state.variable, image) - image)
        return keep_where(finite, new, diverged), AttackInfo(value, success, norm, reports)

    return Attack(init, step, judge, check, Fixed(victim))


def _pick(state: AttackState, perturbation: Array, score: Array, finite: Array) -> AttackState:
    """Pick a perturbation if its score is less than that of the picked one."""
    better = finite & (score < state.latent.score)
    chosen = jnp.where(better, perturbation, state.perturbation)
    return state._replace(
        perturbation=chosen,
        best=chosen,
        best_norm=l2_norm(chosen),
        latent=state.latent._replace(score=jnp.where(better, score, state.latent.score)),
    )


def _pace(taken: Int[Array, ""], budget: int) -> Array:
    """Return the length of a step, in bounds."""
    wave = (1 + jnp.cos(jnp.pi * jnp.minimum(taken / budget, 1))) / 2
    return LAST_STEP + (FIRST_STEP - LAST_STEP) * wave


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliableOptions(HashOptions):
    """What the reliable attack can be told.

    Attributes:
      budget: steps, each a pass over the victim.
      keep: what a loss of average precision in the own modality weighs.
    """

    budget: int = option(BUDGET, "passes over the victim, forward and back", check=steps)
    keep: float = option(
        KEEP,
        "what a loss of average precision in the own modality weighs, above 0 and at most 1",
        check=checks.share,
    )


def _bound(options: ReliableOptions) -> float:
    return BOUNDS[options.modality]


def _make(victim: CrossModalHasher, options: ReliableOptions) -> Attack:
    return reliable(
        victim,
        options.modality,
        budget=options.budget,
        bound=options.bound,
        keep=options.keep,
    )


METHOD = Method(
    name="reliable",
    options=ReliableOptions,
    make=_make,
    iterations=lambda options: options.budget,
    aims_at=lambda options: options.modality,
    derived=(("bound", _bound),),
)
