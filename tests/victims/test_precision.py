"""At lower precision a victim is nearly the same, and what is outside it stays in float32."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.arithmetic import attack_in
from jaxadv.attacks.drive import run
from jaxadv.attacks.tkmia import tkmia
from jaxadv.bench.setting import Setting, hasher, speaker, tagger
from jaxadv.errors import InputError
from jaxadv.victims.precision import in_arithmetic

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


def test_unknown_arithmetic_is_one_line():
    with pytest.raises(InputError, match="'half': must be one of float32, tf32, bfloat16"):
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
