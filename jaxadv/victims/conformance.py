"""Whether a victim keeps its protocol: `check` says in words what an attack would stumble over.

A victim is a handful of pure functions over a parameter pytree, made with whatever library. What
goes wrong is mostly one of a few things: a batch axis inside, batch norm that still learns, a
network that expects pixels of 0..255, probabilities where logits are due, a rounding that no
gradient passes. Each is found by calling the functions on a few pictures, and named.
"""

import re
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.captions.captioner import Captioner, teacher_forced_logits
from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.vocabulary import Vocabulary

Victim = Captioner | MultiLabelClassifier | CrossModalHasher
Function = Callable[..., Any]
Findings = Generator[str, None, Any]
"""Yields findings; returns what the next look needs, or None where there is no going on."""

RUNNING_STATISTICS = (
    "run batch norm on its running statistics "
    "(`use_running_average=True`, `model.eval()`, `inference_mode`)"
)
UNIT_TOLERANCE = 1e-2  # of the norm of an embedding, which bfloat16 keeps
A_TEXT = "a photo of a cat"
LEAST_CONTRAST = 0.02  # outputs of black, grey, white and noise differ by this share of them


def check(victim: Victim, params: Any) -> list[str]:
    """Say what keeps a victim from being attacked; an empty list if nothing was found.

    The victim's functions are called on black, grey, white and random pictures, outside and
    inside of `jit`, `vmap` and `grad`. An attack needs all that is looked for here; that nothing
    was found does not prove that the weights are the right ones.

    Args:
      victim: a `Captioner`, `MultiLabelClassifier` or `CrossModalHasher`.
      params: its parameters.

    Returns:
      findings, a sentence each: the function or field, what it does, what would be accepted.

    >>> victim = MultiLabelClassifier(
    ...     lambda params, image: jnp.round(params @ image.reshape(-1)), ("cat", "dog"), (1, 1, 3)
    ... )
    >>> check(victim, jnp.arange(6.0).reshape(2, 3))
    ['logits: the gradient to the picture is 0 everywhere; must be differentiable (no rounding, \
sign, argmax, stop_gradient or detach)']
    """
    looks: dict[type, Callable[[Any, Any], Findings]] = {
        Captioner: _captioner,
        MultiLabelClassifier: _classifier,
        CrossModalHasher: _hasher,
    }
    if type(victim) not in looks:
        kinds = ", ".join(kind.__name__ for kind in looks)
        return [f"victim: is a {type(victim).__name__}; must be one of {kinds}"]
    found = [*_parameters(params), *_image_shape(victim)]
    return found or list(looks[type(victim)](victim, params))


def _parameters(params: Any) -> Findings:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = "params" + jax.tree_util.keystr(path)
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            yield (
                f"{name}: is a {type(leaf).__name__}; must be an array (take a model apart with "
                "`nnx.split` or `eqx.partition`, and put it together inside the functions)"
            )
        elif (
            jnp.issubdtype(leaf.dtype, jnp.floating)
            and not np.isfinite(np.asarray(leaf, np.float64)).all()
        ):
            yield f"{name}: holds NaN or infinity; must be finite"


def _image_shape(victim: Victim) -> Findings:
    shape: Any = victim.image_shape
    if isinstance(victim, CrossModalHasher) and isinstance(shape, tuple) and len(shape) == 1:
        return  # published features
    sizes = isinstance(shape, tuple) and len(shape) == 3 and all(type(n) is int for n in shape)
    if not sizes or min(shape) < 1 or shape[2] != 3:
        yield f"image_shape: is {shape!r}; must be (height, width, 3), the colours last"


def _classifier(victim: MultiLabelClassifier, params: Any) -> Findings:
    image, classes = _pictures(victim.image_shape)[-1], len(victim.classes)
    out = yield from _called("logits", victim.logits, params, image)
    fits = out is not None and (yield from _fits("logits", out, classes, f"{classes} classes"))
    if fits:
        seen = yield from _sees("logits", victim.logits, params, victim.image_shape)
        yield from _is_no_probability("logits", "sigmoid", seen)
        yield from _uses_statistics([victim.logits], params, [image])


