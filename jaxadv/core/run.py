"""Drivers: any attack on a batch (`run`), or as a differentiable function (`unroll`)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv import checks
from jaxadv.core.attack import (
    Attack,
    AttackInfo,
    AttackState,
    Fixed,
    Params,
    Status,
    Target,
    Verdict,
    accept,
    keep_where,
)
from jaxadv.core.norms import l2_norm, measured
from jaxadv.data.images import ImageError, check_image, round_8bit
from jaxadv.errors import InputError


class Iterate(NamedTuple):
    """One adversarial picture and how it does, on its own and as a user would save it.

    Attributes:
      image: f32[H, W, 3] in [0, 1]; or a text, a bag of words f32[T] or tokens i32[T], which is
        saved as it is.
      norm: ‖ε‖₂ of the float picture; of tokens, with 1 where another one stands.
      linf: ‖ε‖∞ of it, likewise.
      success: whether the float picture fools the victim.
      success_8bit: whether it still does after rounding to 8 bits (a saved PNG).
      output: what the victim makes of the float picture (the tokens it says, its scores, its code).
      output_8bit: what it makes of the rounded one.
    """

    image: Array
    norm: Array
    linf: Array
    success: Array
    success_8bit: Array
    output: Any
    output_8bit: Any


class Result(NamedTuple):
    """What an attack on one example (or, with a leading axis, a batch) came to; always complete.

    Attributes:
      final: the last picture.
      best: the picture of least norm among all that fooled the victim; `final` where none did.
      iterations: i32[], steps taken.
      status: a `Status`, why it stopped; `Status.MESSAGES` says it in words.
      losses: f32[iterations], the objective before each step; NaN where none was taken.
      benign: how the benign picture does, before anything is moved.
      image: the benign picture.
      target: what was aimed at.
      victim: the functions that were attacked, no array (`Attack.victim`).
    """

    final: Iterate
    best: Iterate
    iterations: Array
    status: Array
    losses: Array
    benign: Verdict
    image: Array
    target: Target
    victim: Fixed

    @property
    def already(self) -> Array:
        """Whether the benign picture fools the victim already, so that success means nothing."""
        return self.benign.success


def run(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    *,
    iterations: int,
    key: Array | None = None,
    ids: Array | None = None,
) -> Result:
    """Attack pictures in one compiled loop; a finished example is frozen.

    Args:
      attack: any attack.
      params: the victim's parameters.
      images: one picture f32[H, W, 3] in [0, 1], or a batch f32[B, H, W, 3]; or bags of words,
        f32[T] or f32[B, T], or texts of tokens, i32[T] or i32[B, T], likewise.
      targets: one target, for all pictures; a list of targets, one for each picture, or all for the
        one picture; or targets that are stacked along a leading axis already.
      iterations: most steps an example.
      key: randomness, folded with the example's id.
      ids: i32[B], the examples' own numbers, so that what is drawn for one does not depend on
        its place in the batch; 0..B-1 by default.

    Returns:
      the result, of one picture and one target without a leading axis.

    Raises:
      ImageError: a picture holds NaN, or values outside [0, 1], or whole numbers.
      InputError: a bag of words holds NaN, or values outside [0, 1]; what is given is no batch, or
        has not a target an example; an example that cannot be attacked (`Attack.check`); another
        argument is of another kind, or outside its range.
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    images, targets, one = as_batch(attack, params, images, targets)
    images = check_batch(images, targets)
    key, ids = checks.key(key), _ids(ids, len(images))
    _check_examples(attack, params, images, targets)
    result: Result = _run(attack, params, images, targets, key, ids, int(iterations))
    return jax.tree.map(lambda x: x[0], result) if one else result


