"""`--victim module:function`: a victim of one's own in commands and sweeps."""

import sys

import pytest
from helpers.commands import call

import jaxadv as ja
from jaxadv.experiments.plan import plan
from jaxadv.experiments.sweep import prepare
from jaxadv.victims.architectures import VictimError

MODULE = '''
import jax
import jaxadv as ja
from jaxadv.data.scenes import LABELS

def tagger():
    """A linear one, of scenes."""
    weights = {SCALE} * jax.random.normal(jax.random.key(0), (len(LABELS), 12))

    def logits(weights, image):
        return weights @ (image.reshape(8, 16, 8, 16, 3).mean((1, 3)).reshape(-1, 12).mean(0) - 0.5)

    return ja.labels.MultiLabelClassifier(logits, LABELS, (128, 128, 3)), weights

def broken():
    return 3

number = 4
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A file in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_for_tests.py").write_text(MODULE.replace("{SCALE}", "3.0"))
    yield tmp_path / "mine_for_tests.py"
    sys.modules.pop("mine_for_tests", None)


def test_it_is_a_victim_like_any_other(module):
    victim = ja.load("mine_for_tests:tagger")
    assert victim.classifier is victim.model
    assert ja.check(victim.model, victim.params) == []
    with pytest.raises(VictimError, match="is a classifier, not a captioner"):
        _ = victim.captioner


def test_commands_take_it(module, tmp_path):
    few = ("--images", 40, "--most", 2, "--k", 2, "--specified", 1, "--iterations", 3)
    given = ("--victim", "mine_for_tests:tagger", "--method", "tkmia", "--out", tmp_path / "o")
    code, said, err = call("evaluate", "labels", *given, *few)
    assert code == 0, err
    assert "mine_for_tests:tagger" in said


def test_a_sweep_knows_another_victim_of_that_name(module):
    tables = {"labels": [{"victim": "mine_for_tests:tagger", "method": "tkmia", "images": 2}]}
    (before,) = prepare(plan(tables))
    sys.modules.pop("mine_for_tests")
    module.write_text(MODULE.replace("{SCALE}", "2.0"))
    (after,) = prepare(plan(tables))
    assert before.weights != after.weights


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mine_for_tests:absent", "has no function absent"),
        ("mine_for_tests:number", "has no function number"),
        ("mine_for_tests:broken", "returned a int; must be a pair"),
        ("no_such_module:tagger", "no module 'no_such_module'"),
    ],
)
def test_what_makes_no_victim_is_one_line(module, name, line):
    with pytest.raises(VictimError, match=line) as found:
        ja.load(name)
    assert "\n" not in str(found.value)


def test_it_is_not_saved(module):
    architecture = ja.load("mine_for_tests:tagger").architecture
    with pytest.raises(VictimError, match="can only be attacked"):
        architecture.shapes({})
