"""What all evaluations do: compile once, replace their results, refuse what nobody reads."""

import json

import jax
import jax.numpy as jnp
import pytest
from helpers.commands import call

from jaxadv.cli.evaluations import write_results
from jaxadv.core import stream
from jaxadv.data import scenes
from jaxadv.victims import zoo
from jaxadv.victims.architectures import ClassifierArchitecture

TAGGER, CAPTIONER = "scenes-tagger", "scenes-show-tell"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A tagger of scenes with random weights."""
    folder = tmp_path_factory.mktemp("taggers") / "random"
    architecture = ClassifierArchitecture("resnet-small", scenes.CROWD_SIDE)
    net = architecture.network(len(scenes.LABELS))
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(architecture.image_shape))
    zoo.save(folder, architecture, {"classes": scenes.LABELS}, variables)
    return folder


def labels(tagger, out, *more):
    few = ["--images", "6", "--iterations", "1", "--specified", "1"]
    return call("evaluate", "labels", "--victim", tagger, *few, "--out", out, *more)


def test_a_method_is_compiled_once_and_run_again_it_replaces(tagger, tmp_path):
    """Whatever the values of k, for which there are not as many pictures."""
    out = tmp_path / "table"
    before = stream._chunk._cache_size()
    methods = ["--method", "tkmia", "--method", "ml-cw-u"]
    code, _, err = labels(tagger, out, *methods, "--k", "2,5,7")
    assert code == 0, err
    assert stream._chunk._cache_size() - before == len(methods) // 2
    table = json.loads((out / "table.json").read_text())
    counts = [row["attacked"] for row in table["rows"] if row["method"] == "tkmia"]
    assert len(counts) == 3 and len(set(counts)) > 1
    assert "compiling" in err
    again = labels(tagger, out, "--method", "tkmia", "--k", "2")
    assert again[0] == 0
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len(records) == counts[0] and {r["method"] for r in records} == {"tkmia"}
    assert all(r["learning_rate"] == 5e-4 and None not in r.values() for r in records)
    (row,) = json.loads((out / "table.json").read_text())["rows"]
    assert row["attacked"] == counts[0] and row["iterations"] == 1


def test_nothing_to_attack_is_said(tagger, tmp_path):
    """And the table is written, without a row."""
    code, said, err = labels(tagger, tmp_path / "n", "--k", "47")
    assert code == 0 and "0 attacked" in said and "Traceback" not in err
    assert json.loads((tmp_path / "n" / "table.json").read_text())["rows"] == []


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            ["--method", "kfool", "--inner", "gradient"],
            "--inner: is not read with kfool; it",
        ),
        (["--method", "kfool", "--learning-rate", "1"], "--learning-rate: is not read with kfool"),
        (["--types", "red"], "--types: is not read with random"),
        (["--selection", "global", "--specified", "2"], "--specified: is not read with global"),
        (["--search", "9"], "--search: give several values of"),
        (["--k", "\u00b2"], "give numbers from 1 to 47"),
        (["--k", "3" * 5000], "give numbers from 1 to 47"),
        (["--seed", "-1"], "--seed"),
        (["--iterations", "3000000000"], "--iterations"),
        (["--selection", "global", "--types", "crimson,red"], "no label is of type 'crimson'"),
    ],
)
def test_wrong_settings_of_labels_are_one_line(tmp_path, more, line):
    command = ["evaluate", "labels", "--victim", TAGGER, "--out", tmp_path / "table"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err and "Traceback" not in err
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("what", ["caption", "understanding"])
@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--method", "show-and-fool", "--tradeoff", "1"], "--tradeoff: is not read with show-and"),
        (["--learning-rate", "0"], "positive and finite"),
        (["--rounds", "0"], "rounds"),
        (["--rounds", "2000000"], "rounds"),
        (["--seed", "18446744073709551617"], "seed"),
    ],
)
def test_wrong_settings_of_captions_are_one_line(tmp_path, what, more, line):
    command = ["evaluate", what, "--victim", CAPTIONER, "--images", "2", "--out", tmp_path / "t"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--posterior", "joint", "--method", "ssvm"], "--posterior: is not read with ssvm; it is"),
        (["--tries", "3"], "--tries: is not read with gem; it is for show-and-fool"),
        (
            ["--method", "show-and-fool", "--settings", "2 latent"],
            "show-and-fool takes complete captions",
        ),
    ],
)
def test_wrong_settings_of_the_table_of_captions(tmp_path, more, line):
    command = ["evaluate", "caption", "--victim", CAPTIONER, "--out", tmp_path / "t"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err


def test_another_commands_results_are_not_overwritten(tagger, tmp_path):
    write_results(tmp_path, {"command": "evaluate caption", "victim": "other"}, [{"a": 1}])
    code, _, err = labels(tagger, tmp_path, "--k", "2")
    assert code == 2 and "holds results of evaluate caption on 'other'" in err
    assert (tmp_path / "records.jsonl").read_text() == '{"a": 1}\n'


def test_numbers_that_json_has_not_are_null(tmp_path):
    write_results(tmp_path, {"mean": float("nan")}, [{"norms": [1.0, float("inf")]}])
    assert json.loads((tmp_path / "table.json").read_text()) == {"mean": None}
    assert json.loads((tmp_path / "records.jsonl").read_text()) == {"norms": [1.0, None]}
