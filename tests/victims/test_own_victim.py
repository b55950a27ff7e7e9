"""Bring your own victim: in Flax NNX, in Equinox or by hand, the attacks run on it unchanged."""

import jax
import jax.numpy as jnp
import optax
import pytest
from helpers import nnx_tagger
from helpers.nnx_tagger import LABELS
from helpers.tiny import batch_of, tiny_image

from jaxadv.captions.captioner import greedy
from jaxadv.captions.gem import gem
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import make_target
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.run import run
from jaxadv.labels.judging import label_optimiser
from jaxadv.labels.target import make_label_target
from jaxadv.labels.tkmia import tkmia
from jaxadv.victims import check

COUNT = 3


def in_equinox():
    own = pytest.importorskip(
        "helpers.equinox_captioner", reason="a victim in Equinox (extra `test`)"
    )
    return own.equinox_captioner(own.Net(jax.random.key(0)))


def pictures():
    return batch_of(lambda seed: tiny_image(seed, "float32"), COUNT)


def stack(targets):
    return jax.tree.map(lambda *x: jnp.stack(x), *targets)


def test_tagger_in_nnx():
    """The best label of each picture is pushed out of the first two."""
    victim, params = nnx_tagger.nnx_tagger(nnx_tagger.net())
    assert check(victim, params) == []
    images = pictures()
    rank = jax.vmap(lambda image: jnp.argsort(-victim.logits(params, image)))(images)
    marked = jax.vmap(lambda row: jnp.zeros(LABELS, bool).at[row].set(True))
    aims = zip(marked(rank[:, :3]), marked(rank[:, :1]), strict=True)
    targets = stack([make_label_target(*aim, k=2, classes=victim.classes) for aim in aims])
    attack = tkmia(victim, optimiser=label_optimiser(1.0))
    before = jax.vmap(attack.judge, in_axes=(None, 0, 0))(params, images, targets)
    assert not before.success.any()
    result = run(attack, params, images, targets, iterations=60)
    assert result.best.success.all()


def test_captioner_in_equinox_says_another_caption():
    """Any other one than it says of the picture."""
    victim, params = in_equinox()
    assert check(victim, params) == []
    said = jax.jit(lambda image: greedy(victim, params, victim.encode(params, image)).tokens)
    aims = [make_target([t for t in said(x).tolist() if t], victim.max_length) for x in pictures()]
    attack = untargeted(victim, tradeoff=1e-3, optimiser=optax.adam(0.02))
    result = run(attack, params, pictures(), stack(aims), iterations=60)
    assert result.best.success.all()


@pytest.mark.slow
@pytest.mark.parametrize("make", [gem, ssvm])
def test_captioner_in_equinox_says_a_caption(make):
    """It says of a picture what it said of another one."""
    victim, params = in_equinox()
    said = jax.jit(lambda image: greedy(victim, params, victim.encode(params, image)).tokens)
    images = pictures()
    others = [tiny_image(100 + seed, "float32") for seed in range(20)]
    aims = []
    for image in images:
        tokens = next(t for x in others if (t := said(x).tolist()) != said(image).tolist())
        aims.append(make_target([token for token in tokens if token], victim.max_length))
    attack = make(victim, tradeoff=1e-3, optimiser=optax.adam(0.02))
    result = run(attack, params, images, stack(aims), iterations=100)
    assert result.best.success.sum() >= COUNT - 1
