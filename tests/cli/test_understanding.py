"""`jaxadv evaluate understanding` on shipped captioners: files, tables, lines for wrong input."""

import json

import pytest
from helpers.commands import call

from jaxadv.experiments import store

VICTIMS = ("scenes-show-attend-tell", "scenes-scst")
COMMAND = (
    "evaluate", "understanding", "--victim", VICTIMS[0], "--victim", VICTIMS[1], "--images", "3",
    "--targets", "1", "--iterations", "2", "--method", "ssvm", "--batch", "12",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two captioners, three pictures, two steps of the attack that compiles soonest."""
    out = tmp_path_factory.mktemp("study") / "made"
    code, said, err = call(*COMMAND, "--out", out)
    assert code == 0, err
    return out, said, err


def test_files(study):
    out, said, err = study
    made = {p.name for p in out.iterdir()}
    drawn = {"examples.png", "likelihood.png", "location.png", "transfer.png"}
    assert drawn | {"pictures", "records", "table.json"} <= made
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Figure 3" in said and "Figure 4" in said
    line = "scenes-scst cannot say 3 attributive sentences of captions: for want of 'that'"
    assert line in " ".join(err.split())
    assert "understanding" in err and "ssvm on scenes-scst" in err  # progress


def test_its_folder_is_read_by_table(study):
    code, said, err = call("table", "understanding", study[0], "--format", "csv")
    assert code == 0, err
    assert "made on,shown to" in said and "for want of 'that'" in err


def test_the_same_command_goes_on_from_there(study):
    """A second run makes nothing again, and finds the same."""
    out, _, _ = study
    before = sorted(r["cell"] + str(r["id"]) for r in store.read(out))
    code, said, _ = call(*COMMAND, "--out", out)
    assert code == 0 and "Figure 4" in said
    assert sorted(r["cell"] + str(r["id"]) for r in store.read(out)) == before


def test_the_matrix_agrees_with_the_records(study):
    """Each diagonal cell is the success of the complete captions that were recorded."""
    out, _, _ = study
    records = list(store.read(out))
    tables = json.loads((out / "table.json").read_text())["tables"]
    (transfer,) = [t for t in tables if t["title"].startswith("Transfer")]
    rows = transfer["rows"]
    assert {(row["made on"], row["shown to"]) for row in rows} == {
        (a, b) for a in VICTIMS for b in VICTIMS
    }
    for row in rows:
        if row["made on"] != row["shown to"]:
            continue
        complete = [
            r for r in records if r["victim"] == row["made on"] and r["setting"] == "0 latent"
        ]
        assert len(complete) == row["n"] == 3
        assert row["SR"] == sum(r["success"] for r in complete) / 3
        assert row["Prec"] == pytest.approx(sum(r["precision"] for r in complete) / 3)
    unsaid = [r for r in records if r.get("cannot_say")]
    assert {tuple(r["cannot_say"]) for r in unsaid if r["source"] == "captions"} == {("that",)}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--victim", "nobody"], "no victim 'nobody'"),
        (["--victim", "scenes-tagger"], "not a captioner"),
        (["--victim", VICTIMS[0], "--victim", VICTIMS[0]], "given twice"),
        (["--victim", VICTIMS[0], "--method", "untargeted"], "targeted captions"),
        (["--victim", VICTIMS[0], "--method", "gme"], "must be one of gem"),
        (["--victim", VICTIMS[0], "--data", "/absent"], "no such folder"),
        (["--victim", VICTIMS[0], "--learning-rate", "-1"], "must be positive"),
        (["--victim", VICTIMS[0], "--content", "a giraffe"], "must be a clause, like"),
        (
            ["--victim", VICTIMS[0], "--batch", "0"],
            "must be a whole number of at least 1 and at most 100,000, or auto",
        ),
    ],
)
def test_wrong_input_is_one_line_and_code_2(more, line, tmp_path):
    code, _, err = call("evaluate", "understanding", *more, "--out", tmp_path / "o")
    assert code == 2
    assert line in err and "Traceback" not in err and err.count("\n") == 1


def test_help():
    code, out, _ = call("evaluate", "understanding", "--help")
    assert code == 0 and "--victim" in out and "sentence form" in out