def as_batch(
    attack: Attack, params: Params, images: Any, targets: Target
) -> tuple[Any, Target, bool]:
    """Give every picture its target, both along a leading axis.

    Args:
      attack: says whether some arrays are one target (`Attack.check`).
      params: the victim's parameters.
      images: one picture or text, or a batch.
      targets: one target, a list of them, or a batch stacked already.

    Returns:
      images and targets, and whether there was one of each.

    Raises:
      InputError: a list of no target, of several kinds of targets, or of another number than there
        are pictures.
    """
    try:
        images = jnp.asarray(images)
    except (TypeError, ValueError):
        return images, targets, False  # `check_batch` says what is wrong
    alone = images.ndim in (1, 3)
    images = images[None] if alone else images
    if images.ndim not in (2, 4) or not len(images):
        return images, targets, False  # likewise
    if type(targets) is list:
        return *_several(images, targets, alone), False
    if alone or not _is_stacked(attack, params, images, targets):
        targets = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(images), *jnp.shape(x))), targets)
    return images, targets, alone


def _several(images: Array, targets: list[Target], alone: bool) -> tuple[Array, Target]:
    """Stack a list of targets; one picture is taken for each."""
    count = len(targets) if alone else len(images)
    if not targets or len(targets) != count:
        raise InputError(
            f"targets: a list of {len(targets)}; must be one for each of the {len(images)} pictures"
        )
    try:
        stacked = jax.tree.map(lambda *some: jnp.stack(some), *targets)
    except (TypeError, ValueError):
        raise InputError("targets: a list of targets of several kinds or sizes") from None
    return jnp.broadcast_to(images, (count, *images.shape[1:])), stacked


def _is_stacked(attack: Attack, params: Params, images: Array, targets: Target) -> bool:
    """Return whether there is a target for each picture, not one for all.

    One target of as many words as there are pictures looks like a target for each.
    """
    leaves = jax.tree.leaves(targets)
    if any(jnp.shape(leaf)[:1] != (len(images),) for leaf in leaves):
        return False
    if attack.check is accept or any(isinstance(x, jax.core.Tracer) for x in (images, *leaves)):
        return True
    try:
        attack.check(params, images[0], targets)
    except (InputError, ValueError, TypeError, IndexError):
        return True
    return False


def check_attack(attack: Attack, params: Params) -> None:
    """Check that there is an attack, and a victim's parameters.

    Raises:
      InputError: there is not.
    """
    checks.made_of("attack", attack, Attack, "jaxadv.captions.gem(victim)")
    checks.params(params)


def _ids(ids: Any, count: int) -> Array:
    """Return the examples' own numbers; 0, 1, ... where none are given."""
    if ids is None:
        return jnp.arange(count)
    try:
        ids = jnp.asarray(ids)
    except (TypeError, ValueError, OverflowError):
        raise checks.wrong("ids", ids, f"{count} whole numbers, one for each example") from None
    if ids.shape != (count,) or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise checks.wrong("ids", ids, f"{count} whole numbers, one for each example")
    return ids


def _check_examples(attack: Attack, params: Params, images: Array, targets: Target) -> None:
    """Ask an attack about every example of a batch, where values can be seen."""
    leaves = jax.tree.leaves((params, images, targets))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    if not all(x.is_fully_addressable for x in leaves if isinstance(x, jax.Array)):
        return
    on_host = jax.tree.map(np.asarray, targets)
    for number, image in enumerate(np.asarray(images)):
        target = jax.tree.map(lambda x, number=number: x[number], on_host)
        try:
            attack.check(params, image, target)
        except InputError as problem:
            raise type(problem)(f"example {number} of the batch: {problem}") from None


