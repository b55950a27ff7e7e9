"""What all evaluations do: compile once, replace their results, refuse what nobody reads."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from helpers.commands import call

from jaxadv.cli.evaluations import write_table
from jaxadv.core import stream
from jaxadv.data import scenes
from jaxadv.experiments import store
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
    counts = [row["n"] for row in table_rows(out) if row["method"] == "tkmia"]
    assert len(counts) == 3 and len(set(counts)) > 1
    assert "compiling" in err
    again = labels(tagger, out, "--method", "tkmia", "--k", "2")
    assert again[0] == 0
    records = list(store.read(out))
    assert len(records) == counts[0] and {r["method"] for r in records} == {"tkmia"}
    assert all(r["learning_rate"] == 5e-4 and r["iterations"] == 1 for r in records)
    (row,) = table_rows(out)
    assert row["n"] == counts[0] and row["failed"] == 0


def table_rows(out):
    (table,) = json.loads((out / "table.json").read_text())["tables"]
    return table["rows"]


def test_gone_on_with_and_read_by_table(tagger, tmp_path):
    """What a kill left is not made again; shares are put together; a paper's table reads it."""
    out, one = tmp_path / "out", ["--method", "tkmia", "--k", "2"]
    for share in ("0/2", "1/2"):
        code, said, err = labels(tagger, out, *one, "--shard", share)
        assert code == 0, err
        assert ("other shares are under way" in said) == (share == "0/2")
    whole = {row["id"]: row for row in store.read(out)}
    cut, *rest = sorted((out / "records").iterdir())
    lines = cut.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:-1]))
    code, _, err = labels(tagger, out, *one)
    assert code == 0, err
    assert store.count(out).recorded == len(whole)
    assert len(list((out / "records").iterdir())) == 3 + len(rest) - 1
    code, said, err = call("table", "tkmia-3", out)
    assert code == 0 and "ΔNDCG@k" in said and "paper" in said, err


def test_kept_pictures(tagger, tmp_path):
    few = ["--method", "tkmia", "--k", "2", "--pictures", "png"]
    code, _, err = labels(tagger, tmp_path / "out", *few)
    assert code == 0, err
    kept = {path.stem for path in (tmp_path / "out" / "pictures").iterdir()}
    rows = list(store.read(tmp_path / "out"))
    benign = {Path(row["benign_picture"]).stem for row in rows}
    assert kept == benign | {f"{row['cell']}-{row['id']}" for row in rows}
    assert len(benign) == len({row["image"] for row in rows})  # once for all its attacks


def test_settings_are_searched_on_other_pictures(tagger, tmp_path):
    """For each k again; the table is of what was best there."""
    out = tmp_path / "out"
    rates = ["--learning-rate", "1e-9,0.5", "--search", "3"]
    code, _, err = labels(tagger, out, "--method", "tkmia", "--k", "2,3", *rates)
    assert code == 0, err
    tried, made = list(store.read(out / "search")), list(store.read(out))
    assert {(row["learning_rate"], row["k"]) for row in tried} == {
        (rate, k) for rate in (1e-9, 0.5) for k in (2, 3)
    }
    assert not {row["image"] for row in tried} & {row["image"] for row in made}
    assert {(row["k"], row["learning_rate"]) for row in made} <= {
        (k, rate) for rate in (1e-9, 0.5) for k in (2, 3)
    }
    assert len({(row["k"], row["learning_rate"]) for row in made}) == 2


def test_nothing_to_attack_is_said(tagger, tmp_path):
    """And the table is written, without a row."""
    code, said, err = labels(tagger, tmp_path / "n", "--k", "47")
    assert code == 0 and "0 attacked" in said and "Traceback" not in err
    assert table_rows(tmp_path / "n") == []


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
    about = {"command": "evaluate caption", "victim": "other"}
    write_table(tmp_path, about)
    code, _, err = labels(tagger, tmp_path, "--k", "2")
    assert code == 2 and "holds results of evaluate caption on 'other'" in err
    assert json.loads((tmp_path / "table.json").read_text()) == about


def test_numbers_that_json_has_not_are_null(tmp_path):
    write_table(tmp_path, {"mean": float("nan"), "norms": [1.0, float("inf")]})
    assert json.loads((tmp_path / "table.json").read_text()) == {"mean": None, "norms": [1.0, None]}
