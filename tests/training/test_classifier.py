"""Training taggers: the loss, a toy problem that is learned, and the whole command on scenes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import call

from jaxadv.data import scenes
from jaxadv.data.images import write_png
from jaxadv.training.classifier import LabelData, binary_cross_entropy, fit_labels
from jaxadv.training.tagger_recipes import scene_precision, train_tagger_on_scenes
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture

LEAST = {"scenes-tagger": 0.95}  # issue 4's number
TAGGERS = [
    name
    for name, folder in sorted(zoo.installed().items())
    if zoo.read_record(folder)[0].kind == "classifier"
]


def test_loss_is_that_of_the_definition(float64):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 5)), rng.random((3, 5)) < 0.4
    p = 1 / (1 + np.exp(-logits))
    expected = -(labels * np.log(p) + ~labels * np.log(1 - p)).mean()
    assert binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels)) == pytest.approx(expected)


def test_colours_are_learned():
    """Whether a picture is red, and whether it is bright, on both sides of the mirror."""
    rng = np.random.default_rng(1)
    labels = rng.random((64, 2)) < 0.5
    pictures = np.full((64, 16, 16, 3), 40, np.uint8)
    pictures[labels[:, 0], :, :8, 0] = 200
    pictures[labels[:, 1], :, :, 1] = 160
    net = ClassifierArchitecture("resnet-small", 16).network(2)
    variables = net.init(jax.random.key(0), jnp.zeros((16, 16, 3)))
    job = fit_labels(
        net,
        variables,
        lambda epoch: LabelData(pictures, labels),
        steps=60,
        passes=2,
        batch=32,
        learning_rate=1e-2,
        key=jax.random.key(1),
        report_every=20,
    )
    reports, fitted = zip(*job, strict=True)
    assert [r.step for r in reports] == [20, 40, 60] and reports[-1].loss < 0.1
    for images in (pictures, pictures[:, :, ::-1]):
        logits = net.apply(fitted[-1], jnp.asarray(images, jnp.float32) / 255)
        assert ((np.asarray(logits) > 0) == labels).mean() > 0.95


def test_a_tagger_of_scenes_is_trained_saved_and_says_labels(tmp_path):
    architecture = ClassifierArchitecture("resnet-small", scenes.CROWD_SIDE)
    job = train_tagger_on_scenes(
        tmp_path / "mine", architecture, steps=2, batch=4, per_epoch=8, passes=1
    )
    last = list(job)[-1]
    assert last.done == last.total == 2
    victim = zoo.load(str(tmp_path / "mine"))
    assert victim.classifier.classes == scenes.LABELS
    recorded = victim.record["measures"]["held_out_scenes"]["mean_average_precision"]
    assert f"{recorded:.3f}" in last.message
    write_png(tmp_path / "scene.png", scenes.crowd(1, 0).picture)
    said = call("label", "--victim", tmp_path / "mine", "--k", "3", tmp_path / "scene.png")
    assert said[0] == 0 and said[1].count(",") == 2
    code, _, err = call("label", "--victim", tmp_path / "mine", "--k", "49", tmp_path / "scene.png")
    assert code == 2 and "has 48 labels" in err


def test_crowded_scenes_have_enough_labels():
    """On average at least 4 relevant ones of at least 20, so that k up to 10 makes sense."""
    labels = np.stack([scenes.crowd(1, index).labels for index in range(30)])
    assert labels.shape[1] >= 20 and labels.sum(axis=1).mean() >= 4
    assert labels.sum(axis=1).max() >= 11


@pytest.mark.parametrize("name", TAGGERS)
def test_shipped_taggers_rank_unseen_scenes(name):
    """Mean average precision on held-out scenes, as the record says (of 1,000)."""
    victim = zoo.load(name)
    recorded = victim.record["measures"]["held_out_scenes"]["mean_average_precision"]
    assert recorded >= LEAST.get(name, 0.0)
    got = scene_precision(victim.classifier, victim.params, count=200)
    assert got == pytest.approx(recorded, abs=0.04)