def check_batch(images: Any, targets: Target) -> Array:
    """Return pictures, or texts, as a batch with a target an example.

    Raises:
      ImageError: a picture holds NaN, or values outside [0, 1], or whole numbers.
      InputError: a bag of words does; no batch, an empty one, or one with another number of
        targets.
    """
    try:
        images = jnp.asarray(images)
    except (TypeError, ValueError):
        raise checks.wrong("images", images, "an array of floats in [0, 1]") from None
    if images.ndim not in (2, 4):
        raise InputError(
            f"images: shape {images.shape}; must be a picture [H, W, 3] or a batch "
            "[B, H, W, 3]; or texts, [T] or [B, T]"
        )
    if not (jnp.issubdtype(images.dtype, jnp.floating) or _are_tokens(images)):
        raise ImageError(
            f"images: {images.dtype}; must be floats in [0, 1] (8-bit pictures divided by 255)"
        )
    if not len(images):
        raise InputError("images: an empty batch; give at least one picture")
    if not jax.tree.leaves(targets):
        raise checks.wrong("targets", targets, "targets, stacked, one for each example")
    for path, leaf in jax.tree_util.tree_leaves_with_path(targets):
        if jnp.shape(leaf)[:1] != images.shape[:1]:
            raise InputError(
                f"targets{jax.tree_util.keystr(path)}: shape {jnp.shape(leaf)}; must be stacked, "
                f"one for each example, with a leading axis of {len(images)}"
            )
    if not isinstance(images, jax.core.Tracer) and images.is_fully_addressable:
        kind = "picture" if images.ndim == 4 else "text"
        check_pictures(images, [f"{kind} {i} of the batch" for i in range(len(images))])
    return images


def check_pictures(images: Any, names: Sequence[str]) -> None:
    """Refuse what is no picture, or no text, by its name.

    Raises:
      ImageError: a picture holds NaN, or values outside [0, 1], or whole numbers.
      InputError: a bag of words holds NaN, or values outside [0, 1].
    """
    if _are_tokens(images):
        return
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ImageError(
            f"{names[0]}: {images.dtype}; must be floats in [0, 1] (8-bit pictures divided by 255)"
        )
    inside = (images >= 0) & (images <= 1)
    fine = np.asarray(jnp.all(inside, axis=tuple(range(1, images.ndim))))
    for number in np.flatnonzero(~fine):
        if not _is_picture(images[number]):
            raise InputError(f"{names[int(number)]}: weights that are not in [0, 1]")
        try:
            check_image(images[number])
        except ImageError as problem:
            raise ImageError(f"{names[int(number)]}: {problem}") from None


def _is_picture(example: Array) -> bool:
    """Whether an example is a picture; what else is attacked is a text."""
    return example.ndim == 3


def _are_tokens(examples: Array) -> bool:
    """Whether a batch is of texts of tokens, which attacks know the range of (`Attack.check`)."""
    return examples.ndim == 2 and jnp.issubdtype(examples.dtype, jnp.signedinteger)


def compiled(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    key: Array,
    ids: Array,
    *,
    iterations: int,
) -> Callable[..., Result]:
    """Compile `run` for arguments like these, to be called with `(params, images, ..., ids)`.

    Raises:
      InputError: no attack, no parameters, or a number of steps outside its range.
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    executable: Callable[..., Result] = _run.lower(
        attack, params, images, targets, key, ids, iterations
    ).compile()
    return executable


class Course(NamedTuple):
    """An attack on one example under way.

    Attributes:
      state: where it stands.
      losses: f32[iterations], NaN where no step has been taken.
      taken: i32[], steps taken.
    """

    state: AttackState
    losses: Array
    taken: Array


def initialise(
    attack: Attack, iterations: int, params: Params, image: Array, target: Target, key: Array
) -> Course:
    """Begin an attack of at most `iterations` steps on one example."""
    return Course(
        attack.init(params, image, target, key),
        jnp.full(iterations, jnp.nan, jnp.result_type(image.dtype, 1.0)),
        jnp.zeros((), jnp.int32),
    )


def is_running(course: Course) -> Array:
    """Return whether an example (or each of a batch) has steps to take."""
    return (course.state.status == Status.RUNNING) & (course.taken < course.losses.shape[-1])


def take_step(
    attack: Attack, params: Params, image: Array, target: Target, course: Course
) -> Course:
    """Take a step where there is one to take; an example that is through stays as it is."""
    going = is_running(course)
    new, info = attack.step(params, image, target, course.state)
    state = keep_where(going, new, course.state)
    losses = course.losses.at[course.taken].set(info.loss, mode="drop")
    return Course(
        state,
        jnp.where(going, losses, course.losses),
        course.taken + (going & (state.status == Status.RUNNING)),
    )


def finalise(
    attack: Attack, params: Params, image: Array, target: Target, course: Course
) -> Result:
    """Judge what an attack on one example came to."""
    state = course.state
    final = _judge(attack, params, image, target, state.perturbation)
    known = jnp.isfinite(state.best_norm)
    final_is_best = ~known | (final.success & (final.norm < state.best_norm))
    best = _judge(attack, params, image, target, jnp.where(known, state.best, state.perturbation))
    best = keep_where(final_is_best, final, best)
    benign = attack.judge(params, image, target)
    return Result(
        final,
        best,
        course.taken,
        state.status,
        course.losses,
        benign,
        image,
        target,
        attack.victim,
    )


def why_nothing_moved(result: Result) -> str | None:
    """Say why an attack on one example could do nothing; None where it moved the picture."""
    if result.already:
        return "the benign picture fools the victim already"
    if result.status == Status.DIVERGED and result.iterations == 0:
        return "the victim's scores of the benign picture, or their gradient, are not finite"
    if result.final.norm == 0 and not result.final.success:
        return "the picture was not moved: the loss has no slope there"
    return None


def keys_of(key: Array, ids: Array) -> Array:
    """Derive each example's own randomness from its number."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)


