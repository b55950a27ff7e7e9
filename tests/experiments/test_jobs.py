"""Cells of the families beside what their own evaluations find."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.core.method import choose
from jaxadv.core.run import run
from jaxadv.data import scenes
from jaxadv.data.pairs import SCENE_CLASSES, SCENE_TAGS, scene_pairs
from jaxadv.experiments import store
from jaxadv.experiments.curves import panels_of
from jaxadv.experiments.hash_attacks import examples_of, known
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.plan import plan
from jaxadv.experiments.retrieval import Asked, Subject, measure
from jaxadv.experiments.retrieval_jobs import ask
from jaxadv.experiments.retrieval_tables import AT
from jaxadv.experiments.sweep import prepare, sweep
from jaxadv.hashing.cmla import Modality, hash_target
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
def test_the_tables_and_curves_of_retrieval_are_of_all_queries(hashers, tmp_path, modality):
    """Averages are those of ranking all queries' codes at once, transfer included."""
    hasher, other = hashers
    design = {"queries": QUERIES, "database": DATABASE, "iterations": STEPS}
    design["transfer"] = str(other)
    tables = {"retrieval": [{"victim": str(hasher), "modality": modality, **design}]}
    rows = swept(tmp_path, tables)
    assert [row["id"] for row in rows] == list(range(QUERIES))
    victim = zoo.load(str(hasher))
    subject = Subject(victim.name, victim.hasher, victim.params)
    asking = ask(
        subject,
        scene_pairs(scenes.HELD_OUT_SEED, QUERIES, side=32),
        scene_pairs(scenes.HELD_OUT_SEED, DATABASE, QUERIES, 32),
    )
    asked = Asked(asking.codes, asking.database.labels, asking.queries.labels)
    theirs: Modality = "text" if modality == "image" else "image"
    benign = getattr(asking.benign, modality)
    method = choose(METHODS, "cmla", modality=modality)
    context = asking.database.labels
    targets = jax.vmap(hash_target, in_axes=(0, None))(
        jnp.asarray(asking.queries.labels), jnp.asarray(context)
    )
    examples = examples_of(asking.queries, modality, np.arange(QUERIES))
    what = known(victim.params, asking.codes)
    result = run(method.attack(victim.hasher), what, examples, targets, iterations=STEPS)
    attacked = np.asarray(result.final.output)
    found = {}
    for name, codes in (("_benign", benign), ("", attacked)):
        for where, to in (("cross", theirs), ("own", modality)):
            found[where, name] = measure(codes, asked, to)
            mean = np.mean([row[f"ap_{where}{name}"] for row in rows])
            assert mean == pytest.approx(found[where, name].mean_average_precision, abs=0.02)
    shown = [entry for row in rows for entry in row["transfer"]]
    assert {(e["victim"], e["bits"], e["samples"]) for e in shown} == {(str(other), 16, 0)}
    assert all(row["steps"] == STEPS for row in rows)
    panels = {
        name: panels_of(paper_table("cmla-2"), tmp_path, curve=name)[0]
        for name in ("precision-recall", "precision-at")
    }
    for name, of in (
        ("benign", found["cross", "_benign"]),
        (f"CMLA, {STEPS} steps", found["cross", ""]),
    ):
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
