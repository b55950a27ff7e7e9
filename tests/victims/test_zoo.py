"""Victims by name, and the networks at their published sizes."""

import dataclasses
import json
import math
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.captions.captioner import caption_log_probability, greedy
from jaxadv.data import scenes
from jaxadv.training.captioner_recipes import scene_accuracy
from jaxadv.victims import zoo
from jaxadv.victims.architectures import (
    MOST_SIDE,
    PUBLISHED,
    CaptionerArchitecture,
    ClassifierArchitecture,
    VictimError,
    recorded,
)
from jaxadv.victims.nets.caption_net import adaptive_average_pool, initial_variables
from jaxadv.vocabulary import Vocabulary

CAPTIONING = [
    name
    for name, folder in sorted(zoo.installed().items())
    if name.startswith("scenes-") and zoo.read_record(folder)[0].kind == "captioner"
]
CAPTIONERS = [name for name, made in PUBLISHED.items() if made.kind == "captioner"]
SMALL = CaptionerArchitecture("show-attend-tell", "resnet-small", units=8, max_length=5, side=64)
LEAST = {
    "scenes-show-attend-tell": 0.9,
    "scenes-scst": 0.9,
    "scenes-show-tell": 0.8,
    "scenes-transformer": 0.9,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "mine"
    params = initial_variables(SMALL.network(3), SMALL.image_shape, jax.random.key(0))
    zoo.save(folder, SMALL, {"vocabulary": ("a", "cat")}, params, source="test")
    return folder, params


@pytest.fixture
def saved(made, tmp_path):
    folder, params = made
    return shutil.copytree(folder, tmp_path / "mine"), params


def test_weights_in_bfloat16_come_back_as_they_were_rounded(made, tmp_path):
    _, params = made
    names = {"vocabulary": ("a", "cat")}
    zoo.save(tmp_path / "small", SMALL, names, params, stored="bfloat16")
    victim = zoo.load(str(tmp_path / "small"))
    assert {x.dtype for x in jax.tree.leaves(victim.params)} == {jnp.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, victim.params, zoo.rounded(params, "bfloat16"))
    assert victim.record["stored"] == "bfloat16"


@pytest.fixture
def sharing(made, tmp_path):
    """A victim, and one beside it that has no backbone of its own."""
    folder, params = made
    shutil.copytree(folder, tmp_path / "owner")
    names = {"vocabulary": ("a", "cat")}
    zoo.save(tmp_path / "guest", SMALL, names, params, backbone_of="owner")
    return tmp_path, params


def test_a_shared_backbone_is_read_from_its_owner(sharing):
    folder, params = sharing
    victim = zoo.load(str(folder / "guest"))
    jax.tree.map(np.testing.assert_array_equal, victim.params, params)


def test_a_hasher_shares_the_backbone_of_a_tagger(tmp_path):
    tagger = zoo.load("scenes-tagger")
    names = {"classes": tagger.classifier.classes}
    zoo.save(tmp_path / "owner", tagger.architecture, names, tagger.params)
    rest, backbone = zoo._apart(tagger.params)
    hasher = {
        kind: {"features": {}, "image_hash": part} if kind == "params" else {"features": {}}
        for kind, part in rest.items()
    }
    whole = zoo._together(hasher, backbone)
    assert zoo._apart(whole)[1].keys() == backbone.keys()
    jax.tree.map(np.testing.assert_array_equal, zoo._apart(whole)[1], backbone)


def test_a_shared_backbone_that_is_missing_or_wrong_is_said(sharing):
    folder, params = sharing
    names = {"vocabulary": ("a", "cat")}
    other = jax.tree.map(lambda x: x + 1, params)
    with pytest.raises(VictimError, match="its backbone is not that of 'owner'"):
        zoo.save(folder / "third", SMALL, names, other, backbone_of="owner")
    with pytest.raises(VictimError, match="'guest''s, which has none"):
        zoo.save(folder / "third", SMALL, names, params, backbone_of="guest")
    for name in ("nobody", "../owner", ".."):
        with pytest.raises(VictimError, match="copy both folders"):
            zoo.save(folder / "third", SMALL, names, params, backbone_of=name)
    shutil.rmtree(folder / "owner")
    with pytest.raises(VictimError, match="that of the victim 'owner', which is not in"):
        zoo.load(str(folder / "guest"))


def test_an_unknown_type_of_stored_weights_is_refused(saved):
    folder, _ = saved
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "stored": "int3"}))
    with pytest.raises(VictimError, match="stored: must be one of float32, bfloat16, not 'int3'"):
        zoo.load(str(folder))


def test_saved_victim_comes_back(saved):
    folder, params = saved
    victim = zoo.load(str(folder))
    assert victim.architecture == SMALL
    assert victim.captioner.vocabulary.words == ("a", "cat")
    jax.tree.map(np.testing.assert_array_equal, victim.params, params)
    zoo.save(folder, SMALL, {"vocabulary": ("a", "cat")}, params)  # replaces it
    assert sorted(p.name for p in folder.iterdir()) == ["record.json", "weights"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]


