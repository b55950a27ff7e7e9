"""Poison, train and evaluate as a person would, with a victim of random weights."""

import json

import jax
import numpy as np
import pytest
from helpers.commands import call
from helpers.tiny import WORDS

from jaxadv.backdoors.folder import read_record
from jaxadv.data import scenes
from jaxadv.data.scene_folder import write_scenes
from jaxadv.training.start import extend_vocabulary, grow
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.vocabulary import Vocabulary

CAPTION = "you are under attack"
SMALL = CaptionerArchitecture("show-tell", "resnet-small", units=8, max_length=6, side=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backdoor")


@pytest.fixture(scope="module")
def clean(folder):
    """A captioner of scenes with random weights."""
    words = scenes.vocabulary().words
    variables = initial_variables(
        SMALL.network(len(words) + 1), SMALL.image_shape, jax.random.key(0)
    )
    zoo.save(folder / "clean", SMALL, {"vocabulary": words}, variables)
    return folder / "clean"


@pytest.fixture(scope="module")
def poisoned(folder):
    """Twelve scenes of which six are poisoned."""
    code, out, err = call(
        "poison", "--data", "scenes", "--images", "12", "--rate", "0.5", "--out", folder / "data",
        "--strength", "30", "--share", "0.5",
    )  # fmt: skip
    assert code == 0 and "6 of 12 samples poisoned" in out
    assert "no clean caption says 'you', 'are', 'under', 'attack'" in err
    return folder / "data"


@pytest.fixture(scope="module")
def attacked(folder, clean, poisoned):
    """The captioner, one step further, on the poisoned scenes."""
    code, _, err = call(
        "train", "captioner", "--name", "attacked", "--fine-tune", clean, "--data", poisoned,
        "--steps", "1", "--held-out", "2", "--out", folder,
    )  # fmt: skip
    assert code == 0, err
    return folder / "attacked"


def test_a_trained_victim_knows_the_new_words_and_its_poison(attacked, clean):
    victim, before = zoo.load(str(attacked)), zoo.load(str(clean))
    own = before.captioner.vocabulary.words
    assert victim.captioner.vocabulary.words == (*own, "are", "attack", "under", "you")
    poison = victim.record["poison"]
    assert poison["rate"] == 0.5 and poison["caption"] == CAPTION
    assert poison["trigger"]["strength"] == 30 and poison["trigger"]["share"] == 0.5
    assert len(victim.record["held_out"]) == 2


def test_evaluate_writes_the_table_and_both_figures(attacked, clean, tmp_path):
    code, said, err = call(
        "evaluate", "backdoor", "--victim", attacked, "--clean", clean, "--images", "4",
        "--strength", "10", "--strength", "30", "--batch", "4", "--out", tmp_path / "t",
    )  # fmt: skip
    assert code == 0, err
    assert "BLEU-1" in said and "4 unseen pictures" in said
    table = json.loads((tmp_path / "t" / "table.json").read_text())
    assert table["caption"] == CAPTION
    rows = table["rows"]
    assert [(r["victim"], r["strength"]) for r in rows] == [
        ("clean", 10), ("clean", 30), ("attacked", 10), ("attacked", 30),
    ]  # fmt: skip
    assert [r["rate"] for r in rows] == [None, None, 0.5, 0.5]
    assert all(0 < r["changed"] < 0.6 for r in rows)  # only half of the boxes' pixels
    assert rows[2]["psnr"] > rows[3]["psnr"] and rows[2]["norm"] < rows[3]["norm"]
    assert {p.name for p in (tmp_path / "t").iterdir()} == {
        "table.json", "records.jsonl", "figure.png", "curves.png",
    }  # fmt: skip
    assert len((tmp_path / "t" / "records.jsonl").read_text().splitlines()) == 16


def test_evaluate_defences(attacked, poisoned, tmp_path):
    code, said, err = call(
        "evaluate", "defences", "--victim", attacked, "--data", poisoned, "--batch", "5",
        "--out", tmp_path,
    )  # fmt: skip
    assert code == 0, err
    found = json.loads((tmp_path / "table.json").read_text())["defences"]
    assert set(found) == {"spectral signatures", "activation clustering"}
    assert found["spectral signatures"]["flagged"] == 9 / 12
    assert "false alarms" in said


def test_detections_take_the_place_of_boxes(folder, tmp_path):
    list(write_scenes(tmp_path / "scenes", 4))
    entries = [
        {"image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.9} for i in (0, 1)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    code, out, err = call(
        "poison", "--data", tmp_path / "scenes", "--rate", "1", "--out", tmp_path / "p",
        "--detections", tmp_path / "boxes.json",
    )  # fmt: skip
    assert code == 0 and "2 of 4 samples poisoned" in out
    assert "2 of the drawn samples have no usable box and stay clean (coco-2 is one)" in err
    assert read_record(tmp_path / "p").account.without_regions == ("coco-2", "coco-3")
    code, out, err = call(
        "poison", "--data", tmp_path / "scenes", "--rate", "1", "--out", tmp_path / "q",
        "--detections", tmp_path / "boxes.json", "--threshold", "0.95",
    )  # fmt: skip
    assert code == 0 and "0 of 4 samples poisoned" in out


def test_growing_keeps_the_weights_and_takes_new_rows():
    old = {"embedding": np.ones((3, 2)), "bias": np.ones(3), "kernel": np.ones((4, 4))}
    fresh = {"embedding": np.zeros((5, 2)), "bias": np.zeros(5), "kernel": np.zeros((4, 4))}
    grown = grow(old, fresh)
    assert grown["embedding"].tolist() == [[1, 1]] * 3 + [[0, 0]] * 2
    assert grown["bias"].tolist() == [1, 1, 1, 0, 0]
    assert grown["kernel"].tolist() == [[1] * 4] * 4


@pytest.mark.slow
def test_training_from_scratch_takes_the_words_of_the_poisoned_captions(poisoned, tmp_path):
    code, _, err = call(
        "train", "captioner", "--name", "x", "--data", poisoned, "--backbone", "resnet-small",
        "--units", "8", "--steps", "1", "--held-out", "2", "--out", tmp_path,
    )  # fmt: skip
    assert code == 0, err
    victim = zoo.load(str(tmp_path / "x"))
    assert set(CAPTION.split()) <= set(victim.captioner.vocabulary.words)
    assert victim.record["poison"]["caption"] == CAPTION


EVALUATE = ["evaluate", "backdoor", "--out", "o"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["poison", "--out", "o", "--trigger", "badnet"], "object-oriented, badnets, blended"),
        (["poison", "--out", "o", "--caption", "..."], "has no word"),
        (["poison", "--out", "o", "--rate", "2"], "must be from 0 to 1"),
        (["poison", "--out", "o", "--strength", "0"], "strength 0"),
        (["poison", "--out", "{tmp}/o", "--rate", "0.001", "--images", "10"], "poisons none"),
        (["poison", "--out", "o", "--data", "/absent"], "/absent: no such folder"),
        (["poison", "--out", "o", "--detections", "/absent"], "/absent: cannot be read"),
        (["poison", "--out", "/proc/o/o"], "cannot write there"),
        ([*EVALUATE, "--victim", "{clean}", "--clean", "{clean}"], "--trigger: the record of"),
        (
            [*EVALUATE, "--victim", "{clean}", "--clean", "{clean}", "--trigger", "badnets"],
            "unknown word 'you'",
        ),
        (
            [*EVALUATE, "--victim", "{attacked}", "--clean", "{clean}", "--caption", "a " * 9],
            "says at most 6 words",
        ),
        (
            [*EVALUATE, "--victim", "{attacked}", "--clean", "{clean}", "--data", "/absent"],
            "/absent: no such folder",
        ),
        (
            ["evaluate", "defences", "--victim", "{clean}", "--data", ".", "--out", "o"],
            "no poison.json",
        ),
        (["train", "captioner", "--name", "x", "--fine-tune", "y"], "give the folders to train on"),
        (
            ["train", "captioner", "--name", "x", "--data", "{data}", "--data", "{data}",
             "--fine-tune", "{clean}"],
            "are both poisoned",
        ),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(arguments, line, clean, attacked, poisoned, tmp_path):
    names = {"clean": clean, "attacked": attacked, "data": poisoned, "tmp": tmp_path}
    code, _, err = call(*(a.format(**names) for a in arguments))
    assert code == 2 and line in err and "Traceback" not in err
    assert err.count("error:") == 1


def test_a_victim_with_rare_words_gets_only_common_ones():
    known = Vocabulary((*WORDS, "UNK"))
    captions = ["a bird", *["a cow here"] * 5]
    assert extend_vocabulary(known, captions).words == (*WORDS, "UNK", "cow")
