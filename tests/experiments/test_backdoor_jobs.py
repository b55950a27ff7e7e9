"""Cells that train: what the commands would find, recorded, resumed and tabulated."""

import json

import jax
import pytest
from helpers.commands import call

from jaxadv.data import scenes
from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.cells import PlanError
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.plan import plan
from jaxadv.experiments.record_tables import table_of
from jaxadv.experiments.sweep import Shard, complete, estimate, fit_slots, prepare, sweep
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import initial_variables

SMALL = CaptionerArchitecture("show-tell", "resnet-small", units=8, max_length=6, side=64)
DESIGN = {"images": 12, "held_out": 2, "unseen": 3, "steps": 1, "rate": 0.5}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A captioner of scenes with random weights."""
    folder = tmp_path_factory.mktemp("victims") / "clean"
    words = scenes.vocabulary().words
    network = SMALL.network(len(words) + 1)
    variables = initial_variables(network, SMALL.image_shape, jax.random.key(0))
    zoo.save(folder, SMALL, {"vocabulary": words}, variables)
    return folder


@pytest.fixture(scope="module")
def swept(clean, tmp_path_factory):
    """Two triggers, each trained and measured; killed after the first."""
    folder = tmp_path_factory.mktemp("swept")
    grid = {"victim": str(clean), "method": ["object-oriented", "badnets"], **DESIGN}
    prepared = prepare(plan({"backdoor": [grid]}))
    for news in sweep(prepared, folder):
        if news.done == 1:
            break
    assert not complete(prepared, folder)
    list(sweep(prepare(plan({"backdoor": [grid]})), folder))
    assert complete(prepared, folder)
    return folder


def test_a_cell_finds_what_the_commands_find(swept, clean, tmp_path):
    """Poison, train and evaluate one after the other, with the same seeds."""
    rows = {row["method"]: row for row in store.read(swept)}
    assert set(rows) == {"object-oriented", "badnets"}
    row = rows["object-oriented"]
    poisoned = tmp_path / "poisoned"
    poison = ["poison", "--data", "scenes", "--images", "12", "--rate", "0.5", "--out", poisoned]
    train = ["train", "captioner", "--name", "x", "--fine-tune", clean, "--data", poisoned]
    few = ["--steps", "1", "--held-out", "2", "--out", tmp_path]
    evaluate = ["evaluate", "backdoor", "--victim", tmp_path / "x", "--clean", clean]
    some = ["--images", "3", "--out", tmp_path / "t"]
    commands = [poison, [*train, *few], [*evaluate, *some]]
    for command in commands:
        code, _, err = call(*command)
        assert code == 0, err
    benign, attacked = json.loads((tmp_path / "t" / "table.json").read_text())["rows"]
    assert (row["strength"], row["rate"], row["trained"]) == (20.0, 0.5, 12)
    for name in ("success", "words", "false_triggers", "triggered"):
        assert row[name] == attacked[name]
    for name in ("bleu_4", "cider_d", "psnr", "ssim", "norm", "changed"):
        assert row[name] == pytest.approx(attacked[name], rel=1e-6)
    lines = (tmp_path / "t" / "records.jsonl").read_text().splitlines()
    told = [entry for entry in map(json.loads, lines) if entry["victim"] == "x"]
    assert row["said"] == [entry["said"] for entry in told]
    assert row["said_triggered"] == [entry["said_triggered"] for entry in told]
    assert row["clean_bleu_4"] == pytest.approx(benign["bleu_4"], rel=1e-6)


def test_the_table_has_a_row_a_trigger(swept):
    table = table_of(paper_table("backdoor-rates"), swept)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["method"], row["strength"], row["rate"]) for row in rows] == [
        ("badnets", 1.0, 0.5),
        ("object-oriented", 20.0, 0.5),
    ]
    assert all(row["ASR"] == 0 and row["FTR"] == 0 and 0 < row["SSIM"] < 1 for row in rows)


def test_what_cannot_be_done_is_a_record(clean, tmp_path):
    """A rate that poisons nobody, with a reason; the shares of two jobs are all there is."""
    grid = {"victim": str(clean), **DESIGN, "rate": [0.01, 0.02]}
    prepared = prepare(plan({"backdoor": [grid]}))
    assert [one.attacks for one in estimate(prepared)] == [1, 1]
    for number in range(2):
        list(sweep(prepared, tmp_path, shard=Shard(number, 2)))
    rows = list(store.read(tmp_path))
    assert len(rows) == 2
    assert all("poisons none" in row["failed"] for row in rows)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"rate": 1.5}, "rate 1.5: must be from 0 to 1"),
        ({"method": "badnets", "share": 0.5}, "share: is not read by badnets"),
        ({"method": "stamp"}, "method 'stamp': must be one of object-oriented, badnets"),
        ({"strength": 300}, "strength 300"),
        ({"threshold": 0.5}, "threshold: is not read with the annotated boxes"),
        ({"data": "folder", "images": 5}, "images: is not read with data = 'folder'"),
    ],
)
def test_what_is_wrong_is_named(grid, message):
    with pytest.raises(PlanError, match=message):
        plan({"backdoor": [{"victim": "v", **grid}]})


def test_a_caption_that_is_too_long_is_refused_before_training(clean):
    with pytest.raises(InputError, match="says at most 6 words"):
        prepare(plan({"backdoor": [{"victim": str(clean), "caption": "a b c d e f g"}]}))


def test_no_batch_of_trainings_is_fitted(clean):
    prepared = prepare(plan({"backdoor": [{"victim": str(clean), **DESIGN}]}))
    with pytest.raises(InputError, match="--batch auto: trainings have no batch"):
        fit_slots(prepared)


def test_a_tagger_cannot_be_made_to_say_anything():
    with pytest.raises(InputError, match="scenes-tagger"):
        prepare(plan({"backdoor": [{"victim": "scenes-tagger"}]}))
