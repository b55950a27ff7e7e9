"""CLIP's loss beside its definition and its invariances; a dual encoder trained and saved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.data import scenes
from jaxadv.data.pairs import scene_pairs
from jaxadv.experiments.hash_attacks import encode
from jaxadv.hashing.hasher import unit
from jaxadv.hashing.metrics import average_precision
from jaxadv.training.dual_encoder import clip_loss
from jaxadv.training.hasher_recipes import train_hasher_on_scenes
from jaxadv.victims import zoo
from jaxadv.victims.architectures import FEATURES, HasherArchitecture
from jaxadv.victims.nets.hash_net import PooledFeatures
from jaxadv.victims.nets.resnet import ResNet


def embeddings(seed, count=6, size=5):
    codes = np.random.default_rng(seed).normal(size=(2, count, size))
    return codes / np.linalg.norm(codes, axis=-1, keepdims=True)


def literal(images, texts, scale):
    """Every picture picks its text from all, and every text its picture."""
    count, total = len(images), 0.0
    for i in range(count):
        to_texts = [np.exp(scale * images[i] @ texts[j]) for j in range(count)]
        to_images = [np.exp(scale * texts[i] @ images[j]) for j in range(count)]
        total -= np.log(to_texts[i] / sum(to_texts)) + np.log(to_images[i] / sum(to_images))
    return total / (2 * count)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_loss_is_the_symmetric_cross_entropy(scale):
    images, texts = embeddings(0)
    got = clip_loss(jnp.asarray(images), jnp.asarray(texts), scale)
    np.testing.assert_allclose(got, literal(images, texts, scale), rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_gradients_are_those_of_finite_differences():
    images, texts = map(jnp.asarray, embeddings(1))
    directions, h = np.random.default_rng(2).normal(size=(2, *images.shape)), 1e-6

    def along(step):
        codes = unit(images + step * directions[0]), unit(texts + step * directions[1])
        return clip_loss(*codes, 3.0 + 0.5 * step)

    slope = (along(h) - along(-h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(along)(0.0), slope, rtol=1e-7)


@pytest.mark.usefixtures("float64")
def test_loss_of_what_is_told_apart_and_of_what_is_not():
    same = jnp.ones((4, 3)) / np.sqrt(3)
    np.testing.assert_allclose(clip_loss(same, same, 20.0), np.log(4))
    apart = jnp.eye(4)
    assert clip_loss(apart, apart, 100.0) < 1e-12
    np.testing.assert_allclose(clip_loss(apart, apart[::-1], 100.0), 100)
    images, texts = map(jnp.asarray, embeddings(3))
    order = np.array([4, 1, 0, 5, 2, 3])
    again = clip_loss(texts[order], images[order], 9.0)
    np.testing.assert_allclose(again, clip_loss(images, texts, 9.0))


def test_what_is_trained_is_saved_and_measured_by_scores(tmp_path, monkeypatch):
    features = PooledFeatures(ResNet((), False, width=4, stem="small"))
    monkeypatch.setitem(FEATURES, "tiny", lambda side: features)
    architecture = HasherArchitecture("dual", "tiny", 16, side=16, units=8)
    sizes = {"count": 24, "queries": 9, "database": 15}
    job = train_hasher_on_scenes(tmp_path / "dual", architecture, batch=8, steps=4, **sizes)
    messages = [news.message for news in job]
    victim = zoo.load(str(tmp_path / "dual"))
    assert victim.hasher.logit_scale(victim.params) != pytest.approx(1 / 0.07, rel=1e-5)  # learned
    queries = scene_pairs(scenes.HELD_OUT_SEED, 9, side=16)
    database = scene_pairs(scenes.HELD_OUT_SEED, 15, 9, side=16)
    asking, asked = (encode(victim.hasher, victim.params, some) for some in (queries, database))
    measured = victim.record["measures"]["held_out_pairs"]
    for way, codes, others in (
        ("image_to_text", asking.image, asked.text),
        ("text_to_image", asking.text, asked.image),
    ):
        orders = np.argsort(-(codes @ others.T), axis=1, kind="stable")
        relevant = (queries.labels[:, None] & database.labels).any(axis=2)
        hits = np.take_along_axis(relevant, orders, axis=1)
        expected = np.mean([average_precision(row) for row in hits])
        assert measured[way] == pytest.approx(expected, abs=1e-6)
        assert f"{measured[way]:.3f}" in messages[-1]
