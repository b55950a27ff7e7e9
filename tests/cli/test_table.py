"""`jaxadv table`."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from helpers.commands import call

from jaxadv.experiments import store
from jaxadv.experiments.environment import environment, machine, versions
from jaxadv.experiments.plan import plan


@pytest.fixture
def folder(tmp_path):
    """A sweep of two attacks, one of which failed."""
    (cell,) = plan({"captions": [{"victim": "scenes-show-attend-tell", "rounds": 100}]})
    store.write_plan(tmp_path / "sweep", [(cell, "w", "a")])
    row = {"cell": cell.digest, "image": "scene-0", "setting": "0 latent", "target": "a b"}
    scores = {"said": "a b", "success": True, "precision": 1.0, "recall": 1.0, "norm": 2.5}
    writer = store.Writer(tmp_path / "sweep")
    writer.append({**row, "id": 0, "failed": None, "success_8bit": False, **scores})
    writer.append({**row, "id": 1, "failed": "broken"})
    writer.close()
    return tmp_path / "sweep"


def test_all_tables_are_listed():
    """By name."""
    code, out, _ = call("table")
    assert code == 0
    for name in ("exact-caption-5", "tkmia-23", "cmla-3", "cmla-supplement-2"):
        assert name in out


def test_the_papers_own_numbers():
    """Without a folder."""
    code, out, _ = call("table", "exact-caption-5")
    assert code == 0 and "show-and-fool margin" in out and "0.7134" in out


def test_a_sweep_beside_the_paper(folder, tmp_path):
    """As text, with what to know; CSV alone on the output."""
    code, out, _ = call("table", "exact-caption-1", folder)
    assert code == 0
    assert any(line.split()[:2] == ["gem", "0"] and "2.5000" in line for line in out.splitlines())
    assert (
        "gem here with iterations 100 (the paper: 50)" in out
        and "counted and not averaged: 1" in out
    )
    code, out, err = call("table", "exact-caption-1", folder, "--format", "csv")
    first = next(csv.DictReader(io.StringIO(out)))
    assert (first["n"], first["failed"], first["‖ε‖₂"]) == ("1", "1", "2.5")
    assert "note: the paper: Show-Attend-and-Tell over ResNet-101" in err
    path = tmp_path / "new" / "table.tex"
    code, out, _ = call("table", "exact-caption-1", folder, "--format", "latex", "--out", path)
    assert code == 0 and f"written to {path}" in out
    assert path.read_text().startswith(r"\begin{table}")
    assert [p.name for p in path.parent.iterdir()] == ["table.tex"]


def test_json_says_what_a_table_was_made_with(folder, monkeypatch):
    """The day, the machine, the versions and both command lines."""
    (cell,) = plan({"captions": [{"victim": "scenes-show-attend-tell", "rounds": 100}]})
    monkeypatch.setattr("sys.argv", ["/somewhere/jaxadv", "sweep", "my file.toml"])
    store.write_plan(folder, [(cell, "w", "a")], made_with=environment())
    code, out, _ = call("table", "captions", folder, "--format", "json")
    assert code == 0
    record = json.loads(out)
    lines = ["jaxadv sweep 'my file.toml'", f"jaxadv table captions {folder} --format json"]
    assert record["command"].split("\n") == lines
    assert record["measured"] == datetime.now(UTC).strftime("%Y-%m-%d")
    assert record["machine"] == machine() and record["versions"] == versions()
    (table,) = record["tables"]
    assert "SR" in table["columns"] and len(table["rows"]) == 1


def test_a_picture(folder, tmp_path):
    """The table's own curve, or another."""
    path = tmp_path / "curve.png"
    code, _, err = call("table", "exact-caption-1", folder, "--picture", path)
    assert code == 0 and path.read_bytes().startswith(b"\x89PNG") and "written to" in err
    code, _, err = call(
        "table", "exact-caption-1", folder, "--picture", path, "--curve", "iterations"
    )
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table-1"], "unknown table 'table-1': must be one of exact-caption-1"),
        (["tkmia-1", "--format", "html"], "--format 'html': must be one of text, markdown"),
        (["tkmia-1", "--picture", "x.png"], "give the folder of a sweep"),
        (["tkmia-1", "no-such-folder"], "no-such-folder: holds no sweep"),
        (["cmla-1", "no-such-folder"], "no-such-folder: holds no sweep"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message):
    """And exit code 2."""
    code, out, err = call("table", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_help():
    """What it takes."""
    code, out, _ = call("table", "--help")
    assert code == 0
    for option in ("--format", "--out", "--victim", "--picture", "--curve"):
        assert option in out
