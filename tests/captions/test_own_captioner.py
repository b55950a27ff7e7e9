"""A captioner of one's own in Flax NNX: attacked, and in the table of the shipped ones."""

import jax
import numpy as np
import optax
import pytest
from helpers.nnx_captioner import fit, nnx_captioner
from helpers.tiny import WORDS

from jaxadv.captions.gem import gem
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.core.run import run
from jaxadv.data import scenes
from jaxadv.experiments import store
from jaxadv.experiments.caption_jobs import caption_job
from jaxadv.experiments.job import Shared
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.plan import plan
from jaxadv.experiments.record_tables import table_of
from jaxadv.experiments.sweep import Prepared, sweep
from jaxadv.experiments.table_formats import as_markdown
from jaxadv.training.captioner import caption_data
from jaxadv.training.captioner_recipes import scene_accuracy
from jaxadv.victims import check, zoo
from jaxadv.vocabulary import Vocabulary

NAME = "Flax NNX"


def test_it_is_a_captioner_and_is_attacked():
    """Here it looks at patches of four pixels' side."""
    side = 8
    vocabulary = Vocabulary(WORDS)

    def patches(params, image):
        return (image @ params).reshape(2, 4, 2, 4, 6).sum(axis=(1, 3)).reshape(4, 6)

    colours = jax.random.normal(jax.random.key(0), (3, 6))
    shape = (side, side, 3)
    victim, params = nnx_captioner(patches, colours, vocabulary, shape, units=8, max_length=4)
    assert check(victim, params) == []
    target = make_target([1, 2, 3], 4, latent={1})
    picture = jax.random.uniform(jax.random.key(1), shape)
    attack = gem(victim, lanes=3, optimiser=optax.adam(0.1))
    result = run(attack, params, picture[None], stack_targets([target]), iterations=60)
    assert result.losses[0, -1] < result.losses[0, 0]


@pytest.mark.slow
def test_it_stands_in_the_table(tmp_path, capsys):
    """Over a shipped backbone, fitted to 4,000 scenes; then a third of the shipped ones' sweep."""
    host = zoo.load("scenes-show-attend-tell")
    shape, vocabulary = host.captioner.image_shape, host.captioner.vocabulary

    def cells(params, image):
        return host.captioner.encode(params, image).cells

    victim, params = nnx_captioner(cells, host.params, vocabulary, shape, units=128)
    some = list(scenes.examples(scenes.TRAINING_SEED, 4000))
    see = jax.jit(lambda pictures: jax.lax.map(lambda x: victim.encode(params, x), pictures))
    grids = np.asarray(see(np.stack([e.picture for e in some])))
    data = caption_data(grids, [e.captions for e in some], victim.vocabulary, victim.max_length)
    params = fit(victim, params, data, steps=2500, rate=3e-3)
    accuracy = scene_accuracy(victim, params)
    cells = plan(
        {
            "captions": [
                {
                    "victim": NAME,
                    "method": ["gem", "ssvm"],
                    "learning_rate": 0.005,
                    "rounds": 100,
                    "images": 40,
                    "targets": 1,
                }
            ]
        }
    )
    mine = zoo.Victim(NAME, victim, params, None, {})
    prepared = [
        Prepared(cell, caption_job(cell, mine, Shared()), zoo.digest(params)) for cell in cells
    ]
    *_, news = sweep(prepared, tmp_path)
    assert news.failed == 0
    with capsys.disabled():
        print(f"\n{accuracy}")
        print(as_markdown(table_of(paper_table("exact-caption-1"), tmp_path, [NAME])))
    assert accuracy.everything >= 0.85
    complete = [row for row in store.read(tmp_path) if row["setting"] == "0 latent"]
    assert np.mean([row["success"] for row in complete if row["method"] == "gem"]) >= 0.6
