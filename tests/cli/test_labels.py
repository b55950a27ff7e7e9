"""The commands for taggers: pictures in, pictures out, the paper's columns, one-line errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.data import scenes
from jaxadv.data.images import read_image, write_png
from jaxadv.experiments import store
from jaxadv.labels.target import LabelTarget
from jaxadv.reports.labels import label_panel
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture

PRESENT = [scenes.LABELS[i] for i in scenes.crowd(1, 0).labels.nonzero()[0]]
METHODS = ("tkmia", "ml-cw-u", "tkml-ap-u", "kfool", "reliable")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A tagger of scenes with random weights."""
    folder = tmp_path_factory.mktemp("taggers") / "random"
    architecture = ClassifierArchitecture("resnet-small", scenes.CROWD_SIDE)
    net = architecture.network(len(scenes.LABELS))
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(architecture.image_shape))
    zoo.save(folder, architecture, {"classes": scenes.LABELS}, variables)
    return folder


@pytest.fixture
def crowd_png(tmp_path):
    path = tmp_path / "crowd.png"
    write_png(path, scenes.crowd(1, 0).picture)
    return path


def attack(tagger, *more, steps="--iterations"):
    return call("attack", "labels", "--victim", tagger, steps, "2", *more)


@pytest.fixture(scope="module")
def ranked(tagger):
    """The labels of the picture, the tagger's first ones first."""
    victim = zoo.load(str(tagger))
    scores = victim.classifier.scores(victim.params, jnp.asarray(scenes.crowd(1, 0).picture))
    return [scenes.LABELS[i] for i in jnp.argsort(-scores, stable=True).tolist()]


@pytest.mark.parametrize("method", METHODS)
def test_attack_writes_pictures_records_and_a_figure(tagger, ranked, crowd_png, tmp_path, method):
    out, said, right = tmp_path / "out", ranked[0], ranked[:6]
    aim = ["--suppress", said, "--relevant", ",".join(right), "--k", "2"]
    steps = "--budget" if method == "reliable" else "--iterations"
    code, told, err = attack(tagger, *aim, "--method", method, "--out", out, crowd_png, steps=steps)
    assert code == 0, err
    assert "compiling" in err
    assert sorted(p.name for p in out.iterdir()) == [
        "crowd.adversarial.png", "crowd.benign.png", "crowd.json", "figure.png",
    ]  # fmt: skip
    entry = json.loads((out / "crowd.json").read_text())
    assert entry["specified"] == [said] and set(entry["relevant"]) == set(right)
    assert entry["success"] == (said not in entry["after"]) and len(entry["after"]) == 2
    assert entry["success_8bit"] == (said not in entry["after_8bit"])
    assert ("│    yes │" in told) == entry["success_8bit"]
    assert entry["command"] == "attack labels" and None not in entry["settings"].values()
    assert read_image(out / "crowd.adversarial.png").shape == (128, 128, 3)
    code, seen, _ = call("label", "--victim", tagger, "--k", "2", out / "crowd.adversarial.png")
    assert code == 0 and all(label in seen for label in entry["after_8bit"])


def test_several_methods_are_drawn_side_by_side(tagger, ranked, crowd_png, tmp_path):
    aim = ["--suppress", ranked[0], "--relevant", ",".join(ranked[:6]), "--k", "2"]
    both = ["--method", "kfool", "--method", "tkmia", "--iterations", "3"]
    code, told, err = attack(tagger, *aim, *both, "--out", tmp_path / "out", crowd_png)
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "crowd.kfool.adversarial.png", "crowd.kfool.benign.png", "crowd.kfool.json",
        "crowd.tkmia.adversarial.png", "crowd.tkmia.benign.png", "crowd.tkmia.json", "figure.png",
    ]  # fmt: skip
    entries = [
        json.loads((tmp_path / "out" / f"crowd.{name}.json").read_text())
        for name in ("kfool", "tkmia")
    ]
    assert [entry["settings"]["method"] for entry in entries] == ["kfool", "tkmia"]
    assert entries[0]["before"] == entries[1]["before"]
    assert "kfool and tkmia on" in told