@partial(jax.jit, static_argnames=("attack", "iterations"))
def _run(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    key: Array,
    ids: Array,
    iterations: int,
) -> Result:
    courses = _initialise(attack, params, images, targets, key, ids, iterations)
    return _advance(attack, params, images, targets, courses)


@partial(jax.jit, static_argnames=("attack", "iterations"))
def _initialise(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    key: Array,
    ids: Array,
    iterations: int,
) -> Course:
    begin = jax.vmap(partial(initialise, attack, iterations), in_axes=(None, 0, 0, 0))
    return begin(params, images, targets, keys_of(key, ids))


@partial(jax.jit, static_argnames="attack")
def _advance(
    attack: Attack,
    params: Params,
    images: Array,
    targets: Target,
    courses: Course,
) -> Result:
    """Step until every example is through, and judge them."""
    over_batch = partial(jax.vmap, in_axes=(None, 0, 0, 0))
    courses = jax.lax.while_loop(
        lambda courses: jnp.any(is_running(courses)),
        lambda courses: over_batch(partial(take_step, attack))(params, images, targets, courses),
        courses,
    )
    result: Result = over_batch(partial(finalise, attack))(params, images, targets, courses)
    return result


def unroll(
    attack: Attack,
    params: Params,
    image: Array,
    target: Target,
    *,
    iterations: int,
    key: Array | None = None,
) -> tuple[AttackState, AttackInfo]:
    """Attack one picture as a differentiable function of everything that goes in.

    A `lax.scan` over the steps; each is rematerialised in the backward pass, so memory grows with
    the state, not with the victim's activations. `vmap` and `jit` it yourself.

    Returns:
      the last state, and each step's `AttackInfo` with a leading axis.

    Raises:
      ImageError, InputError: as `run`, for one example.
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    key = checks.key(key)
    image, target = jax.tree.map(jnp.asarray, (image, target))
    many = jax.tree.map(lambda x: x[None], (image, target))
    check_batch(*many)
    _check_examples(attack, params, *many)

    @jax.checkpoint
    def step(state: AttackState, _: None) -> tuple[AttackState, AttackInfo]:
        return attack.step(params, image, target, state)

    return jax.lax.scan(step, attack.init(params, image, target, key), None, length=iterations)


def _judge(
    attack: Attack, params: Params, image: Array, target: Target, perturbation: Array
) -> Iterate:
    adversarial, change = image + perturbation, measured(perturbation)
    if jnp.issubdtype(image.dtype, jnp.floating):
        adversarial = jnp.clip(adversarial, 0.0, 1.0)  # within rounding already
    exact = attack.judge(params, adversarial, target)
    as_saved = round_8bit(adversarial) if _is_picture(adversarial) else adversarial
    saved = attack.judge(params, as_saved, target)
    return Iterate(
        image=adversarial,
        norm=l2_norm(change),
        linf=jnp.max(jnp.abs(change)),
        success=exact.success,
        success_8bit=saved.success,
        output=exact.output,
        output_8bit=saved.output,
    )