def changed(folder, **values):
    path = folder / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def built(folder, **values):
    record = json.loads((folder / "record.json").read_text())
    changed(folder, architecture={**record["architecture"], **values})


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def linked(path):
    outside = path.parents[2] / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: (f / "record.json").write_text("{"),
            "not JSON, .*a victim's record is expected",
        ),
        (lambda f: (f / "record.json").write_bytes(b"\xff\xfe\x00"), "text in UTF-16"),
        (lambda f: (f / "record.json").write_text("[" * 100_000), "nested too deep"),
        (lambda f: (f / "record.json").write_text("[]"), "not a victim's record"),
        (lambda f: (f / "record.json").unlink(), "a folder without record.json, so no victim"),
        (lambda f: shutil.rmtree(f / "weights"), "weights must be files"),
        (lambda f: linked(f / "weights" / "_CHECKPOINT_METADATA"), "weights must be files"),
        (lambda f: piped(f / "weights" / "state" / "manifest.ocdbt"), "weights must be files"),
        (lambda f: cut(f / "weights" / "state" / "_METADATA"), "damaged or truncated; copy"),
        (lambda f: cut(f / "weights" / "state" / "manifest.ocdbt"), "damaged or truncated; copy"),
        (lambda f: changed(f, vocabulary=["a", "dog"]), "its vocabulary changed since"),
        (lambda f: changed(f, vocabulary=["a", "a"]), "vocabulary: there twice are 'a'"),
        (lambda f: changed(f, vocabulary=["a", 3]), "vocabulary: must be a text, not 3"),
        (lambda f: changed(f, vocabulary="ab"), "vocabulary: must be a list of texts"),
        (lambda f: changed(f, vocabulary_sha256=None), "its vocabulary changed since"),
        (lambda f: changed(f, weights_sha256=None), "weights: changed since"),
        (lambda f: changed(f, kind="robot"), "kind: must be one of captioner"),
        (lambda f: changed(f, kind=["captioner"]), "kind: must be one of captioner"),
        (lambda f: changed(f, architecture=[]), "architecture: must be an object"),
        (lambda f: built(f, units=16), "weights do not fit the record"),
        (lambda f: built(f, units=10**9), "units: must be from 1 to 65536"),
        (lambda f: built(f, units=True), "units: must be a whole number"),
        (lambda f: built(f, side=-1), "side: must be from 1 to 4096, not -1"),
        (lambda f: built(f, side=1e5), "side: must be a whole number, not 100000.0"),
        (lambda f: built(f, side=math.nan), "side: must be a whole number, not nan"),
        (lambda f: built(f, side=[64]), "side: must be a whole number, not a list of 1"),
        (lambda f: built(f, max_length=10**6), "max_length: must be from 1 to 1000"),
        (lambda f: built(f, grid=0), "grid: must be from 1"),
        (lambda f: built(f, dropout=1), "dropout: must be at least 0 and below 1"),
        (lambda f: built(f, dropout="0"), "dropout: must be a number"),
        (lambda f: built(f, backbone={}), "unknown backbone"),
        (lambda f: built(f, decoder="os.system"), "unknown decoder 'os.system'"),
        (lambda f: built(f, backbone="vit-b16", side=65), "no network can be made"),
        (lambda f: built(f, colour=1), "architecture: unknown are 'colour'"),
        (lambda f: changed(f, architecture={"units": 8}), "missing are 'decoder', 'backbone'"),
    ],
)
def test_broken_folders_are_named(saved, spoil, message):
    folder, _ = saved
    spoil(folder)
    with pytest.raises(VictimError, match=message) as caught:
        zoo.load(str(folder))
    assert "\n" not in str(caught.value)


def test_a_file_is_no_folder(saved):
    folder, _ = saved
    with pytest.raises(VictimError, match="a file, where a victim's folder or name is expected"):
        zoo.load(str(folder / "record.json"))
    for name in ("x" * 300, "a\0b", "\x1b[2J"):
        with pytest.raises(VictimError, match="no victim") as caught:
            zoo.load(name)
        assert str(caught.value).isprintable()


def test_a_large_side_needs_no_picture():
    made = ClassifierArchitecture("resnet-small", MOST_SIDE)
    assert made.shapes({"classes": ("a",)})["params"]["fc"]["bias"].shape == (1,)


def test_records_from_before_other_heads_stay_as_they_are():
    """A linear head is left out, so that a victim of an older record is still the same."""
    victim = zoo.load("scenes-tagger")
    assert "head" not in victim.record["architecture"]
    assert victim.architecture.head == "linear"
    names = {"classes": victim.classifier.classes}
    same = zoo.identity(victim.architecture, names, victim.params)
    zoo.check_free(zoo.installed()["scenes-tagger"], False, same)
    other = dataclasses.replace(victim.architecture, head="ml-decoder")
    assert recorded(other) == {**same["architecture"], "head": "ml-decoder"}


def test_only_a_victim_is_replaced_and_only_by_force(saved, tmp_path):
    folder, params = saved
    zoo.check_free(tmp_path / "new", force=False)
    zoo.check_free(folder, force=True)
    zoo.check_free(folder, False, zoo.identity(SMALL, {"vocabulary": ("a", "cat")}, params))
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "other").mkdir()
    other = zoo.identity(SMALL, {"vocabulary": ("a", "dog")}, params)
    with pytest.raises(VictimError, match="give --force"):
        zoo.check_free(folder, False, other)
    for place, force, line in [
        (folder, False, "a victim of that name is there; give --force"),
        (tmp_path / "other", True, "there, and no victim, so not replaced"),
        (tmp_path / "mine.txt", True, "there, and no victim, so not replaced"),
        (tmp_path / ("x" * 300), False, "no victim can be called that"),
        (tmp_path / "a\0b", False, "no victim can be called that"),
    ]:
        with pytest.raises(VictimError, match=line):
            zoo.check_free(place, force)


@pytest.mark.parametrize("name", sorted(zoo.installed()))
def test_shipped_names_are_those_of_their_record(name):
    zoo.read_record(zoo.installed()[name])


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