def _hasher(victim: CrossModalHasher, params: Any) -> Findings:
    image, bits = _pictures(victim.image_shape)[-1], victim.bits
    codes = f"{bits} bits" if victim.logit_scale is None else f"embeddings of {bits}"
    if victim.reader is None:
        text = _pictures(victim.text_shape)[-1]
    else:
        text = jnp.asarray(victim.reader.encode(A_TEXT))
    sides = {"image_code": (victim.image_code, image), "text_code": (victim.text_code, text)}
    fine = True
    for name, (function, example) in sides.items():
        out = yield from _called(name, function, params, example)
        fits = out is not None and (yield from _fits(name, out, bits, codes))
        if fits:
            if name == "text_code" and victim.reader is not None:
                seen = yield from _reads(name, function, params, example, victim.reader.size)
            else:
                seen = yield from _sees(name, function, params, example.shape)
            if victim.logit_scale is not None:
                yield from _is_unit(name, seen)
        fine = fine and bool(fits)
    if victim.logit_scale is not None:
        yield from _is_scale(victim.logit_scale, params)
    if fine:
        functions, examples = zip(*sides.values(), strict=True)
        yield from _uses_statistics(functions, params, examples)


def _is_unit(name: str, embeddings: np.ndarray | None) -> Findings:
    """Look at the norms of embeddings; 0 is let pass, where there is nothing to embed."""
    if embeddings is None:
        return
    norms = np.linalg.norm(embeddings, axis=-1)
    wrong = norms[(np.abs(norms - 1) > UNIT_TOLERANCE) & (norms > UNIT_TOLERANCE)]
    if len(wrong):
        yield (
            f"{name}: gives an embedding of norm {wrong[0]:.3g}; must be of norm 1, since a victim "
            "with a logit_scale compares by the inner product (`jaxadv.hashing.unit`)"
        )


def _is_scale(logit_scale: Function, params: Any) -> Findings:
    out = yield from _called("logit_scale", logit_scale, params)
    if out is None:
        return
    one = isinstance(out, jax.Array | np.ndarray | np.generic | float | int) and not np.ndim(out)
    if not (one and 0 < float(out) < np.inf):
        said = f"{float(out):g}" if one else _shapes(out)[1]
        yield f"logit_scale: gives {said}; must give one positive, finite number, float32[]"


def _captioner(victim: Captioner, params: Any) -> Findings:
    if type(victim.max_length) is not int or victim.max_length < 1:
        yield f"max_length: is {victim.max_length!r}; must be a whole number, 1 or more"
        return
    if not isinstance(victim.vocabulary, Vocabulary):
        kind = type(victim.vocabulary).__name__
        yield f"vocabulary: is a {kind}; must be a jaxadv.vocabulary.Vocabulary of the words"
        return
    image, words = _pictures(victim.image_shape)[-1], victim.vocabulary.size
    features = yield from _called("encode", victim.encode, params, image)
    if features is None:
        return
    state = yield from _called("begin", victim.begin, params, features)
    if state is None:
        return
    scores = yield from _called("logits", victim.logits, params, state)
    known = f"{words - 1} words and the end of a caption"
    fits = scores is not None and (yield from _fits("logits", scores, words, known))
    token = jnp.asarray(min(1, words - 1), jnp.int32)
    later = yield from _called("advance", victim.advance, params, features, state, token)
    if later is None or not fits:
        return
    if _shapes(later) != _shapes(state):
        yield (
            f"advance: returns a state {_shapes(later)[1]}; must have the structure, shapes and "
            f"types of begin's, {_shapes(state)[1]}"
        )
        return

    def every_word(params: Any, image: Array) -> Array:
        tokens = jnp.full(min(victim.max_length, 3), token)
        return teacher_forced_logits(victim, params, victim.encode(params, image), tokens)

    together = "encode, begin, advance, logits"
    seen = yield from _sees(together, every_word, params, victim.image_shape)
    yield from _is_no_probability("logits", "softmax", seen)
    yield from _uses_statistics([every_word], params, [image])


def _pictures(shape: tuple[int, ...]) -> Array:
    """Black, grey, white and random ones, f32[4, ...] (or bags of words)."""
    noise = np.random.default_rng(0).random(shape, np.float32)
    return jnp.asarray(np.stack([*(np.full(shape, x, np.float32) for x in (0, 0.5, 1)), noise]))


