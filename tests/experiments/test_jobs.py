"""Cells of the families beside what their own evaluations find."""

import json

import jax
import numpy as np
import pytest

from jaxadv.core.method import choose
from jaxadv.data import scenes
from jaxadv.data.pairs import SCENE_CLASSES, SCENE_TAGS, scene_pairs
from jaxadv.experiments import store
from jaxadv.experiments.curves import panels_of
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.plan import plan
from jaxadv.experiments.retrieval import FULL, Plan, Subject, evaluate
from jaxadv.experiments.retrieval_tables import AT
from jaxadv.experiments.sweep import prepare, sweep
from jaxadv.hashing.methods import METHODS
from jaxadv.victims import zoo
from jaxadv.victims.architectures import HasherArchitecture
from jaxadv.victims.nets.hash_net import initial_variables

QUERIES, DATABASE, STEPS = 7, 40, 5


@pytest.fixture(scope="module")
def hashers(tmp_path_factory):
    """Two victims' folders: untrained hashers of small scenes."""
    made = HasherArchitecture("dcmh", "resnet-small", bits=16, side=32, units=8)
    net = made.network(len(SCENE_CLASSES))
    folders = [tmp_path_factory.mktemp("victims") / name for name in ("hasher", "other")]
    for seed, folder in enumerate(folders):
        variables = initial_variables(net, made.image_shape, len(SCENE_TAGS), jax.random.key(seed))
        zoo.save(folder, made, {"tags": SCENE_TAGS, "classes": SCENE_CLASSES}, variables)
    return folders


def swept(folder, tables):
    list(sweep(prepare(plan(tables)), folder, slots=4))
    return sorted(store.read(folder), key=lambda row: (row["cell"], row["id"]))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_retrieval_is_that_of_evaluate(hashers, tmp_path, modality):
    """Means of the records are the cells of `evaluate retrieval`, transfer included."""
    hasher, other = hashers
    design = {"queries": QUERIES, "database": DATABASE, "iterations": STEPS}
    design["transfer"] = str(other)
    tables = {"retrieval": [{"victim": str(hasher), "modality": modality, **design}]}
    rows = swept(tmp_path, tables)
    assert [row["id"] for row in rows] == list(range(QUERIES))
    asking = scene_pairs(scenes.HELD_OUT_SEED, QUERIES, side=32)
    asked = scene_pairs(scenes.HELD_OUT_SEED, DATABASE, QUERIES, 32)
    what = Plan([choose(METHODS, "cmla", modality=modality)], [STEPS], ablation=False, batch=4)
    victims = [zoo.load(str(folder)) for folder in hashers]
    subjects = [Subject(v.name, v.hasher, v.params) for v in victims]
    news = list(evaluate(subjects, asking, asked, what))
    benign, attacked = (c for some in news for c in some.cells if c.victim == "hasher")
    assert attacked.attack == FULL
    (moved,) = (t for some in news for t in some.transfers if t.source == "hasher")
    shown = [entry for row in rows for entry in row["transfer"]]
    assert {(e["victim"], e["bits"], e["samples"]) for e in shown} == {("other", 16, 0)}
    assert np.mean([e["ap_cross"] for e in shown]) == pytest.approx(moved.precision, abs=0.02)
    for cell, name in ((benign, "_benign"), (attacked, "")):
        for where, found in (("cross", cell.cross), ("own", cell.own)):
            mean = np.mean([row[f"ap_{where}{name}"] for row in rows])
            assert mean == pytest.approx(found.mean_average_precision, abs=0.02)
    assert np.mean([row["distortion"] for row in rows]) == pytest.approx(
        attacked.distortion, rel=1e-3
    )
    assert all(row["steps"] == STEPS for row in rows)
    panels = {
        name: panels_of(paper_table("cmla-2"), tmp_path, curve=name)[0]
        for name in ("precision-recall", "precision-at")
    }
    for name, of in (("benign", benign.cross), (f"CMLA, {STEPS} steps", attacked.cross)):
        lines = [
            next(line for line in panel.lines if line.name.endswith(name))
            for panel in panels.values()
        ]
        wanted = [(of.radius_recall, of.radius_precision)]
        wanted.append((AT[:5], of.precisions[np.array(AT[:5]) - 1]))
        for line, (x, y) in zip(lines, wanted, strict=True):
            np.testing.assert_allclose(line.x, x, atol=0.02)
            np.testing.assert_allclose(line.y, y, atol=0.02)
    kept = pytest.importorskip("pyarrow.parquet").read_table(store.write_parquet(tmp_path))
    assert kept["within"].to_pylist() == [row["within"] for row in rows]
    told = [[json.loads(entry) for entry in some] for some in kept["transfer"].to_pylist()]
    assert told == [row["transfer"] for row in rows]


@pytest.mark.parametrize("among", ["relevant", "said"])
def test_labels_are_drawn_as_asked(tmp_path, among):
    """From the relevant ones, or from those of them that are said before the attack."""
    design = {"images": 20, "k": 3, "specified": 2, "iterations": 2, "among": among}
    rows = swept(tmp_path, {"labels": [{"victim": "scenes-tagger", **design}]})
    assert rows
    assert all(set(row["specified"]) <= set(row["relevant"]) for row in rows)
    said = [set(row["specified"]) <= set(row["before"]) for row in rows]
    assert all(said) == (among == "said")
