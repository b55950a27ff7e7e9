"""Blocks computed again: the same values and gradients, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.hub_models import published, write

import jaxadv as ja
from benchmarks.setting import Setting, speaker, tagger
from jaxadv.victims.memory import rematerialised


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("backbone", ["resnet-small-crowd", "vit-small", "tresnet-small"])
def test_values_and_gradients(backbone):
    setting = Setting(backbone, 64, batch=1, units=8)
    made, image = speaker(setting, "show-attend-tell"), jnp.asarray(setting.pictures()[0], float)

    def total(victim, image):
        features = victim.encode(made.params, image)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(features))

    wanted, got = (
        jax.jit(jax.value_and_grad(lambda x, v=v: total(v, x)))(image)
        for v in (made.functions, rematerialised(made.functions))
    )
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["blip", "git", "llava", "clip"])
def test_models_of_the_hub(kind, tmp_path):
    """Their encoders' blocks, and those of a decoder that reads the picture with its prompt."""
    victim = ja.load(str(write(tmp_path / "m", published(kind))))
    image = jnp.asarray(np.random.default_rng(0).uniform(size=victim.model.image_shape))

    def total(model, image):
        see = model.image_code if kind == "clip" else model.encode
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(see(victim.params, image)))

    def traced(model):
        return str(jax.make_jaxpr(jax.grad(lambda x: total(model, x)))(image))

    lean = rematerialised(victim.model)
    assert traced(lean).count("remat") >= 2 and "remat" not in traced(victim.model)
    wanted, got = (
        jax.jit(jax.grad(lambda x, m=m: total(m, x)))(image) for m in (victim.model, lean)
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_the_reverse_pass_keeps_less():
    """By what `jax.vjp` keeps; XLA's CPU compiler takes the liberty to keep the rest itself."""
    setting = Setting("resnet-small-crowd", 64, batch=1)
    made, image = tagger(setting), setting.pictures()[0]

    def kept(victim):
        _, pull = jax.vjp(lambda x: victim.logits(made.params, x), image)
        weights = {id(x) for x in jax.tree.leaves(made.params)}
        return sum(x.nbytes for x in jax.tree.leaves(pull) if id(x) not in weights)

    assert kept(rematerialised(made.functions)) < 0.6 * kept(made.functions)