def test_a_panel_says_by_how_much_the_measures_fell():
    """One of three relevant labels leaves the first two for one that is not relevant."""
    target = LabelTarget(jnp.array([1, 1, 1, 0], bool), jnp.array([1, 0, 0, 0], bool), jnp.array(2))
    picture, logits = np.zeros((4, 4, 3)), np.array([[3.0, 2, 1, 0], [0.0, 2, 1, 3]])
    panel = label_panel("x", (picture, picture), tuple(logits), target, ("a", "b", "c", "d"))
    assert [name for name, _ in panel.before] == ["a", "b"]
    assert [name for name, _ in panel.after] == ["d", "b"]
    assert panel.changes["ΔP@k"] == 0.5 and panel.changes["ΔNDCG@k"] > 0
    assert set(panel.changes) == {"ΔTkAcc", "ΔP@k", "ΔAP@k", "ΔNDCG@k"}


def test_a_label_that_is_absent_is_not_fooled(tagger, ranked, crowd_png, tmp_path):
    absent, right = ranked[3], ["--relevant", ",".join(ranked[:6]), "--k", "2"]
    code, told, err = attack(
        tagger, "--suppress", absent, *right, "--out", tmp_path / "out", crowd_png
    )
    assert code == 2 and "already absent: the first 2 labels are" in err and "fooled" not in told
    assert list((tmp_path / "out").iterdir()) == []
    # one of two is absent: the other has yet to leave, unless one is enough
    both = ["--suppress", absent, "--suppress", ranked[0], *right]
    code, _, err = attack(tagger, *both, "--delta", "1", "--out", tmp_path / "out", crowd_png)
    assert code == 2 and "already absent" in err
    code, _, err = attack(tagger, *both, "--delta", "3", "--out", tmp_path / "out", crowd_png)
    assert code == 2 and "must be at most 2" in err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--suppress", "red circel"], "did you mean 'red circle'"),
        (["--suppress", PRESENT[0], "--relevant", PRESENT[1]], "is not relevant"),
        (["--suppress", PRESENT[0], "--relevant", PRESENT[0]], "k + |S|"),
        (["--suppress", PRESENT[0], "--relevant", ",".join(PRESENT), "--k", "48"], "from 1 to 47"),
        (["--suppress", PRESENT[0], "--method", "tkmai"], "must be one of tkmia"),
        (["--suppress", PRESENT[0], "--tradeoff", "nan"], "must be finite"),
    ],
)
def test_wrong_input_is_one_line(tagger, crowd_png, tmp_path, more, line):
    code, _, err = attack(tagger, *more, "--out", tmp_path / "out", crowd_png)
    assert code == 2 and line in err and "Traceback" not in err


def test_evaluate_prints_the_papers_columns(tagger, tmp_path):
    command = ["evaluate", "labels", "--victim", tagger, "--images", "4", "--iterations", "1"]
    out = ["--out", tmp_path / "table"]
    code, said, err = call(*command, "--k", "2,20", "--method", "tkmia", "--method", "kfool", *out)
    assert code == 0, err
    assert "ΔNDCG@k" in said and "4 with too few relevant labels" in said
    (table,) = json.loads((tmp_path / "table" / "table.json").read_text())["tables"]
    assert [row["method"] for row in table["rows"]] == ["kfool", "tkmia"]
    assert len(list(store.read(tmp_path / "table"))) == 2 * table["rows"][0]["n"] > 0
    selection = ["--selection", "global", "--types", "red"]
    rest = ["--k", "2", "--method", "ml-cw-u", "--batch", "auto"]
    code, said, err = call(*command, *selection, *rest, *out)
    assert code == 0 and "red specified, k=2" in said and "batch 2: " in said, err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--k", "0"], "give numbers from 1 to 47"),
        (["--batch", "all"], "--batch 'all': must be a whole number of at least 1 and at most"),
        (["--selection", "some"], "must be one of global, random"),
        (["--selection", "global", "--types", "crimson"], "no label is of type 'crimson'"),
        (["--delta", "3"], "at most |S| = 2"),
        (["--form", "printed"], "must be one of paper, released"),
        (["--among", "some"], "must be one of relevant, said"),
        (["--learning-rate", "5e-4,fast"], "learning rate '5e-4,fast': give a number"),
        (["--learning-rate", "5e-4,0"], "must be positive and finite"),
        (["--data", "/absent"], "/absent: no such folder"),
    ],
)
def test_wrong_settings_are_one_line(tagger, tmp_path, more, line):
    command = ["evaluate", "labels", "--victim", tagger, "--out", tmp_path / "table"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err


def test_a_captioner_is_no_tagger(crowd_png):
    code, _, err = call("label", "--victim", "scenes-show-attend-tell", crowd_png)
    assert code == 2 and "is a captioner, not a classifier" in err
