"""The shipped victims of photographs, and what the demo asks of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.captions.speaking import say
from jaxadv.captions.target import target
from jaxadv.cli.demo import ASKING, CAPTIONS, HASHER, TAGGED, TAGGER
from jaxadv.data import photographs
from jaxadv.data.images import write_png
from jaxadv.data.opening import open_data
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import captioned, label_matrix, labelled
from jaxadv.experiments.retrieval_pools import retrieval_pools
from jaxadv.labels.metrics import mean_average_precision
from jaxadv.labels.predicting import predict
from jaxadv.training.hasher_recipes import retrieval_precision
from jaxadv.training.photo_captioner import scores_of
from jaxadv.victims import zoo
from jaxadv.vocabulary import tokenize

CAPTIONERS = ("photos-scst", "photos-show-attend-tell", "photos-show-tell")
CLOSE = 0.02  # of a recorded score


def backbone(victim):
    params = victim.params["params"]
    return params.get("backbone") or params["features"]["backbone"]


@pytest.mark.parametrize("name", [*CAPTIONERS, HASHER])
def test_they_share_one_backbone(name):
    victim = zoo.load(name)
    assert victim.record["backbone_of"] == TAGGER and victim.record["stored"] == "bfloat16"
    shared = zoo.load(TAGGER)
    for layer, own in backbone(victim).items():
        for part, values in own.items():
            np.testing.assert_array_equal(values, backbone(shared)[layer][part])


def test_all_shipped_victims_fit_in_a_wheel_of_40_mb():
    root = Path(zoo.__file__).parents[2] / "ported_weights"
    total = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    assert total < 40e6


def test_the_demo_asks_for_what_can_be_predicted():
    for wanted in CAPTIONS:
        captioner = zoo.load(wanted.victim).captioner
        for name, text in wanted.wanted:
            assert name in photographs.NAMES
            target(text, captioner)
    first = [name for name, _ in predict(zoo.load(TAGGER), photographs.example(TAGGED).picture, 1)]
    assert set(first) <= set(photographs.ABOUT[TAGGED].labels)
    words = zoo.load(HASHER).record["label_words"]
    said = set(tokenize(photographs.ABOUT[ASKING].caption))
    assert any(not said.isdisjoint(own) for own in words.values())


def test_a_backbone_that_cannot_be_shared_is_said_before_training(tmp_path):
    write_png(tmp_path / "data" / "a.png", np.zeros((8, 8, 3), np.float32))
    (tmp_path / "data" / "captions.csv").write_text("image,caption\na.png,a cat\n")
    words = ("--name", "x", "--data", tmp_path / "data", "--backbone-from", TAGGER, "--share")
    code, out, err = call("train", "captioner", *words, "--out", tmp_path / "victims")
    assert code == 2 and "features" not in out + err
    assert f"--share: the victim '{TAGGER}', which has the backbone, is not in" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTIONERS)
def test_captioners_reach_their_recorded_scores(name, real_data):
    victim = zoo.load(name)
    sources = [str(real_data / part) for part in ("flickr8k_1000", "coco_mini")]
    aside = set(victim.record["held_out"])
    photos = [p for p in captioned(open_data(sources)).records if p.id in aside]
    pictures = np.stack(list(read_pictures(photos, victim.captioner.image_shape[:2])))
    said = [
        tuple(tokenize(text))
        for start in range(0, len(photos), 20)
        for text in say(victim, pictures[start : start + 20])
    ]
    reached = scores_of(said, photos)
    recorded = victim.record["measures"]["held_out_photographs"]
    assert reached.bleu_4 == pytest.approx(recorded["bleu_4"], abs=CLOSE)
    assert reached.cider_d == pytest.approx(recorded["cider_d"], abs=CLOSE)


@pytest.mark.slow
def test_the_tagger_reaches_its_recorded_precision(real_data):
    victim = zoo.load(TAGGER)
    data = labelled(open_data([str(real_data / p) for p in ("coco_mini", "coco_labels_128")]))
    aside = set(victim.record["held_out"])
    data = data._replace(records=tuple(p for p in data.records if p.id in aside))
    pictures = read_pictures(data.records, victim.classifier.image_shape[:2])
    score = jax.jit(victim.classifier.logits)
    logits = jnp.stack([score(victim.params, picture) for picture in pictures])
    truth = jnp.asarray(label_matrix(data))
    there = truth.any(axis=0)
    reached = float(mean_average_precision(logits[:, there], truth[:, there]))
    recorded = victim.record["measures"]["held_out_photographs"]["mean_average_precision"]
    assert reached == pytest.approx(recorded, abs=CLOSE)


@pytest.mark.slow
def test_the_hasher_reaches_its_recorded_precision(real_data):
    victim = zoo.load(HASHER)
    sources = [str(real_data / part) for part in ("flickr8k_1000", "coco_mini")]
    queries, database = retrieval_pools(victim, sources, 1000, 0)
    net = victim.architecture.network(len(victim.hasher.classes))
    reached = retrieval_precision(net, victim.params, queries, database)
    recorded = victim.record["measures"]["held_out_pairs"]
    assert reached.image_to_text == pytest.approx(recorded["image_to_text"], abs=CLOSE)
    assert reached.text_to_image == pytest.approx(recorded["text_to_image"], abs=CLOSE)
