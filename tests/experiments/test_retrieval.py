"""Tables on retrieval: who is asked what, what counts, and which pairs are refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_hasher import HASHER, LABELS, SIDE, WORDS, hasher_parameters

from jaxadv.core.method import choose
from jaxadv.core.run import run
from jaxadv.data.pairs import Pairs
from jaxadv.errors import InputError
from jaxadv.experiments.hash_attacks import attack_queries, encode, examples_of, join, known
from jaxadv.experiments.retrieval import (
    ABLATED,
    FULL,
    NONE,
    Asked,
    Plan,
    Subject,
    evaluate,
    measure,
    without_relevant,
)
from jaxadv.hashing.cmla import hash_target
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.metrics import average_precision

PARAMS = hasher_parameters(dtype="float32")
SUBJECTS = [Subject("a", HASHER, PARAMS), Subject("b", HASHER, hasher_parameters(1, dtype="f4"))]


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((count, LABELS)) < 0.3
    labels[np.arange(count), rng.integers(LABELS, size=count)] = True
    return Pairs(
        rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8),
        (rng.random((count, WORDS)) < 0.3).astype(np.float32),
        labels,
        tuple(f"pair-{i}" for i in range(count)),
    )


QUERIES, DATABASE = pairs(7, 1), pairs(20, 2)
FREE = {"distortion": 0.001}


def cmla(modality, bound=None, learning_rate=None, **options):
    options |= {"bound": bound, "learning_rate": learning_rate}
    return choose(METHODS, "cmla", modality=modality, **options)


PLAN = Plan((cmla("image", 60.0, 3.0, **FREE), cmla("text", 0.5, 0.1, **FREE)), (3, 20), batch=4)


@pytest.fixture(scope="module")
def news():
    return list(evaluate(SUBJECTS, QUERIES, DATABASE, PLAN))


def _precision(codes, others, labels, other_labels):
    """MAP from its definition, by sorting distances."""
    total = 0.0
    for code, mine in zip(codes, labels, strict=True):
        distances = ((code >= 0) != (others >= 0)).sum(axis=1)
        order = sorted(range(len(others)), key=lambda j: (distances[j], j))
        total += average_precision(np.array([(mine & other_labels[j]).any() for j in order]))
    return total / len(codes)


def test_cells_are_each_victims_before_and_after(news):
    cells = [cell for some in news for cell in some.cells]
    keys = [(c.victim, c.modality, c.attack, c.iterations) for c in cells]
    per_victim = [
        ("image", NONE, 0), ("text", NONE, 0),
        ("image", FULL, 3), ("image", FULL, 20), ("text", FULL, 3), ("text", FULL, 20),
        ("image", ABLATED, 20), ("text", ABLATED, 20),
    ]  # fmt: skip
    assert keys == [(victim, *rest) for victim in "ab" for rest in per_victim]
    dones = [n.done for n in news]
    assert dones == sorted(dones) and dones[-1] == news[-1].total == 2 * 4 * 7
    for c in cells:
        assert (c.distortion > 0) == (c.seconds > 0) == (c.attack != NONE)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_map_is_of_the_right_codes(news, modality):
    """Cross: queries of a modality against the other; own: against the same; before and after."""
    subject = SUBJECTS[1]
    cells = [c for n in news for c in n.cells if (c.victim, c.modality) == ("b", modality)]
    mine, theirs = (encode(HASHER, subject.params, some) for some in (QUERIES, DATABASE))
    other = {"image": theirs.text, "text": theirs.image}[modality]
    precision = partial(_precision, labels=QUERIES.labels, other_labels=DATABASE.labels)
    benign = getattr(mine, modality)
    np.testing.assert_allclose(cells[0].cross.mean_average_precision, precision(benign, other))
    own = precision(benign, getattr(theirs, modality))
    np.testing.assert_allclose(cells[0].own.mean_average_precision, own)
    examples = jnp.asarray(examples_of(QUERIES, modality, np.arange(7)))
    what = known(subject.params, theirs)
    final = run(ATTACKS[modality], what, examples, TARGETS, iterations=20).final
    codes = np.asarray(final.output)
    np.testing.assert_allclose(cells[2].cross.mean_average_precision, precision(codes, other))
    assert cells[2].cross.mean_average_precision < cells[0].cross.mean_average_precision
    np.testing.assert_allclose(cells[2].success, final.success.mean())


ATTACKS = {run.value("modality"): run.attack(HASHER) for run in PLAN.attacks}
TARGETS = jax.vmap(hash_target, in_axes=(0, None))(
    *map(jnp.asarray, (QUERIES.labels, DATABASE.labels))
)


def test_transfers_are_asked_of_the_other_victim(news):
    transfers = [t for n in news for t in n.transfers]
    assert [(t.source, t.victim, t.modality) for t in transfers] == [
        ("a", "b", "image"), ("a", "b", "text"), ("b", "a", "image"), ("b", "a", "text"),
    ]  # fmt: skip
    what = known(PARAMS, encode(HASHER, PARAMS, DATABASE))
    final = run(ATTACKS["text"], what, jnp.asarray(QUERIES.tags), TARGETS, iterations=20).final
    moved = QUERIES._replace(tags=np.asarray(final.image))
    asked = encode(HASHER, SUBJECTS[1].params, DATABASE)
    codes = encode(HASHER, SUBJECTS[1].params, moved).text
    wanted = _precision(codes, asked.image, QUERIES.labels, DATABASE.labels)
    np.testing.assert_allclose(transfers[1].precision, wanted)


def test_snapshots_are_runs_of_each_length():
    """Whatever the batch: the last one is filled up, and cut again."""
    codes = encode(HASHER, PARAMS, DATABASE)
    what = known(PARAMS, codes)
    news = list(
        attack_queries(
            ATTACKS["image"],
            what,
            DATABASE.labels,
            partial(examples_of, QUERIES, "image"),
            QUERIES.labels,
            iterations=PLAN.iterations,
            batch=4,
        )
    )
    assert [n.done for n in news] == [4, 7]
    examples = jnp.asarray(examples_of(QUERIES, "image", np.arange(7)))
    for place, iterations in enumerate(PLAN.iterations):
        got = join([n.snapshots[place] for n in news])
        whole = run(ATTACKS["image"], what, examples, TARGETS, iterations=iterations).final
        np.testing.assert_allclose(got.examples, whole.image, atol=1e-5)
        assert got.success.tolist() == whole.success.tolist()
        change = np.asarray(whole.image) - examples
        distortion = np.sqrt((change**2).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(got.distortion, distortion, rtol=1e-4)


def test_queries_without_relevant_items_are_counted():
    labels = np.eye(3, dtype=bool)
    assert without_relevant(labels, labels[:2]) == 1
    with pytest.raises(InputError, match="none of the 1 items of the database is relevant to any"):
        without_relevant(labels[:2], labels[2:])


def test_codes_of_different_lengths_are_refused():
    asked = Asked(encode(HASHER, PARAMS, DATABASE), DATABASE.labels, QUERIES.labels)
    with pytest.raises(InputError, match="queries of 8 bits cannot ask a database of 6 bits"):
        measure(np.ones((7, 8)), asked, "image")


@pytest.mark.parametrize(
    ("subjects", "queries", "line"),
    [
        ([SUBJECTS[0]] * 2, QUERIES, "victim 'a' is given twice"),
        ([SUBJECTS[0], Subject("c", HASHER._replace(tags=("x",)), PARAMS)], QUERIES, "their tags"),
        (SUBJECTS, QUERIES._replace(tags=QUERIES.tags[:, 1:]), "tags of shape"),
        (SUBJECTS, QUERIES._replace(pictures=QUERIES.pictures[:, 1:]), "pictures of shape"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_hashed(subjects, queries, line):
    with pytest.raises(InputError, match=line):
        next(evaluate(subjects, queries, DATABASE, PLAN))
