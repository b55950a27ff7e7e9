"""Victims by name, and the networks at their published sizes."""

import gc
import json
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.data import scenes
from jaxadv.data.vocabulary import Vocabulary
from jaxadv.training.recipes import scene_accuracy
from jaxadv.victims import zoo
from jaxadv.victims.architectures import PUBLISHED, CaptionerArchitecture, VictimError
from jaxadv.victims.captioner import caption_log_probability, greedy
from jaxadv.victims.nets.caption_net import adaptive_average_pool, initial_variables

CAPTIONING = [
    name
    for name, folder in sorted(zoo.installed().items())
    if zoo.read_record(folder)[0].kind == "captioner"
]
CAPTIONERS = [name for name, made in PUBLISHED.items() if made.kind == "captioner"]
SMALL = CaptionerArchitecture("show-attend-tell", "resnet-small", units=8, max_length=5, side=64)
LEAST = {
    "scenes-show-attend-tell": 0.9,
    "scenes-scst": 0.9,
    "scenes-show-tell": 0.8,
    "scenes-transformer": 0.9,
}


@pytest.fixture
def saved(tmp_path):
    vocabulary = Vocabulary(("a", "cat"))
    params = initial_variables(SMALL.network(3), SMALL.image_shape, jax.random.key(0))
    zoo.save(tmp_path / "mine", SMALL, {"vocabulary": vocabulary.words}, params, source="test")
    return tmp_path / "mine", params


def test_saved_victim_comes_back(saved):
    folder, params = saved
    victim = zoo.load(str(folder))
    assert victim.architecture == SMALL
    assert victim.captioner.vocabulary.words == ("a", "cat")
    jax.tree.map(np.testing.assert_array_equal, victim.params, params)
    zoo.save(folder, SMALL, {"vocabulary": ("a", "cat")}, params)  # replaces it
    assert sorted(p.name for p in folder.iterdir()) == ["record.json", "weights"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "record.json").write_text("{"), "not a victim's record"),
        (lambda f: (f / "record.json").write_bytes(b"\xff\xfe\x00"), "not a victim's record"),
        (lambda f: (f / "record.json").unlink(), "no victim"),
        (lambda f: shutil.rmtree(f / "weights"), "weights do not fit"),
        (
            lambda f: (f / "record.json").write_text(
                json.dumps({**json.loads((f / "record.json").read_text()), "vocabulary": ["a"]})
            ),
            "weights do not fit",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_broken_folders_are_named(saved, spoil, message):
    folder, _ = saved
    spoil(folder)
    with pytest.raises(VictimError, match=message) as caught:
        zoo.load(str(folder))
    assert "\n" not in str(caught.value)
    del caught
    time.sleep(0.5)  # its threads end first
    gc.collect()  # what Orbax leaves waiting after a failure complains here, not in a later test


@pytest.mark.parametrize("name", CAPTIONERS)
def test_published_sizes(name):
    """Shapes of the full-size networks, without running them."""
    architecture = PUBLISHED[name]
    net = architecture.network(9488)
    tree = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(architecture.image_shape))
    decoder = tree["params"]["decoder"]
    assert decoder["logit"]["kernel"].shape == (512, 9488)
    assert decoder["embed"]["embedding"].shape == (9488, 512)
    grid = jax.eval_shape(
        lambda v, i: net.apply(v, i, method="see"), tree, jnp.zeros(architecture.image_shape)
    )
    attended = architecture.grid is not None
    channels = 768 if architecture.backbone == "vit-b16" else 2048
    assert grid.shape == (*((14, 14) if attended else grid.shape[:2]), channels)
    shapes = {
        "show-tell": ("core", "weight_ih", (512, 2048)),
        "fc": ("core", "i2h", (512, 2560)),
        "newfc": ("core", "i2h", (512, 2560)),
        "show-attend-tell": ("rnn", "weight_ih", (512, 2048)),
        "att2in": ("core", "a2c", (2048, 1024)),
        "att2in2": ("core", "a2c", (512, 1024)),
        "im2txt": ("core", "weight_ih", (512, 2048)),
        "transformer-base": ("blocks_5", "widen", (512, 2048)),
    }
    cell, weight, shape = shapes[architecture.decoder]
    assert decoder[cell][weight]["kernel"].shape == shape
    if architecture.decoder == "show-attend-tell":  # the rest of its input weights
        assert decoder["of_context"]["kernel"].shape == (2048, 2048)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTIONERS)
def test_published_networks_run(name):
    """A caption comes out of the full-size network with random weights."""
    architecture = PUBLISHED[name]
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(9487)))
    victim = architecture.captioner(vocabulary)
    params = initial_variables(
        architecture.network(vocabulary.size), architecture.image_shape, jax.random.key(0)
    )
    image = jnp.full(architecture.image_shape, 0.5)
    caption = jax.jit(lambda p, i: greedy(victim, p, victim.encode(p, i)))(params, image)
    assert caption.tokens.shape == (architecture.max_length,)
    assert jnp.isfinite(caption.log_probability)


@pytest.mark.parametrize("name", CAPTIONING)
def test_shipped_victims_describe_unseen_scenes(name):
    """Colours, shapes and relation on held-out scenes, as the record says (of 1,000)."""
    victim = zoo.load(name)
    got = scene_accuracy(victim.captioner, victim.params, count=300)
    recorded = victim.record["measures"]["held_out_scenes"]["everything"]
    assert recorded >= LEAST.get(name, 0.0)
    assert got.everything == pytest.approx(recorded, abs=0.05)


def test_log_probability_of_a_shipped_victims_caption():
    victim = zoo.load("scenes-show-attend-tell")
    captioner, params = victim.captioner, victim.params
    features = captioner.encode(params, jnp.asarray(scenes.example(1, 3).picture))
    said = greedy(captioner, params, features)
    again = caption_log_probability(captioner, params, features, said.tokens)
    np.testing.assert_allclose(said.log_probability, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "bins"), [(7, 14), (8, 14), (14, 14), (5, 3), (4, 2)])
def test_adaptive_average_pool(size, bins):
    """torch's definition, bin by bin."""
    grid = np.random.default_rng(0).normal(size=(size, size, 2)).astype(np.float32)
    got = adaptive_average_pool(jnp.asarray(grid), (bins, bins))
    for i in range(bins):
        for j in range(bins):
            rows = slice(i * size // bins, -(-(i + 1) * size // bins))
            columns = slice(j * size // bins, -(-(j + 1) * size // bins))
            wanted = grid[rows, columns].mean(axis=(0, 1))
            np.testing.assert_allclose(got[i, j], wanted, rtol=1e-5, atol=1e-6)
