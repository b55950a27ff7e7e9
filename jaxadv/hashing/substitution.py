"""Words for words: a discrete attack on texts, bounded by how many words it replaces.

CMLA (eq. 6) adds small weights to a bag of words, which no text has. Here the text stays one: at
most n of its words give way to others. What is minimised is CMLA's inter- and intra-modal terms;
how words are chosen is HotFlip's (Ebrahimi et al., "HotFlip: White-Box Adversarial Examples for
Text Classification", ACL 2018). Write a text as weights x over V words: of tokens one-hot rows
`x f32[T, V]`, of a bag `x f32[V]` of 0 and 1. A substitution changes two of them, and with them the
loss L by, to first order,

    L(x') - L(x) ≈ ∇L(x)ᵀ (x' - x) = ∂L/∂x_tb - ∂L/∂x_ta        (b for a at the place t)        (1)
                                   = ∂L/∂x_b - ∂L/∂x_a          (of a bag: b comes, a goes)

One backward pass estimates all substitutions at once. The best of them by the estimate are scored
exactly, and the best `beam` texts of those and of where they came from remain.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv import checks
from jaxadv.core.attack import Attack, AttackInfo, AttackState, Check, Fixed, Status, end_step
from jaxadv.core.method import Method, option, steps
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import (
    Codes,
    HashTarget,
    Known,
    Modality,
    Weights,
    check_target,
    hash_judge,
    objective,
)
from jaxadv.hashing.hasher import CrossModalHasher, TextReader
from jaxadv.hashing.options import MODALITY, TermOptions

WORDS = 2
CANDIDATES = 32

Text = Int[Array, " T"] | Float[Array, " V"]
"""Tokens, or a bag of words of 0 and 1."""


class WordTarget(NamedTuple):
    """A `HashTarget`, and which words of the text may give way.

    Attributes:
      similar: bool[N], as `HashTarget`'s.
      wanted: bool[N], as `HashTarget`'s.
      places: bool[T], of tokens the places that may change; of a bag, bool[V], the words that may
        go. A plain `HashTarget` lets those change that hold a word which may stand in, and which
        is no part of a longer one.
    """

    similar: Bool[Array, " N"]
    wanted: Bool[Array, " N"]
    places: Bool[Array, " T"]


class Beam(NamedTuple):
    """The best texts so far, the best first.

    Attributes:
      texts: i32[b, T] or f32[b, V].
      losses: f32[b]; infinite where there are fewer texts than b.
      success: bool[b], whether they fool the victim.
      reports: of f32[b] each, the objective's own named scalars.
    """

    texts: Int[Array, "b T"] | Float[Array, "b V"]
    losses: Float[Array, " b"]
    success: Bool[Array, " b"]
    reports: dict[str, Array]


def as_weights(text: Text, words: int) -> Float[Array, "T V"] | Float[Array, " V"]:
    """Return a text as weights over V words: of tokens one-hot rows, a bag as it is.

    >>> as_weights(jnp.array([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return jax.nn.one_hot(text, words) if _are_tokens(text) else text


def estimates(
    slope: Float[Array, "T V"] | Float[Array, " V"], text: Text
) -> Float[Array, "places V"]:
    """Return by how much each substitution changes the loss, to first order (eq. 1).

    Args:
      slope: of the loss, ∂L/∂x, in the shape of `as_weights`.
      text: that it was taken at.

    Returns:
      f[T, V], of tokens, for each place the words that may come to it; of a bag f[V, V], for each
      word that goes the words that may come.

    >>> estimates(jnp.array([[1.0, 5.0], [2.0, 0.0]]), jnp.array([1, 0])).tolist()
    [[-4.0, 0.0], [0.0, -2.0]]
    """
    if _are_tokens(text):
        return slope - jnp.take_along_axis(slope, text[:, None], axis=1)
    return slope - slope[:, None]


def permitted(
    text: Text,
    benign: Text,
    places: Bool[Array, " places"],
    allowed: Bool[Array, " V"],
    words: int,
) -> Bool[Array, "places V"]:
    """Return which substitutions change a text and leave at most n of its words replaced.

    Args:
      text: that has come of the benign one.
      benign: what it began as.
      places: whose words may change (`WordTarget`).
      allowed: words that may stand in.
      words: n.
    """
    if _are_tokens(text):
        numbers, changed = jnp.arange(len(allowed)), text != benign
        comes = allowed & (numbers != text[:, None])
        after = changed.sum() - changed[:, None] + (numbers != benign[:, None])
        return places[:, None] & comes & (after <= words)
    there, before = text > 0, benign > 0
    goes, comes = (places | ~before) & there, allowed & ~there
    # of the benign words that are gone
    after = jnp.sum(before & ~there) + before[:, None].astype(int) - before
    return goes[:, None] & comes & (after <= words)


def substitute(text: Text, place: Int[Array, ""], word: Int[Array, ""]) -> Text:
    """Return a text with a word put at a place; of a bag, in place of another word.

    >>> substitute(jnp.array([5, 7]), jnp.array(1), jnp.array(3)).tolist()
    [5, 3]
    >>> substitute(jnp.array([1.0, 1.0, 0.0]), jnp.array(1), jnp.array(2)).tolist()
    [1.0, 0.0, 1.0]
    """
    if _are_tokens(text):
        return text.at[place].set(word.astype(text.dtype))
    return text.at[place].set(0.0).at[word].set(1.0)


def substitution(
    victim: CrossModalHasher,
    words: int,
    *,
    allowed: Bool[Array | np.ndarray, " V"] | None = None,
    candidates: int = CANDIDATES,
    beam: int = 1,
    inter: float = 1.0,
    intra: float = 1.0,
    codes: Codes = "unit",
    stop_at_success: bool = False,
) -> Attack:
    """Replace at most n words of a text so that it no longer finds what it means in pictures.

    Each step replaces a word, so that n steps are due, of one backward pass and `candidates`
    forward passes for each text of the beam. Further ones change again what was changed already.
    The loss never rises: where no candidate lowers it the text stays as it is. What the attack
    takes as parameters, when it succeeds, and its output are `cmla`'s; a perturbation's norm is
    the root of the number of components that changed, two for each word of a bag, one for each
    token. Tokens must not mean another thing where they stand in: `allowed` leaves out what is no
    word (begin, end, padding, parts of words).

    Args:
      victim: the pair of hash functions; its `text_code` takes bags, or tokens and weights.
      words: n, the most words of the benign text that are replaced.
      allowed: bool[V], words that may stand in; by default all `tags`, or all tokens that are
        whole words to the victim's `reader`. V is the number of words there are.
      candidates: of one text, how many of the best by the estimate are scored exactly.
      beam: texts that are followed at once; 1 is greedy.
      inter: weight λ of eq. 6.
      intra: weight ξ of eq. 6.
      codes: of the context, as `cmla`'s.
      stop_at_success: stop at the first success, at the fewest words that this search fools with.

    Returns:
      an attack on texts, tokens i32[T] or bags f32[V] of 0 and 1, and targets that are
      `WordTarget` or `HashTarget`.

    Raises:
      InputError: the victim is no hasher, or an argument is outside its range.

    Source: eq. 6 of CMLA (Li et al. 2019) without its distortion; HotFlip (Ebrahimi et al. 2018,
    arXiv:1712.06751).
    """
    checks.in_range(inter=inter, intra=intra)
    aim = objective(victim, "text", weights=Weights(inter, intra, 0.0), codes=codes)
    judge = hash_judge(victim, "text")
    for name, value in (("words", words), ("candidates", candidates), ("beam", beam)):
        checks.whole(name, value, 1)
    checks.true_or_false("stop_at_success", stop_at_success)
    may_come = _allowed(victim, allowed)
    vocabulary = len(may_come)

    def loss(
        known: Known, x: Array, target: HashTarget | WordTarget
    ) -> tuple[Array, tuple[Array, dict[str, Array]]]:
        value, appraisal = aim.loss(known, x, x, HashTarget(target.similar, target.wanted), ())
        return value, (appraisal.success, appraisal.reports)

    def score(known: Known, texts: Array, target: HashTarget | WordTarget) -> Beam:
        values, (success, reports) = jax.vmap(lambda text: loss(known, text, target))(texts)
        return Beam(texts, values, success, reports)

    def init(known: Known, text: Array, target: HashTarget | WordTarget, key: Array) -> AttackState:
        first = jax.tree.map(
            lambda x: jnp.repeat(x, beam, axis=0), score(known, text[None], target)
        )
        alone = jnp.where(jnp.arange(beam) > 0, jnp.inf, first.losses)
        nothing = jnp.zeros_like(text)
        return AttackState(
            perturbation=nothing,
            variable=first._replace(losses=alone),
            optimiser=(),
            latent=(),
            best=nothing,
            best_norm=jnp.full_like(first.losses[0], jnp.inf),
            status=jnp.asarray(Status.RUNNING, jnp.int32),
        )

    def step(
        known: Known, text: Array, target: HashTarget | WordTarget, state: AttackState
    ) -> tuple[AttackState, AttackInfo]:
        old: Beam = state.variable
        places = _places(text, target, may_come, victim.reader)

        def propose(one: Array) -> tuple[Array, Array, Array]:
            """Return candidates, whether each is one, and whether the slope is finite."""
            slope, _ = jax.grad(lambda x: loss(known, x, target), has_aux=True)(
                as_weights(one, vocabulary)
            )
            fit = permitted(one, text, places, may_come, words)
            gains = jnp.where(fit, -estimates(slope, one), -jnp.inf)
            gains = jnp.where(jnp.isnan(gains), -jnp.inf, gains)
            gain, which = jax.lax.top_k(gains.ravel(), min(candidates, gains.size))
            made = jax.vmap(substitute, in_axes=(None, 0, 0))(one, *jnp.divmod(which, vocabulary))
            fine = gain > -jnp.inf
            return jnp.where(fine[:, None], made, one), fine, jnp.all(jnp.isfinite(slope))

        made, fine, finite = jax.vmap(propose)(old.texts)
        new = score(known, made.reshape(-1, *text.shape), target)
        real = fine.ravel() & jnp.isfinite(new.losses)
        new = new._replace(losses=jnp.where(real, new.losses, jnp.inf))
        best = _best(jax.tree.map(lambda *x: jnp.concatenate(x), old, new), beam)
        moved = state._replace(perturbation=best.texts[0] - text, variable=best)
        value, success = old.losses[0], old.success[0]
        sound = jnp.isfinite(value) & finite[0]
        after, norm = end_step(state, moved, success, sound, stop_at_success)
        reports = {name: some[0] for name, some in old.reports.items()}
        return after, AttackInfo(value, success, norm, reports)

    return Attack(init, step, judge, _check(victim, np.asarray(may_come)), Fixed(victim))


def _are_tokens(text: Array) -> bool:
    return jnp.issubdtype(text.dtype, jnp.integer)


def _best(pool: Beam, count: int) -> Beam:
    """Return the best texts of a pool, each once; of equal losses the first."""
    losses = pool.losses
    if count > 1:  # a text of a single one comes to no other twice
        same = jnp.all(pool.texts[:, None] == pool.texts[None], axis=-1)
        losses = jnp.where(jnp.any(jnp.tril(same, -1), axis=1), jnp.inf, losses)
    _, order = jax.lax.top_k(-losses, count)
    best: Beam = jax.tree.map(lambda x: x[order], pool._replace(losses=losses))
    return best


def _places(
    text: Array, target: HashTarget | WordTarget, allowed: Array, reader: TextReader | None
) -> Array:
    if isinstance(target, WordTarget):
        return target.places
    if not _are_tokens(text):
        return allowed
    if reader is None:
        return allowed[text]
    starts, ends = jnp.asarray(reader.starts)[text], jnp.asarray(reader.ends)[text]
    alone = jnp.append(True, ends[:-1]) & jnp.append(starts[1:], True)
    return allowed[text] & alone


def _allowed(victim: CrossModalHasher, allowed: Any) -> Array:
    if allowed is None and victim.reader is not None:
        allowed = victim.reader.words
    elif allowed is None:
        if not victim.tags:
            raise InputError("allowed None: must be given for a victim without tags or a reader")
        return jnp.ones(len(victim.tags), bool)
    found = np.asarray(allowed)
    if found.dtype != bool or found.ndim != 1 or not found.any():
        raise checks.wrong("allowed", allowed, "bool[V], true of the words that may stand in")
    return jnp.asarray(found)


def _check(victim: CrossModalHasher, allowed: np.ndarray) -> Check:
    """Refuse what is neither tokens nor a bag of 0 and 1, and texts that nothing can be done to."""
    size, may_come = len(allowed), jnp.asarray(allowed)

    def check(known: Any, example: Any, target: Any) -> None:
        check_target(known, target)
        text = np.asarray(example)
        if text.ndim != 1:
            raise InputError(f"a text of shape {text.shape}: must be tokens [T] or a bag [{size}]")
        if np.issubdtype(text.dtype, np.integer):
            if not np.all((text >= 0) & (text < size)):
                raise InputError(f"a text of tokens that are not in 0..{size - 1}")
            places = np.asarray(_places(jnp.asarray(text), target, may_come, victim.reader))
        elif len(text) != size:
            raise InputError(f"a text of shape {text.shape}: must be a bag of {size} words")
        elif not np.all((text == 0) | (text == 1)):
            raise InputError("a bag of weights between 0 and 1, which holds no words to replace")
        else:
            places = allowed & (text > 0)
        if isinstance(target, WordTarget):
            if np.shape(target.places) != text.shape:
                raise InputError(
                    f"target places: shape {np.shape(target.places)}; must be {text.shape}"
                )
            places = np.asarray(target.places)
        if not places.any():
            raise InputError("no word of the text may give way: there is nothing to replace")

    return check


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubstitutionOptions(TermOptions):
    """What the attack can be told.

    Attributes:
      modality: what is attacked, texts.
      words: n.
      candidates: of one text, how many are scored exactly in a step.
      beam: texts that are followed at once.
    """

    modality: Modality = option("text", MODALITY)
    words: int = option(WORDS, "most words that are replaced, one a step", symbol="n", check=steps)
    candidates: int = option(
        CANDIDATES, "of the best by their estimate, how many are scored exactly", check=steps
    )
    beam: int = option(1, "texts that are followed at once", check=steps)


def _make(victim: CrossModalHasher, options: SubstitutionOptions) -> Attack:
    if options.modality != "text":
        raise InputError(f"modality: {options.modality}; must be text, whose words are replaced")
    return substitution(
        victim,
        options.words,
        candidates=options.candidates,
        beam=options.beam,
        inter=options.inter,
        intra=options.intra,
        codes=options.codes,
    )


METHOD = Method(
    name="substitution",
    options=SubstitutionOptions,
    make=_make,
    iterations=lambda options: options.words,
    aims_at=lambda options: options.modality,
)
