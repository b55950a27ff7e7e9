"""Show-and-Fool (Chen et al. 2018): captions and keywords, on logits, with a searched constant.

Numbers of equations marked [6] are that paper's (section 3). All losses are for minimisation;
`margin` is its κ (the released code's default is 1).
"""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv import checks
from jaxadv.captions.captioner import (
    Captioner,
    Features,
    spoken,
    teacher_forced_logits,
    without_suppressed,
)
from jaxadv.captions.criteria import (
    Criterion,
    avoids_keywords,
    leaves_caption,
    says_keywords,
    says_target,
)
from jaxadv.captions.judging import (
    Termed,
    caption_check,
    caption_judge,
    caption_objective,
    say,
    squared_l2,
)
from jaxadv.captions.options import COMPLETE, KEYWORDS, PRESENT
from jaxadv.captions.target import Keywords, PartialCaption
from jaxadv.core.attack import (
    Attack,
    AttackInfo,
    AttackState,
    Params,
    Target,
    default_optimiser,
    descend,
    keep_where,
)
from jaxadv.core.constraints import Constraint, tanh
from jaxadv.core.method import AttackOptions, Method, option
from jaxadv.core.method import steps as number_of_steps
from jaxadv.vocabulary import END

_FAR = 10_000.0  # what the gate of [6] eq. 9 puts a barred place at


def best_other(logits: Float[Array, "*places V"], word: Int[Array, ""]) -> Float[Array, "*places"]:
    """`max_{k != word} z(k)`."""
    return jnp.max(jnp.where(jnp.arange(logits.shape[-1]) == word, -jnp.inf, logits), axis=-1)


def caption_logits(logits: Float[Array, "T V"], target: PartialCaption) -> Float[Array, ""]:
    """`-sum_t z_t(S_t)` over the observed places: maximise them ([6] eq. 6).

    Its negative leaves a caption.
    """
    chosen = jnp.take_along_axis(logits, target.tokens[:, None], axis=1)[:, 0]
    return -jnp.where(target.observed, chosen, 0.0).sum()


def caption_margin(
    logits: Float[Array, "T V"], target: PartialCaption, margin: float
) -> Float[Array, ""]:
    """`sum_t max(-κ, max_{k != S_t} z_t(k) - z_t(S_t))` over the observed places ([6] eq. 7)."""
    chosen = jnp.take_along_axis(logits, target.tokens[:, None], axis=1)[:, 0]
    gaps = jax.vmap(best_other)(logits, target.tokens) - chosen
    return jnp.where(target.observed, jnp.maximum(gaps, -margin), 0.0).sum()


def untargeted_caption_margin(
    logits: Float[Array, "T V"], avoided: PartialCaption, margin: float
) -> Float[Array, ""]:
    """`sum_t max(-κ, z_t(S_t) - max_{k != S_t} z_t(k))`: leave the caption that is said now."""
    chosen = jnp.take_along_axis(logits, avoided.tokens[:, None], axis=1)[:, 0]
    gaps = chosen - jax.vmap(best_other)(logits, avoided.tokens)
    return jnp.where(avoided.observed, jnp.maximum(gaps, -margin), 0.0).sum()


def keyword_logits(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords
) -> Float[Array, ""]:
    """`-sum_j max_t z_t(K_j)` over the places of the caption said now: any one place will do.

    Its negative pushes the keywords down where they are highest.
    """
    scores = jnp.where(said[:, None], logits[:, keywords.words], -jnp.inf)
    return -jnp.where(keywords.words != END, scores.max(axis=0), 0.0).sum()


def keyword_margin(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords, margin: float
) -> Float[Array, ""]:
    """`sum_j min_t g_{t,j}( max(-κ, max_{k != K_j} z_t(k) - z_t(K_j)) )` ([6] eqs. 8-9).

    The gate g puts the place far away for `K_j` where another keyword is the top word already, so
    that two keywords do not fight for one place. `said` marks the places of the caption said now.
    """
    words = keywords.words
    gaps = jax.vmap(best_other, in_axes=(None, 0), out_axes=1)(logits, words) - logits[:, words]
    top = jnp.argmax(logits, axis=-1)[:, None]
    taken = ((top == words) & (words != END)).any(axis=1, keepdims=True) & (top != words)
    gated = jnp.where(taken | ~said[:, None], _FAR, jnp.maximum(gaps, -margin))
    return jnp.where(words != END, gated.min(axis=0), 0.0).sum()


