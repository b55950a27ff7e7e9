"""The search for learning rates, and the pictures that tables and searches are of."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image
from helpers.tiny_tagger import TAGGER, tagger_parameters
from PIL import Image

from jaxadv.core.method import choose as choose_method
from jaxadv.data import scenes
from jaxadv.data.records import DataSet, FolderError, Record
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.label_jobs import LabelDesign
from jaxadv.experiments.label_pools import benign_scores, photo_pools, scene_pool
from jaxadv.experiments.label_search import best_of, candidates
from jaxadv.labels.methods import METHODS


def search(tried):
    """Cells of rates, each with records of `(excluded, success, norm)` of two attacks."""
    cells, rows = {}, []
    for rate, excluded, norm in tried:
        cell = Cell(
            "labels", "x", 0, choose_method(METHODS, "tkmia", learning_rate=rate), LabelDesign()
        )
        cells[cell.digest] = cell
        about = {"cell": cell.digest, "setting": "2 labels", "k": 3, "failed": None}
        for part in (0, 1):
            told = {"excluded": excluded + part, "success": norm is not None, "norm": norm}
            rows.append({**about, **told})
    return cells, rows


@pytest.mark.parametrize(
    ("tried", "rate"),
    [
        ([(1.0, 1, 0.1), (2.0, 2, 3.0), (3.0, 2, 0.5)], 3.0),
        ([(1.0, 0, None), (2.0, 0, 2.0)], 2.0),
        ([(1.0, 0, None), (2.0, 0, None)], 1.0),
    ],
)
def test_the_most_labels_excluded_then_the_least_perturbation(tried, rate):
    cells, rows = search(tried)
    (key, chosen), *others = best_of(cells, rows).items()
    assert key == ("tkmia", "2 labels", 3) and not others
    assert chosen.value("learning_rate") == rate


def test_attacks_that_failed_have_no_say():
    cells, rows = search([(1.0, 1, 0.1), (2.0, 2, 0.1)])
    failed = [{**row, "failed": "why", "excluded": 9} for row in rows[:2]]
    (chosen,) = best_of(cells, [*failed, *rows]).values()
    assert chosen.value("learning_rate") == 2.0


def test_candidates_are_every_rate_with_every_weight():
    some = candidates(choose_method(METHODS, "tkmia", iterations=40), [1e-9, 0.5], [1e-4, 0.0])
    assert [(c.value("learning_rate"), c.value("tradeoff")) for c in some] == [
        (1e-9, 1e-4), (1e-9, 0.0), (0.5, 1e-4), (0.5, 0.0),
    ]  # fmt: skip
    assert {c.iterations for c in some} == {40}


def test_scenes_to_search_on_are_others():
    first, then = scene_pool(2), scene_pool(1, first=2)
    assert first.labels.shape == (2, len(scenes.LABELS)) and first.labels.any(axis=1).all()
    assert len({*first.ids, *then.ids}) == 3
    assert (then.read(0) == scenes.crowd(scenes.HELD_OUT_SEED, 2).picture).all()
    assert scene_pool(0).labels.shape == (0, len(scenes.LABELS))


@pytest.fixture
def photos(tmp_path):
    Image.new("RGB", (8, 4), (255, 0, 0)).save(tmp_path / "x.png")
    labels = {"a": ("cat", "dog"), "b": ("dog",), "c": ()}
    some = (Record(i, tmp_path / "x.png", labels=there) for i, there in labels.items())
    return DataSet("pets", tuple(some), ("dog", "cat"))


def test_photographs_are_parted_by_what_was_held_out(photos):
    attacked, others = photo_pools(photos, ("cat", "dog"), 6, ["c", "a", "absent"])
    assert attacked.ids == ["a", "c"] and others.ids == ["b"]
    assert attacked.labels.tolist() == [[True, True], [False, False]]
    assert others.labels.tolist() == [[False, True]]
    assert attacked.read(0).shape == (6, 6, 3)
    attacked, others = photo_pools(photos, ("cat", "dog"), 6, None, most=2)
    assert attacked.ids == ["a", "b"] and others.ids == []


def test_photographs_that_do_not_fit(photos):
    with pytest.raises(FolderError, match="'cow' is only of the victim"):
        photo_pools(photos, ("cat", "dog", "cow"), 6, None)
    with pytest.raises(FolderError, match="'dog' is only of the photographs"):
        photo_pools(photos, ("cat",), 6, None)
    with pytest.raises(FolderError, match="none of the photographs was held out"):
        photo_pools(photos, ("cat", "dog"), 6, ["elsewhere"])


def test_benign_scores_do_not_depend_on_the_batch():
    params = tagger_parameters(dtype="float32")
    pictures = [np.asarray(tiny_image(i, dtype="float32")) for i in range(3)]
    pool = scene_pool(0)._replace(ids=["1", "2", "3"], read=lambda i: pictures[i])
    got = benign_scores(TAGGER, params, pool, batch=2)
    expected = [TAGGER.logits(params, jnp.asarray(picture)) for picture in pictures]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
