"""At lower precision a victim is nearly the same, and what is outside it stays in float32."""

import re
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.setting import Setting, hasher, speaker, tagger
from jaxadv.core.precision import Arithmetic, attack_in, in_arithmetic
from jaxadv.core.run import run
from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.tkmia import tkmia
from jaxadv.victims.architectures import (
    BACKBONES,
    DECODERS,
    METHODS,
    CaptionerArchitecture,
    ClassifierArchitecture,
    HasherArchitecture,
)

DECODERS_WITHOUT_ALIASES = sorted(set(DECODERS) - {"newfc", "transformer-base"})
TINY = Setting("resnet-small", 32, batch=2, units=8)


def _network(kind):
    if kind == "captioner":
        made = speaker(TINY, "show-attend-tell")
        return made.functions, "encode", made.params
    if kind == "classifier":
        made = tagger(TINY)
        return made.functions, "logits", made.params
    made = hasher(TINY)
    return made.functions, "image_code", made.known.params


@pytest.mark.parametrize("kind", ["captioner", "classifier", "hasher"])
def test_outputs_and_input_gradients_are_near_and_float32(kind):
    victim, name, params = _network(kind)

    def total(functions, image):
        outputs = jax.tree.leaves(getattr(functions, name)(params, image))
        return sum(jnp.sum(x) for x in outputs), outputs

    image = TINY.pictures()[0]
    found = [
        jax.jit(jax.value_and_grad(lambda x, f=f: total(f, x), has_aux=True))(image)
        for f in (victim, in_arithmetic(victim, "bfloat16"))
    ]
    ((_, full), slope), ((_, low), low_slope) = found
    assert low_slope.dtype == jnp.float32
    for a, b in zip(full, low, strict=True):
        assert b.dtype == jnp.float32
        assert 0 < float(jnp.abs(a - b).max()) < 0.05 * float(jnp.abs(a).max())
    both = np.asarray([slope.ravel(), low_slope.ravel()])
    assert np.corrcoef(both)[0, 1] > 0.95


@pytest.mark.parametrize(("arithmetic", "name"), [("float32", "HIGHEST"), ("tf32", "HIGH")])
def test_every_product_of_both_passes_names_its_arithmetic(arithmetic, name):
    made = tagger(Setting("resnet-small-crowd", 32, batch=1))
    victim = in_arithmetic(made.functions, arithmetic)
    slope = jax.grad(lambda image: victim.logits(made.params, image).sum())
    text = str(jax.make_jaxpr(slope)(TINY.pictures()[0]))
    named = re.findall(r"precision=\(?(?:Precision\.)?(\w+)", text)
    assert len(named) > 10 and set(named) == {name}


def _architectures():
    """A small victim over every backbone, and every decoder and hasher over a small backbone."""
    for name, backbone in BACKBONES.items():
        made = ClassifierArchitecture(name, side=64 if backbone.side < 299 else 107)
        # one of each kind of layer; the rest are deeper, and take minutes to trace
        kinds = ("resnet-small", "resnet20-cifar", "mobilenet-v2", "vit-small", "tresnet-small")
        yield made if name in kinds else pytest.param(made, marks=pytest.mark.slow)
    for name in DECODERS_WITHOUT_ALIASES:
        yield CaptionerArchitecture(name, "resnet-small", units=16, max_length=3, side=64)
    for name in METHODS:
        yield HasherArchitecture(name, "resnet-small", 16, side=64, units=8, semantic=8)
    yield HasherArchitecture("dcmh", "vgg-f-small", 16, side=64, units=8)
    yield HasherArchitecture("dcmh", "features", 16, side=5, units=8)


NAMES = {"vocabulary": ("a", "dog"), "classes": ("dog", "cat"), "tags": tuple("abcdefghijkl")}


def _whole_pass(functions):
    """From what a victim is given to all that it returns, each of its functions once."""
    if isinstance(functions, MultiLabelClassifier):
        return {"logits": functions.logits}
    if isinstance(functions, CrossModalHasher):
        return {"image_code": functions.image_code, "text_code": functions.text_code}

    def decoded(params, features):
        state = functions.begin(params, features)
        state = functions.advance(params, features, state, jnp.asarray(1))
        return functions.logits(params, state)

    return {"encode": functions.encode, "decode": decoded}


def _types_of_products(function, *arguments):
    """The types that a function and its gradient multiply, over all its inner programs."""

    def total(*arguments):
        return sum(jnp.sum(x) for x in jax.tree.leaves(function(*arguments)))

    traced = jax.make_jaxpr(jax.value_and_grad(total, argnums=len(arguments) - 1))(*arguments)
    found = set()

    def read(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                found.update(str(v.aval.dtype) for v in equation.invars)
            for inner in jax.tree.leaves(
                equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
            ):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    read(getattr(inner, "jaxpr", inner))

    read(traced.jaxpr)
    return found


@pytest.mark.parametrize(
    "architecture", list(_architectures()), ids=lambda a: f"{a.kind} {a.parts}"
)
def test_every_product_is_of_the_types_that_the_arithmetic_says(architecture):
    params = architecture.shapes(NAMES)
    image = jax.ShapeDtypeStruct(architecture.image_shape, jnp.float32)
    text = jax.ShapeDtypeStruct((len(NAMES["tags"]),), jnp.float32)
    for arithmetic in get_args(Arithmetic):
        functions = in_arithmetic(architecture.functions(NAMES), arithmetic)
        features = None
        for name, function in _whole_pass(functions).items():
            given = {"text_code": text, "decode": features}.get(name, image)
            if name == "encode":
                features = jax.eval_shape(function, params, image)
            low = arithmetic == "bfloat16-decoder" or (
                arithmetic == "bfloat16" and name != "decode"
            )
            wanted = {"bfloat16"} if low else {"float32"}
            assert _types_of_products(function, params, given) == wanted, (arithmetic, name)


def test_unknown_arithmetic_is_one_line():
    with pytest.raises(
        InputError, match="'half': must be one of float32, tf32, bfloat16, bfloat16-decoder"
    ):
        in_arithmetic(tagger(TINY).functions, "half")


def test_success_is_judged_at_full_precision():
    """An attack that sees bfloat16, with the judge of the victim itself."""
    made = tagger(TINY)
    victim = made.functions
    attack = attack_in("bfloat16", "float32", tkmia, victim)
    result = run(attack, made.params, TINY.pictures(), made.targets, iterations=2)
    assert result.final.image.dtype == jnp.float32
    judged = jax.vmap(tkmia(victim).judge, in_axes=(None, 0, 0))(
        made.params, result.final.image, made.targets
    )
    np.testing.assert_allclose(result.final.output, judged.output, rtol=1e-5)