def untargeted_keyword_margin(
    logits: Float[Array, "T V"], said: Bool[Array, " T"], keywords: Keywords, margin: float
) -> Float[Array, ""]:
    """`sum_j max_t max(-κ, z_t(K_j) - max_{k != K_j} z_t(k))`: at no place may a keyword lead."""
    words = keywords.words
    gaps = logits[:, words] - jax.vmap(best_other, in_axes=(None, 0), out_axes=1)(logits, words)
    worst = jnp.where(said[:, None], jnp.maximum(gaps, -margin), -margin).max(axis=0)
    return jnp.where(words != END, worst, 0.0).sum()


TRIES = 5
ITERATIONS = 1000

Aim = Literal["caption", "keywords"]
Loss = Literal["margin", "logits"]
Distance = Literal["l2", "linf"]

_CRITERIA: dict[tuple[str, bool], Criterion] = {
    ("caption", True): says_target,
    ("caption", False): leaves_caption,
    ("keywords", True): says_keywords,
    ("keywords", False): avoids_keywords,
}


class ConstantSearch(NamedTuple):
    """Where the search over the constant stands.

    Attributes:
      constant: c, the weight of the loss against the distance in the present try.
      too_small: largest constant that failed; 0 while none has.
      large_enough: smallest constant that fooled the victim; infinite while none has.
      fooled: whether the present try has fooled the victim.
      steps: steps taken in the present try.
    """

    constant: Array
    too_small: Array
    large_enough: Array
    fooled: Array
    steps: Array


