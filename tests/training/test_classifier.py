"""Training taggers: the loss, a toy problem that is learned, and the whole command on scenes."""

import json
import re
import shutil
from itertools import repeat

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.data import scenes
from jaxadv.data.images import write_png
from jaxadv.data.opening import open_data
from jaxadv.data.records import labelled
from jaxadv.experiments import store
from jaxadv.training import tagger_recipes
from jaxadv.training.classifier import LabelData, binary_cross_entropy, fit_head, fit_labels
from jaxadv.training.optimisers import adam, constant
from jaxadv.training.start import backbone_of
from jaxadv.training.tagger_recipes import (
    scene_precision,
    train_tagger_on_photos,
    train_tagger_on_scenes,
)
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture

LEAST = {"scenes-tagger": 0.95}  # issue 4's number
TAGGERS = [
    name
    for name, folder in sorted(zoo.installed().items())
    if name.startswith("scenes-") and zoo.read_record(folder)[0].kind == "classifier"
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
        repeat(LabelData(pictures, labels)),
        steps=60,
        passes=2,
        batch=32,
        optimiser=adam(1e-2, 60),
        key=jax.random.key(1),
        report_every=20,
    )
    reports, fitted = zip(*job, strict=True)
    assert [r.step for r in reports] == [20, 40, 60] and reports[-1].loss < 0.1
    for images in (pictures, pictures[:, :, ::-1]):
        logits = net.apply(fitted[-1], jnp.asarray(images, jnp.float32) / 255)
        assert ((np.asarray(logits) > 0) == labels).mean() > 0.95