def _shapes(tree: Any) -> tuple[Any, str]:
    """Structure, shapes and types of a pytree, to compare, and to print."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: tree))
    printed = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
    return (structure, [(leaf.shape, leaf.dtype) for leaf in leaves]), f"({printed})"


def _called(name: str, function: Function, params: Any, *arguments: Any) -> Findings:
    """Call a function twice, and once with nothing but shapes known; return what it gives."""
    before = jax.tree.leaves(params)
    try:
        first, again = (function(params, *arguments) for _ in range(2))
    except Exception as problem:
        yield f"{name}: {_why_it_fails(function, params, arguments, problem)}"
        return None
    after = jax.tree.leaves(params)
    if len(before) != len(after) or any(a is not b for a, b in zip(before, after, strict=True)):
        yield f"{name}: changes its parameters in place; must leave them, and {RUNNING_STATISTICS}"
        return None
    try:
        jax.eval_shape(function, params, *arguments)
        same = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), first, again)
    except Exception as problem:
        yield f"{name}: {_why_it_fails(function, params, arguments, problem)}"
        return None
    if not all(jax.tree.leaves(same)):
        yield (
            f"{name}: gives another result when called again; must be a pure function "
            "(no dropout, no random numbers, no counters or statistics of its own)"
        )
        return None
    return first


def _why_it_fails(
    function: Function, params: Any, arguments: tuple[Any, ...], problem: Exception
) -> str:
    """Say what an exception is a sign of. Libraries' own errors are known by their names."""
    kind, line = type(problem).__name__, _line(problem)
    if isinstance(problem, InputError):  # says all
        return line
    if isinstance(problem, NameError) and "axis name" in line:
        return f"takes a mean over a batch, as batch norm in training; {RUNNING_STATISTICS}"
    if kind in ("TraceContextError", "ModifyScopeVariableError", "UnexpectedTracerError"):
        return (
            f"changes variables of its own ({kind}); must be a pure function: {RUNNING_STATISTICS}"
        )
    if isinstance(problem, TypeError) and isinstance(problem, jax.errors.JAXTypeError):
        return (
            f"needs the values of its input ({kind}); must be traceable by JAX "
            "(jax.numpy in place of NumPy, jax.lax.cond and jnp.where in place of `if`)"
        )
    try:
        jax.eval_shape(function, params, *jax.tree.map(lambda x: x[None], arguments))
    except Exception:
        shapes = ", ".join(_shapes(argument)[1] for argument in arguments)
        example = f" and one example, {shapes}" if arguments else ""
        return f"fails ({kind}: {line}); must accept the parameters{example}"
    return "takes a batch; must take one example, without a batch axis"


def _line(problem: Exception) -> str:
    """Return the line of an exception that says what is wrong; a callback's comes last."""
    lines = str(problem).strip().split("\n")
    return lines[-1 if "CpuCallback" in lines[0] else 0]


def _fits(name: str, out: Any, size: int, known: str) -> Findings:
    """Look at the type and the shape of scores."""
    must = f"must return float32[{size}], for {known}"
    if isinstance(out, tuple | list | dict):
        yield (
            f"{name}: returns a {type(out).__name__} of {len(out)}; {must}, and nothing else "
            f"them: {RUNNING_STATISTICS}"
        )
    elif not isinstance(out, jax.Array):
        yield f"{name}: returns a {type(out).__name__}; {must}"
    elif out.shape == (1, size):
        yield f"{name}: returns a batch axis, {_shapes(out)[1]}; {must}, for one example"
    elif out.shape != (size,):
        yield f"{name}: returns {_shapes(out)[1]}; {must}"
    elif not jnp.issubdtype(out.dtype, jnp.floating):
        yield f"{name}: returns {_shapes(out)[1]}; {must}, floating point"
    else:
        return True
    return False


def _sees(name: str, function: Function, params: Any, shape: tuple[int, ...]) -> Findings:
    """Look at the scores of some pictures: finite, differentiable, one by one as in a batch."""
    examples = _pictures(shape)
    what = "picture" if len(shape) == 3 else "bag of words"
    jitted = jax.jit(function)  # with the weights an argument: XLA is slow to fold constants
    call = partial(jitted, params)
    alone = np.stack([call(x) for x in examples])
    for kind, scores in zip(("black", "grey", "white", "random"), alone, strict=True):
        if not np.isfinite(scores).all():
            such = f"a {kind} picture" if what == "picture" else f"a bag of {_weights(kind)}"
            yield f"{name}: gives NaN or infinity on {such}; must be finite"
            return None
    spread = np.abs(alone - alone.mean(axis=0)).max()
    if what == "picture" and spread < LEAST_CONTRAST * np.abs(alone).max():
        yield (
            f"{name}: hardly tells black from white ({_percent(spread, alone)} of its output); "
            "must normalise pictures of 0..1 (not 0..255, nor divide by 255)"
        )
    yield from _batches(name, call, examples, alone)
    yield from _differentiable(name, function, params, examples, what)
    return alone


