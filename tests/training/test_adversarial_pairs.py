"""Adversarial training: rows that stay together, and a hasher retrained with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call
from helpers.tiny import SIDE
from helpers.tiny_hasher import HASHER, LABELS, WORDS, hasher_parameters

from jaxadv.data import scenes
from jaxadv.data.pairs import Pairs, PairsError, scene_pairs, take
from jaxadv.data.records import DataSet, Record
from jaxadv.hashing.cmla import BOUNDS, Known
from jaxadv.training import hasher_recipes
from jaxadv.training.adversarial_pairs import adversarial_pairs
from jaxadv.training.hasher_recipes import (
    SCENE_NAMES,
    hasher_architecture,
    train_hasher_on_data,
    train_hasher_on_scenes,
)
from jaxadv.victims import zoo
from jaxadv.victims.architectures import FEATURES, HasherArchitecture, VictimError
from jaxadv.victims.nets.hash_net import PooledFeatures, initial_variables
from jaxadv.victims.nets.resnet import ResNet


def some_pairs(count=600):
    rng = np.random.default_rng(0)
    labels = rng.random((count, LABELS)) < 0.4
    labels[:, 0] |= ~labels.any(axis=1)
    return Pairs(
        rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        (rng.random((count, WORDS)) < 0.3).astype(np.float32),
        labels,
        tuple(f"pair-{i}" for i in range(count)),
        HASHER.classes,
    )


def attacked(pairs, count, **options):
    params = hasher_parameters(dtype=np.float32)
    image_code, text_code = (
        jax.vmap(code, in_axes=(None, 0)) for code in (HASHER.image_code, HASHER.text_code)
    )
    images, texts = jnp.asarray(pairs.pictures / np.float32(255)), jnp.asarray(pairs.texts)
    known = Known(params, image_code(params, images), text_code(params, texts))
    return list(adversarial_pairs(HASHER, known, pairs, count, iterations=30, **options))


def test_pictures_texts_and_labels_stay_together():
    pairs, count = some_pairs(), 8
    parts = attacked(pairs, count, batch=4)
    rows = [row for part in parts for row in zip(*part[:4], strict=True)]
    assert len(rows) == 2 * count
    changed = {"image": 0, "text": 0}
    for picture, tags, labels, name in rows:
        origin, modality = name.split("-adversarial-")
        row = pairs.ids.index(origin)
        np.testing.assert_array_equal(labels, pairs.labels[row])
        moved = int(np.abs(picture.astype(int) - pairs.pictures[row]).max())
        pushed = float(np.abs(tags - pairs.texts[row]).max())
        assert moved <= BOUNDS["image"] and pushed <= BOUNDS["text"] * 1.001
        assert (pushed == 0) if modality == "image" else (moved == 0)
        changed[modality] += bool(moved or pushed)
    assert changed["text"] == count and changed["image"]  # γ = 1 leaves most pictures alone here
    names = [name.split("-adversarial-")[0] for *_, name in rows]
    assert sorted(names[:count]) == sorted(names[count:]) and len(set(names)) == count


@pytest.mark.parametrize("count", [0, 601])
def test_no_more_than_there_are(count):
    with pytest.raises(PairsError, match=f"{count} adversarial pairs: must be between 1 and 600"):
        attacked(some_pairs(), count)


def of_scenes(count):
    """Scenes as a data set of pictures with tags and labels."""
    pairs = scene_pairs(0, count, side=16)
    records = [
        Record(
            name,
            picture / np.float32(255),
            labels=tuple(np.array(scenes.SHAPES)[labels]),
            tags=tuple(np.array(scenes.TAGS)[tags > 0]),
        )
        for picture, tags, labels, name in zip(*pairs[:4], strict=True)
    ]
    return DataSet("some", tuple(records), classes=scenes.SHAPES, tags=scenes.TAGS)


@pytest.mark.parametrize("on", ["scenes", "data"])
def test_a_hasher_is_retrained(tmp_path, monkeypatch, on):
    """The attack itself, which is tested above, is left out here: it takes long to compile."""
    features = PooledFeatures(ResNet((), False, width=4, stem="small"))
    monkeypatch.setitem(FEATURES, "tiny", lambda side: features)
    architecture = HasherArchitecture("dcmh", "tiny", 16, side=16, units=8)
    start = zoo.Victim(
        "first",
        architecture.functions(SCENE_NAMES),
        initial_variables(architecture.network(6), (16, 16, 3), 22, jax.random.key(0)),
        architecture,
        {},
    )
    assert hasher_architecture(like=start) == architecture
    with pytest.raises(VictimError, match="--bits 32: victim 'first' has 16; leave it out"):
        hasher_architecture(bits=32, like=start)

    def unchanged(victim, known, pairs, count, *, iterations, seed):
        assert victim is start.functions and known.params is start.params and iterations == 7
        assert known.image_codes.shape == known.text_codes.shape == (12, 16)
        yield take(pairs, np.arange(len(pairs.ids))[:count])
        yield take(pairs, np.arange(len(pairs.ids))[-count:])

    monkeypatch.setattr(hasher_recipes, "adversarial_pairs", unchanged)
    options = {"start": start, "adversarial": 5, "batch": 4, "steps": 3, "iterations": 7}
    folder = tmp_path / "second"
    if on == "scenes":
        sizes = {"count": 12, "queries": 12, "database": 12}
        job = train_hasher_on_scenes(folder, architecture, **sizes, **options)
    else:
        job = train_hasher_on_data(folder, architecture, of_scenes(24), held_out=12, **options)
    messages = [news.message for news in job]
    assert "10 of 10 adversarial pairs" in messages
    victim = zoo.load(str(tmp_path / "second"))
    assert (victim.hasher.tags, victim.hasher.classes) == (scenes.TAGS, scenes.SHAPES)
    measured = victim.record["measures"]["held_out_pairs"]
    assert (measured["queries"], measured["database"]) == (12, 12)
    assert f"{measured['image_to_text']:.3f}" in messages[-1]
    training = victim.record["training"]
    assert (training["pairs"], training["extra"], training["from"]) == (12, 10, "first")


def test_nothing_to_attack_is_one_line(tmp_path):
    code, _, err = call("train", "hasher", "--name", "x", "--out", tmp_path, "--adversarial", "3")
    assert code == 2 and "give the one to attack" in err.splitlines()[-1]