def test_a_head_is_fitted_to_features():
    """Every label is a half-space of the features, the same in both views."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 1, 6)).astype(np.float32)
    views = np.concatenate([features, features], axis=1)
    plane = rng.normal(size=(6, 3)).astype(np.float32)
    labels = features[:, 0] @ plane > 0
    job = fit_head(
        {"w": jnp.zeros((6, 3))},
        lambda head, x: x @ head["w"],
        views,
        labels,
        steps=200,
        batch=50,
        learning_rate=0.1,
        weight_decay=0.0,
        key=jax.random.key(0),
        report_every=90,
    )
    reports, heads = zip(*job, strict=True)
    assert [r.step for r in reports] == [90, 180, 200]
    assert ((features[:, 0] @ np.asarray(heads[-1]["w"]) > 0) == labels).mean() > 0.95


@pytest.fixture
def yolo(tmp_path):
    """Eight photographs, red or blue or both, in YOLO's layout."""
    folder = tmp_path / "photos"
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True)
    (folder / "classes.yaml").write_text("names: [red, blue, green]")
    for i in range(8):
        shown = np.zeros((20, 30, 3), np.float32)
        shown[:, :15, 0], shown[:, 15:, 2] = i % 4 != 1, i % 4 != 2
        write_png(folder / "images" / f"{i}.png", shown)
        lines = ["0 .25 .5 .5 1"] * (i % 4 != 1) + ["1 .75 .5 .5 1"] * (i % 4 != 2)
        (folder / "labels" / f"{i}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    """A tagger of other classes whose backbone is taken over."""
    folder = tmp_path_factory.mktemp("ported") / "other"
    architecture = ClassifierArchitecture("resnet-small", 32)
    names = {"classes": tuple("abcd")}
    rng = np.random.default_rng(3)
    shapes = architecture.shapes(names)
    variables = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0, 0.1, x.shape), x.dtype), shapes)
    zoo.save(folder, architecture, names, variables)
    return folder


@pytest.fixture(params=["folder", "prepared"])
def photographs(request, yolo, tmp_path, monkeypatch):
    """What `--data` takes: the folder itself, or the name under which it was prepared."""
    if request.param == "folder":
        return yolo
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "kept"))
    assert call("data", "prepare", "coloured", "--from", yolo)[0] == 0
    shutil.rmtree(yolo)
    return "coloured:data"


def test_a_head_for_photographs_is_trained_and_attacked(tmp_path, photographs, ported):
    """The whole way: other classes, another side, held-out pictures only in the table."""
    out = tmp_path / "victims"
    train = ["train", "classifier", "--name", "mine", "--data", photographs, "--out", out]
    from_victim = ["--backbone-from", ported, "--side", "40"]
    code, _, err = call(*train, *from_victim, "--steps", "60", "--held-out", "3")
    assert code == 0, err
    victim = zoo.load(str(out / "mine"))
    assert victim.classifier.classes == ("red", "blue", "green")
    assert victim.classifier.image_shape == (40, 40, 3)
    assert len(victim.record["held_out"]) == 3
    measured = victim.record["measures"]["held_out_photographs"]
    assert measured["photographs"] == 3 and measured["classes"] == 2
    frozen = zoo.load(str(ported))
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()),
        [part["backbone"] for part in victim.params.values()],
        [part["backbone"] for part in frozen.params.values()],
    )
    assert all(jax.tree.leaves(same))

    evaluate = ["evaluate", "labels", "--victim", out / "mine", "--data", photographs, "--k", "1"]
    few = ["--specified", "1", "--iterations", "1", "--method", "tkmia"]
    code, _, err = call(*evaluate, *few, "--out", tmp_path / "table")
    assert code == 0, err
    held = json.loads((tmp_path / "table" / "table.json").read_text())
    left_out = sum(int(n) for n in re.findall(r"(\d+) with", held["about"][0]))
    records = list(store.read(tmp_path / "table"))
    assert len(records) + left_out == 3
    assert {record["image"] for record in records} <= set(victim.record["held_out"])


def test_an_ml_decoder_is_trained_on_frozen_grids(tmp_path, yolo, ported):
    """Its queries and the backbone stay, the rest is learned."""
    architecture = ClassifierArchitecture("resnet-small", 32, "ml-decoder")
    data, (_, start) = labelled(open_data([str(yolo)])), backbone_of(zoo.load(str(ported)))
    how = {"origin": "other", "steps": 2, "held_out": 3}
    for _ in train_tagger_on_photos(tmp_path / "mine", architecture, data, start, **how):
        pass
    victim = zoo.load(str(tmp_path / "mine"))
    assert victim.architecture == architecture and victim.record["architecture"]["head"]
    net, key = architecture.network(len(victim.classifier.classes)), jax.random.key(0)
    begun = jax.jit(net.init)(key, jnp.zeros(architecture.image_shape))
    for same, other in (
        (victim.params["params"]["backbone"], start["params"]),
        (victim.params["fixed"], begun["fixed"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, same, other)
    pooling = (x["params"]["head"]["pooling"] for x in (victim.params, begun))
    assert not np.array_equal(*pooling)


@pytest.mark.parametrize(("optimiser", "momentum"), [("sgd", 0.9), ("adam", None)])
def test_decay_is_added_to_the_gradient(optimiser, momentum):
    """Two steps beside PyTorch's rules written out: `g + w θ`, then momentum or Adam's moments."""
    theta, gradients, rate, decay = 2.0, (0.5, -0.3), 0.1, 0.01
    expected, memory, square = theta, 0.0, 0.0
    rule = constant(optimiser, rate, decay)
    found = jnp.asarray(theta)
    state = rule.init(found)
    for step, gradient in enumerate(gradients, start=1):
        updates, state = rule.update(jnp.asarray(gradient), state, found)
        found += updates
        whole = gradient + decay * expected
        if momentum is not None:
            memory = momentum * memory + whole
            expected -= rate * memory
        else:
            memory, square = 0.9 * memory + 0.1 * whole, 0.999 * square + 0.001 * whole**2
            tall = (square / (1 - 0.999**step)) ** 0.5 + 1e-8
            expected -= rate * memory / (1 - 0.9**step) / tall
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("part", [1024, 2], ids=["all in memory", "in parts"])
def test_all_layers_are_trained(tmp_path, yolo, ported, part, monkeypatch):
    monkeypatch.setattr(tagger_recipes, "AT_A_TIME", part)
    command = ["train", "classifier", "--name", "x", "--data", yolo, "--out", tmp_path]
    how = ["--backbone-from", ported, "--all-layers", "--optimiser", "sgd", "--batch", "2"]
    code, _, err = call(*command, *how, "--steps", "8", "--held-out", "3")
    assert code == 0, err
    victim, before = zoo.load(str(tmp_path / "x")), zoo.load(str(ported))
    told = victim.record["training"]
    assert (told["optimiser"], told["batch"], told["learning_rate"]) == ("sgd", 2, 1e-4)
    for kind in ("params", "batch_stats"):
        own, theirs = (v.params[kind]["backbone"] for v in (victim, before))
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), own, theirs)
        assert any(jax.tree.leaves(moved)), kind
    measured = victim.record["measures"]["held_out_photographs"]
    assert measured["photographs"] == len(victim.record["held_out"]) == 3


def test_a_schedule_is_for_all_layers(tmp_path, yolo, ported):
    command = ["train", "classifier", "--name", "x", "--data", yolo, "--out", tmp_path]
    code, _, err = call(*command, "--backbone-from", ported, "--batch", "2")
    assert code == 2 and "--batch: is not read with --backbone-from; it is for --all-layers" in err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ([], "--backbone-weights, MobileNetV2's .npz, or --backbone-from"),
        (["--backbone-weights", "/absent.npz"], "/absent.npz: not MobileNetV2's weights"),
        (
            ["--backbone-from", "scenes-tagger", "--backbone", "resnet50"],
            "has the backbone resnet-small-crowd, not resnet50",
        ),
        (["--backbone-from", "nobody"], "no victim 'nobody'"),
    ],
)
def test_a_backbone_that_cannot_be_taken_is_one_line(tmp_path, yolo, more, line):
    command = ["train", "classifier", "--name", "x", "--data", yolo, "--out", tmp_path / "out"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err and not (tmp_path / "out" / "x").exists()


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