def _reads(name: str, function: Function, params: Any, tokens: Array, size: int) -> Findings:
    """Look at the scores of some token sequences: finite, one by one as in a batch, and of weights.

    Words are replaced by the slope of the weights (`hashing.substitution`).
    """
    examples = jnp.stack([jnp.roll(tokens, shift) for shift in range(3)])
    call = partial(jax.jit(function), params)
    alone = np.stack([call(x) for x in examples])
    if not np.isfinite(alone).all():
        yield f"{name}: gives NaN or infinity on a text; must be finite"
        return None
    yield from _batches(name, call, examples, alone)
    must = f"must take tokens, and weights f32[{len(tokens)}, {size}] over them, alike"
    try:
        weighed = np.asarray(call(jax.nn.one_hot(tokens, size)))
    except Exception as problem:
        yield f"{name}: refuses one-hot rows of tokens ({type(problem).__name__}); {must}"
        return alone
    if not np.allclose(weighed, alone[0], rtol=0, atol=1e-2 * float(np.abs(alone).max()) + 1e-6):
        yield f"{name}: gives another result for one-hot rows of tokens; {must}"
    return alone


def _weights(kind: str) -> str:
    return {"black": "zeros", "grey": "halves", "white": "ones", "random": "random weights"}[kind]


def _percent(part: float, whole: np.ndarray) -> str:
    return f"{100 * part / np.abs(whole).max():.1g}%"


def _batches(name: str, call: Function, examples: Array, alone: np.ndarray) -> Findings:
    try:
        together = np.asarray(jax.vmap(call)(examples))
    except Exception as problem:
        kind = type(problem).__name__
        yield f"{name}: cannot be batched ({kind}: {_line(problem)}); must work in jax.vmap"
        return
    tolerance = 1e-2 * float(np.abs(alone).max()) + 1e-6
    if not np.allclose(alone, together, rtol=0, atol=tolerance):
        yield f"{name}: gives another result in jax.vmap; one example must not depend on others"


def _differentiable(
    name: str, function: Function, params: Any, examples: Array, what: str
) -> Findings:
    scores = jax.eval_shape(function, params, examples[0])
    weights = np.random.default_rng(1).normal(size=scores.shape).astype(scores.dtype)
    slope = jax.grad(lambda params, x: jnp.vdot(weights, function(params, x)), argnums=1)
    gradient = jax.jit(slope)
    try:
        found = np.stack([gradient(params, x) for x in examples])
    except Exception as problem:
        yield (
            f"{name}: has no gradient ({type(problem).__name__}: {_line(problem)}); must be "
            "differentiable in reverse (no while_loop, no callback without a rule)"
        )
        return
    if not np.isfinite(found).all():
        yield (
            f"{name}: the gradient to the {what} holds NaN or infinity on a plain one; must be "
            "finite (a square root, norm or division at 0 wants a small constant)"
        )
    elif not found.any():
        yield (
            f"{name}: the gradient to the {what} is 0 everywhere; must be differentiable "
            "(no rounding, sign, argmax, stop_gradient or detach)"
        )


def _is_no_probability(name: str, by: str, scores: np.ndarray | None) -> Findings:
    """Notice scores that went through a sigmoid or a softmax already."""
    if scores is None or not scores.any() or scores.min() < 0 or scores.max() > 1:
        return
    if by == "sigmoid" or np.allclose(scores.sum(axis=-1), 1, atol=1e-3):
        yield f"{name}: all lie in 0..1, like probabilities; must be the scores before the {by}"


def _uses_statistics(
    functions: Sequence[Function], params: Any, examples: Sequence[Array]
) -> Findings:
    """Notice running statistics that nothing depends on: batch norm normalises by one picture."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    is_statistic = re.compile(r"(mean|var)\b")
    rows = [
        row
        for row, (path, leaf) in enumerate(leaves)
        if is_statistic.search(jax.tree_util.keystr(path))
        and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]

    @jax.jit
    def total(statistics: list[Array]) -> Array:
        every = [leaf for _, leaf in leaves]
        for row, statistic in zip(rows, statistics, strict=True):
            every[row] = statistic
        whole = jax.tree.unflatten(structure, every)
        found = [jnp.sum(f(whole, x) ** 2) for f, x in zip(functions, examples, strict=True)]
        return jnp.asarray(sum(found))

    gradients = jax.grad(total)([leaves[row][1] for row in rows]) if rows else []
    unused = [row for row, slope in zip(rows, gradients, strict=True) if not np.any(slope)]
    if unused:
        name = "params" + jax.tree_util.keystr(leaves[unused[0]][0])
        yield f"{name}: nothing depends on these statistics; {RUNNING_STATISTICS}"
