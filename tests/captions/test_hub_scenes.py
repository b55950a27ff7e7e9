"""A captioner in ViT-GPT2's architecture that was trained on scenes, and the reliable attack on it.

`JAXADV_HUB_SCENES` names the folder of a trained one; without it a small one is trained.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import hub_training

import jaxadv as ja
from jaxadv.captions.bank import Known, bank_of
from jaxadv.captions.target import stack_targets
from jaxadv.data import scenes
from jaxadv.experiments.captions import TABLE_1, choose_targets, say
from jaxadv.subwords import SubwordVocabulary
from jaxadv.training.captioner_recipes import scene_accuracy

pytestmark = pytest.mark.slow
ATTACKS, BUDGET, BANK = 4, 300, 256


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    if folder := os.environ.get("JAXADV_HUB_SCENES"):
        return ja.load(folder)
    folder = tmp_path_factory.mktemp("victims") / "small"
    hub_training.train(
        "vision-encoder-decoder", folder, tower_steps=400, steps=400, width=64, layers=(2, 2),
        scenes_drawn=6000, held_out=100, report=lambda line: None,
    )  # fmt: skip
    return ja.load(str(folder))


@pytest.fixture(scope="module")
def pictures():
    return np.stack([e.picture for e in scenes.examples(scenes.HELD_OUT_SEED, 40)])


def test_the_loss_falls_and_held_out_scenes_are_told(victim):
    losses = victim.record["losses"]
    assert losses[-1] < 0.3 * losses[0]
    now = scene_accuracy(victim.model, victim.params, 100)
    # One caption said of every scene has at most 0.05 of the colours right. It may have 0.47 of the
    # relations, by naming none, so that these say little.
    assert now.colour > 0.2, now


def test_some_words_are_several_tokens(victim):
    vocabulary = victim.model.vocabulary
    assert isinstance(vocabulary, SubwordVocabulary)
    assert len(vocabulary.behind("triangle")) > 1 and len(vocabulary.behind("purple")) > 1


def test_reliable_makes_it_say_exactly_what_it_says_of_other_pictures(victim, pictures):
    model, params = victim.model, victim.params
    captions = say(model, params, pictures)
    requests = choose_targets(
        captions, TABLE_1[:1], 1, range(ATTACKS), model.max_length, model.vocabulary
    )
    assert len(requests) == ATTACKS
    others = [e.picture for e in scenes.examples(scenes.TRAINING_SEED, BANK)]
    known = Known(params, bank_of(model, params, jnp.stack(others)))
    attack = ja.captions.reliable(model, budget=BUDGET)
    targets = stack_targets([request.target for request in requests])

    def one(picture, target):
        return ja.run(attack, known, picture, target, iterations=BUDGET).best

    best = jax.vmap(one)(jnp.asarray(pictures[:ATTACKS]), targets)
    assert np.mean(best.success_8bit) >= 0.75
    for at in np.flatnonzero(best.success_8bit):
        picture = np.round(np.asarray(best.image[at]) * 255) / 255
        (said,) = say(model, params, [picture.astype(np.float32)])
        assert said == [int(t) for t in targets.tokens[at] if t]