def show_and_fool(
    victim: Captioner,
    *,
    aim: Aim = "caption",
    targeted: bool = True,
    loss: Loss = "margin",
    margin: float = 1.0,
    constant: float = 1.0,
    iterations: int = ITERATIONS,
    distance: Distance = "l2",
    constraint: Constraint | None = None,
    optimiser: optax.GradientTransformation | None = None,
) -> Attack:
    """Minimise `c * loss + ‖δ‖²` in tanh coordinates, searching c.

    Every `iterations` steps a try ends: the constant is halved after a success (or bisected, once
    one has failed), multiplied by ten after a failure (or bisected, once one has succeeded), and
    the attack starts again from the benign picture. Run it `tries * iterations` steps (released
    code: 5 times 1000). What counts is `Result.best`, the success of least norm over all tries.

    Args:
      victim: the captioner.
      aim: "caption": the target is a `PartialCaption` (complete in the paper); untargeted, the
        caption to leave. "keywords": the target is `Keywords`, to say or to avoid anywhere.
      targeted: reach the target, or leave it.
      loss: "margin" of logits ([6] eqs. 7, 9) or "logits" to be maximised ([6] eq. 6).
      margin: κ (released code: 1; the exact-caption paper compares at 10,000).
      constant: c of the first try.
      iterations: steps a try.
      distance: "l2", squared, as in the paper; "linf" is the released code's default.
      constraint: `tanh()` by default.
      optimiser: Adam at 5e-3 by default, as in the released code.

    Raises:
      InputError: the victim is no captioner, or an argument is outside its range.
    """
    checks.one_of("aim", aim, get_args(Aim))
    checks.true_or_false("targeted", targeted)
    checks.one_of("loss", loss, get_args(Loss))
    checks.in_range(margin=margin, constant=constant, iterations=iterations)
    checks.one_of("distance", distance, get_args(Distance))
    criterion = _CRITERIA[aim, targeted]

    def scores(params: Params, features: Features, tokens: Array) -> Array:
        # a word that is never decoded is no competitor, however high it scores
        logits = teacher_forced_logits(victim, params, features, tokens)
        return without_suppressed(victim.vocabulary, logits)

    def term(params: Params, features: Features, target: Target, search: ConstantSearch) -> Termed:
        said = say(victim, params, features)
        if aim == "caption":
            logits = scores(params, features, target.tokens)
            value = _caption_loss(logits, target, loss, targeted, margin)
        else:  # keywords may come anywhere in what is said now
            logits = scores(params, features, said)
            value = _keyword_loss(logits, spoken(said), target, loss, targeted, margin)
        return Termed(search.constant * value, search, said, {"constant": search.constant})

    def first() -> ConstantSearch:
        return ConstantSearch(
            constant=jnp.asarray(constant, jnp.float32),
            too_small=jnp.zeros((), jnp.float32),
            large_enough=jnp.asarray(jnp.inf, jnp.float32),
            fooled=jnp.zeros((), bool),
            steps=jnp.zeros((), jnp.int32),
        )

    measure = squared_l2 if distance == "l2" else _largest_change
    one_try = descend(
        caption_objective(victim, criterion, term, 1.0, first=first, distance=measure),
        caption_judge(victim, criterion),
        constraint=tanh() if constraint is None else constraint,
        optimiser=default_optimiser(5e-3) if optimiser is None else optimiser,
        check=caption_check(victim, PartialCaption if aim == "caption" else Keywords),
        victim=victim,
    )

    def step(
        params: Params, image: Array, target: Target, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        unused = jax.random.key(0)  # nothing is drawn
        restarted = one_try.init(params, image, target, unused)._replace(
            latent=_next_constant(state.latent),
            best=state.best,
            best_norm=state.best_norm,
            status=state.status,
        )
        # before a step, not after one, so that the last try ends with its last picture
        state = keep_where(state.latent.steps == iterations, restarted, state)
        state, info = one_try.step(params, image, target, state)
        search = state.latent._replace(
            fooled=state.latent.fooled | info.success, steps=state.latent.steps + 1
        )
        return state._replace(latent=search), info

    return one_try._replace(step=step)


def _next_constant(search: ConstantSearch) -> ConstantSearch:
    c = search.constant
    too_small = jnp.where(search.fooled, search.too_small, jnp.maximum(search.too_small, c))
    large_enough = jnp.where(
        search.fooled, jnp.minimum(search.large_enough, c), search.large_enough
    )
    bracketed = (too_small > 0) & jnp.isfinite(large_enough)
    alone = jnp.where(search.fooled, c * 0.5, c * 10.0)
    bisected = (too_small + jnp.where(bracketed, large_enough, 0.0)) / 2
    return ConstantSearch(
        constant=jnp.where(bracketed, bisected, alone),
        too_small=too_small,
        large_enough=large_enough,
        fooled=jnp.zeros_like(search.fooled),
        steps=jnp.zeros_like(search.steps),
    )


def _caption_loss(logits: Array, target: Any, loss: Loss, targeted: bool, margin: float) -> Array:
    if loss == "logits":
        value = caption_logits(logits, target)
        return value if targeted else -value
    if targeted:
        return caption_margin(logits, target, margin)
    return untargeted_caption_margin(logits, target, margin)


def _keyword_loss(
    logits: Array, said: Array, target: Any, loss: Loss, targeted: bool, margin: float
) -> Array:
    if loss == "logits":
        value = keyword_logits(logits, said, target)
        return value if targeted else -value
    if targeted:
        return keyword_margin(logits, said, target, margin)
    return untargeted_keyword_margin(logits, said, target, margin)


def _largest_change(perturbation: Array) -> Array:
    return jnp.max(jnp.abs(perturbation))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowAndFoolOptions(AttackOptions):
    """What Show-and-Fool can be told.

    Attributes:
      learning_rate: Adam's.
      iterations: steps a try.
      loss: of the caption.
      margin: κ.
      constant: c of the first try.
      tries: of the constant.
      aim: a caption, or keywords.
      targeted: reach the target, or leave it.
    """

    learning_rate: float = option(5e-3, "of Adam", check=checks.positive)
    iterations: int = option(ITERATIONS, "steps a try", check=number_of_steps)
    loss: Loss = option("margin", "margin or logits")
    margin: float = option(
        1.0, "of the logits", symbol="κ", check=checks.not_negative, only=("loss", "margin")
    )
    constant: float = option(1.0, "of the first try", symbol="c", check=checks.positive)
    tries: int = option(TRIES, "of the constant", check=number_of_steps)
    aim: Aim = option("caption", "caption or keywords")
    targeted: bool = option(True, "reach the target instead of leaving it", off="--untargeted")


def _make(victim: Captioner, options: ShowAndFoolOptions) -> Attack:
    return show_and_fool(
        victim,
        aim=options.aim,
        targeted=options.targeted,
        loss=options.loss,
        margin=options.margin,
        constant=options.constant,
        iterations=options.iterations,
        optimiser=default_optimiser(options.learning_rate),
    )


def _aims_at(options: ShowAndFoolOptions) -> str:
    if options.aim == "keywords":
        return KEYWORDS
    return COMPLETE if options.targeted else PRESENT


METHOD = Method(
    name="show-and-fool",
    options=ShowAndFoolOptions,
    make=_make,
    iterations=lambda options: options.iterations * options.tries,
    reports="best",
    aims_at=_aims_at,
    check=lambda options: checks.in_range(iterations=options.iterations * options.tries),
)
