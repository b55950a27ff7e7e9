"""The command line as a person meets it: help, pictures in, pictures out, one line for an error."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import call
from PIL import Image

from jaxadv import __version__
from jaxadv.cli.main import app
from jaxadv.data import scenes
from jaxadv.data.images import read_image, round_8bit, write_png
from jaxadv.experiments import store
from jaxadv.experiments.captions import TABLE_1

VICTIM = "scenes-show-attend-tell"
QUICK = ["--iterations", "2"]


@pytest.fixture
def scene_png(tmp_path):
    path = tmp_path / "scene.png"
    write_png(path, scenes.example(1, 0).picture)
    return path


def test_version_and_help():
    assert call("--version") == (0, f"jaxadv {__version__}\n", "")
    for command in ([], ["attack"], ["train"], ["evaluate"]):
        code, out, _ = call(*command, "--help")
        assert code == 0 and "Usage" in out


def test_module_starts_quickly_without_jax():
    """Help needs no JAX: it is imported by the commands that compute."""
    code = "import sys, jaxadv.cli.main; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_doctor_lists_devices_and_victims():
    code, out, _ = call("doctor")
    assert code == 0
    assert "device" in out and "cache" in out and VICTIM in out


def test_caption_with_a_beam(scene_png):
    code, out, _ = call("caption", "--victim", VICTIM, "--beam", "3", scene_png)
    assert code == 0
    lines = out.replace("\n ", " ").strip().splitlines()
    assert len(lines) == 3
    scores = [float(line.rsplit("= ", 1)[1].rstrip(")")) for line in lines]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("gem", ["--target", "a _ is _ on the grass"]),
        ("ssvm", ["--target", "a red _ ..."]),
        ("show-and-fool", ["--target", "a red circle", "--tries", "1"]),
        (
            "show-and-fool",
            ["--aim", "keywords", "--target", "red circle", "--tries", "1"],
        ),
        ("untargeted", []),
    ],
)
def test_attack_writes_pictures_records_and_a_figure(scene_png, tmp_path, method, more):
    out = tmp_path / "out"
    code, told, err = call(
        "attack", "caption", "--victim", VICTIM, "--method", method, *QUICK, *more,
        "--out", out, scene_png,
    )  # fmt: skip
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == [
        "figure.png", "scene.adversarial.png", "scene.benign.png", "scene.json",
    ]  # fmt: skip
    entry = json.loads((out / "scene.json").read_text())
    assert ("try a larger --learning-rate" in told) == (not entry["success_8bit"])
    assert "--iterations" not in told and None not in entry["settings"].values()
    assert entry["settings"]["iterations"] == 2 and entry["command"] == "attack caption"
    saved = read_image(out / "scene.adversarial.png")
    assert saved.shape == (64, 64, 3)
    gap = np.linalg.norm(saved - read_image(scene_png))
    assert abs(gap - entry["norm"]) < 0.2
    code, said, _ = call("caption", "--victim", VICTIM, out / "scene.adversarial.png")
    assert code == 0 and entry["said_8bit"] in said


def attack(*more):
    return ["attack", "caption", "--victim", VICTIM, *QUICK, *more]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (attack("--target", "a girafe", "--out", "o", "p"), "unknown word 'girafe'"),
        (attack("--target", "a rd circle", "--out", "o", "p"), "did you mean 'red'"),
        (attack("--target", "a " * 15, "--out", "o", "p"), "at most 14"),
        (attack("--target", "_ _", "--out", "o", "p"), "no observed word"),
        (attack("--target", "a red ring", "--out", "o", "/absent.png"), "/absent.png"),
        (attack("--out", "o", "p"), "--target"),
        (attack("--target", "a", "--method", "gme", "--out", "o", "p"), "must be one of gem"),
        (attack("--target", "a", "--learning-rate", "-1", "--out", "o", "p"), "must be positive"),
        (attack("--target", "a", "--learning-rate", "nan", "--out", "o", "p"), "must be finite"),
        (attack("--target", "a", "--tradeoff", "inf", "--out", "o", "p"), "must be finite"),
        (attack("--target", "a", "--posterior", "x", "--out", "o", "p"), "factorised, joint"),
        (
            attack("--target", "red star", "--aim", "keywords", "--out", "o", "p"),
            "--aim: is not read with gem; it is for show-and-fool",
        ),
        (
            attack("--target", "a", "--untargeted", "--method", "ssvm", "--out", "o", "p"),
            "--untargeted: is not read with ssvm; it is for show-and-fool",
        ),
        (["caption", "--victim", "resnet50", "p"], "--architecture resnet50"),
        (
            attack("--target", "a _", "--method", "show-and-fool", "--out", "o", "p"),
            "complete caption",
        ),
        (["caption", "--victim", "nobody", "p"], "installed are"),
        (["evaluate", "caption", "--victim", VICTIM, "--settings", "x", "--out", "o"], "0 latent"),
        (
            ["evaluate", "caption", "--victim", VICTIM, "--data", "/absent", "--out", "o"],
            "no such folder",
        ),
        (
            ["evaluate", "caption", "--victim", VICTIM, "--method", "ssvm", "--tail", "--out", "o"],
            "--tail: is not read with ssvm; it is for gem",
        ),
        (["train", "captioner", "--name", "x", "--decoder", "y"], "show-attend-tell"),
        (["train", "captioner", "--name", "../x"], "plain name"),
        (["train", "captioner", "--name", "x", "--data", "/absent"], "--backbone-weights"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(arguments, line):
    code, _, err = call(*arguments)
    assert code == 2
    assert line in err
    assert "Traceback" not in err
    assert all(part.startswith("error:") for part in err.strip().splitlines())


@pytest.mark.parametrize(
    "more",
    [
        ["--target", "a ..."],
        ["--method", "show-and-fool", "--aim", "keywords", "--target", "a", "--tries", "1"],
    ],
)
def test_a_target_that_is_said_already_is_not_fooled(scene_png, tmp_path, more):
    code, told, err = call(*attack(*more, "--out", tmp_path / "out"), scene_png)
    assert code == 2 and "the victim says the target already: 'a" in err
    assert "no picture can be attacked" in err and "fooled" not in told
    assert list((tmp_path / "out").iterdir()) == []


def test_results_of_another_victim_are_kept(scene_png, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"command": "attack labels", "victim": "tagger"}))
    code, _, err = call(*attack("--target", "a red ring", "--out", tmp_path), scene_png)
    assert code == 2 and "holds results of attack labels on 'tagger'" in err


@pytest.mark.parametrize("command", ["attack", "evaluate", "demo", "train"])
def test_a_folder_that_cannot_be_written_is_said_at_once(command, scene_png, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    arguments = {
        "attack": [*attack("--target", "a red ring"), scene_png],
        "evaluate": ["evaluate", "caption", "--victim", VICTIM, "--images", "2"],
        "demo": ["demo"],
        "train": ["train", "captioner", "--name", "x"],
    }[command]
    code, _, err = call(*arguments, "--out", occupied / "out")
    assert code == 2
    assert err.count("\n") == 1 and "cannot write there" in err


def test_the_other_pictures_are_still_attacked(scene_png, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(scene_png.read_bytes()[:200])
    Image.new("L", (30, 20), 100).save(tmp_path / "grey.jpg")
    out = tmp_path / "out"
    code, _, err = call(
        *attack("--target", "a red ring", "--out", out),
        scene_png, broken, tmp_path / "grey.jpg",
    )  # fmt: skip
    assert code == 2
    assert err.count("error:") == 1 and "broken.png" in err
    names = {p.name for p in out.glob("*.png")}
    assert names == {
        "scene.adversarial.png", "grey.adversarial.png", "grey.own-size.png", "figure.png",
        "scene.benign.png", "grey.benign.png",
    }  # fmt: skip


def test_a_photograph_is_changed_at_its_own_size_too(tmp_path):
    """And what is recorded of it is what the victim says of the saved file."""
    picture = scenes.example(scenes.HELD_OUT_SEED, 0, side=150).picture
    write_png(tmp_path / "large.png", picture)
    out = tmp_path / "out"
    code, said, err = call(
        *attack("--target", "a red ring ...", "--out", out), tmp_path / "large.png"
    )
    assert code == 0, err
    assert "own size" in said
    entry = json.loads((out / "large.json").read_text())
    own = read_image(out / "large.own-size.png")
    assert own.shape == picture.shape and entry["own_size"] == [150, 150]
    assert entry["norm_own_size"] == pytest.approx(
        np.linalg.norm(own - round_8bit(picture)), rel=1e-4
    )
    code, said, _ = call("caption", "--victim", VICTIM, out / "large.own-size.png")
    assert code == 0 and entry["said_own_size"] in " ".join(said.split())


def test_a_bank_too_small_for_the_anchors_is_two_lines(scene_png, tmp_path):
    """Of the picture, and that nothing is left: no figure of nothing."""
    bank = tmp_path / "bank"
    bank.mkdir()
    write_png(bank / "one.png", scenes.example(3, 0).picture)
    code, _, err = call(
        "attack", "caption", "--victim", VICTIM, "--method", "reliable", "--budget", "600",
        "--bank", bank, "--target", "a red circle", "--out", tmp_path / "o", scene_png,
    )  # fmt: skip
    assert code == 2 and "Traceback" not in err
    assert "bank: 1 pictures are too few; give at least 2, one an anchor" in err
    assert err.splitlines()[-1] == "error: no attack could be made"


def test_evaluate_prints_the_table(tmp_path):
    code, out, err = call(
        "evaluate", "caption", "--victim", VICTIM, "--images", "2", "--targets", "1", *QUICK,
        "--out", tmp_path / "t",
    )  # fmt: skip
    assert code == 0, err
    held = json.loads((tmp_path / "t" / "table.json").read_text())
    (table,) = held["tables"]
    names = [row["setting"] for row in table["rows"]]
    assert sorted(names) == sorted(column.name for column in TABLE_1)
    for row in table["rows"]:
        assert row["Prec"] >= row["Rec"] >= row["SR"]
    records = list(store.read(tmp_path / "t"))
    assert len(records) == sum(row["n"] for row in table["rows"])
    told, counted = held["about"]
    assert told in out and "captions of 200 pictures: " in told
    assert "0.00 of the words unknown" in told
    different = len({record["target"] for record in records})
    assert f"{len(records)} attacks, {different} distinct targets" in counted


def test_commands_are_registered():
    names = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    groups = {"attack", "train", "evaluate", "data", "sweep", "report", "table"}
    words = {"caption", "label", "retrieve", "poison"}
    assert names == words | {"bench", "demo", "doctor", "victims", "port"} | groups


def test_train_on_scenes_with_self_critical_steps(tmp_path):
    code, _, err = call(
        "train", "captioner", "--name", "mine", "--decoder", "att2in2", "--units", "8",
        "--steps", "2", "--self-critical-steps", "1", "--out", tmp_path,
        "--backbone-from", VICTIM,
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((tmp_path / "mine" / "record.json").read_text())
    assert record["architecture"]["decoder"] == "att2in2"
    assert set(record["measures"]["held_out_scenes"]) == {
        "colour", "shape", "relation", "everything",
    }  # fmt: skip
