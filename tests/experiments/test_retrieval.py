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
from jaxadv.experiments.hash_attacks import encode, examples_of, known
from jaxadv.experiments.job import carry_out
from jaxadv.experiments.retrieval import Asked, Subject, measure, without_relevant
from jaxadv.experiments.retrieval_jobs import Viewer, ask, retrieval_attacks
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
        HASHER.classes,
    )


QUERIES, DATABASE = pairs(7, 1), pairs(20, 2)
FREE = {"distortion": 0.001}


def cmla(modality, bound=None, learning_rate=None, **options):
    options |= {"bound": bound, "learning_rate": learning_rate}
    return choose(METHODS, "cmla", modality=modality, **options)


METHODS_OF = {"image": cmla("image", 60.0, 3.0, **FREE), "text": cmla("text", 0.5, 0.1, **FREE)}
STEPS = (3, 20)


@pytest.fixture(scope="module", params=["image", "text"])
def rows(request):
    """A modality, and the records of its attacks on both victims, by victim and steps."""
    modality, found = request.param, {}
    for one, other in (SUBJECTS, SUBJECTS[::-1]):
        job = retrieval_attacks(
            one,
            METHODS_OF[modality].but(iterations=STEPS[-1]),
            ask(one, QUERIES, DATABASE),
            viewers=[Viewer(other, DATABASE)],
        )
        made = carry_out(job, lambda _: True, slots=4, key=jax.random.key(0), looks=STEPS[:-1])
        for done in made:
            columns = {**done.columns, "id": done.planned.id}
            found.setdefault((one.name, done.steps), []).append(columns)
    return modality, found


def mean(some, column):
    return np.mean([row[column] for row in some])


def _precision(codes, others, labels, other_labels):
    """MAP from its definition, by sorting distances."""
    total = 0.0
    for code, mine in zip(codes, labels, strict=True):
        distances = ((code >= 0) != (others >= 0)).sum(axis=1)
        order = sorted(range(len(others)), key=lambda j: (distances[j], j))
        total += average_precision(np.array([(mine & other_labels[j]).any() for j in order]))
    return total / len(codes)


def test_every_query_is_recorded_at_every_look(rows):
    _, found = rows
    assert found.keys() == {(name, steps) for name in "ab" for steps in STEPS}
    for (_, steps), some in found.items():
        assert sorted(row["id"] for row in some) == list(range(7))
        assert {row["steps"] for row in some} == {steps}
        assert all(row["distortion"] > 0 for row in some)


def test_map_is_of_the_right_codes(rows):
    """Cross: queries of a modality against the other; own: against the same; before and after."""
    modality, found = rows
    subject, some = SUBJECTS[1], found["b", 20]
    mine, theirs = (encode(HASHER, subject.params, pairs) for pairs in (QUERIES, DATABASE))
    other = {"image": theirs.text, "text": theirs.image}[modality]
    precision = partial(_precision, labels=QUERIES.labels, other_labels=DATABASE.labels)
    benign = getattr(mine, modality)
    np.testing.assert_allclose(mean(some, "ap_cross_benign"), precision(benign, other))
    own = precision(benign, getattr(theirs, modality))
    np.testing.assert_allclose(mean(some, "ap_own_benign"), own)
    examples = jnp.asarray(examples_of(QUERIES, modality, np.arange(7)))
    what = known(subject.params, theirs)
    final = run(ATTACKS[modality], what, examples, TARGETS, iterations=20).final
    codes = np.asarray(final.output)
    np.testing.assert_allclose(mean(some, "ap_cross"), precision(codes, other))
    assert mean(some, "ap_cross") < mean(some, "ap_cross_benign")
    np.testing.assert_allclose(mean(some, "success"), final.success.mean())
    change = np.asarray(final.image) - examples
    wanted = np.sqrt((change**2).reshape(7, -1).mean(axis=1))
    got = [row["distortion"] for row in sorted(some, key=lambda row: row["id"])]
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


ATTACKS = {modality: method.attack(HASHER) for modality, method in METHODS_OF.items()}
TARGETS = jax.vmap(hash_target, in_axes=(0, None))(
    *map(jnp.asarray, (QUERIES.labels, DATABASE.labels))
)


def test_transfers_are_asked_of_the_other_victim(rows):
    modality, found = rows
    shown = [entry for row in found["a", 20] for entry in row["transfer"]]
    assert {(entry["victim"], entry["bits"]) for entry in shown} == {("b", HASHER.bits)}
    what = known(PARAMS, encode(HASHER, PARAMS, DATABASE))
    examples = jnp.asarray(examples_of(QUERIES, modality, np.arange(7)))
    final = run(ATTACKS[modality], what, examples, TARGETS, iterations=20).final
    code_of = {"image": HASHER.image_code, "text": HASHER.text_code}[modality]
    codes = np.asarray(jax.vmap(code_of, in_axes=(None, 0))(SUBJECTS[1].params, final.image))
    asked = encode(HASHER, SUBJECTS[1].params, DATABASE)
    other = {"image": asked.text, "text": asked.image}[modality]
    wanted = _precision(codes, other, QUERIES.labels, DATABASE.labels)
    np.testing.assert_allclose(mean(shown, "ap_cross"), wanted)


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
    ("queries", "line"),
    [
        (QUERIES._replace(texts=QUERIES.texts[:, 1:]), "texts of shape"),
        (QUERIES._replace(pictures=QUERIES.pictures[:, 1:]), "pictures of shape"),
    ],
)
def test_queries_that_do_not_fit_are_refused(queries, line):
    with pytest.raises(InputError, match=line):
        ask(SUBJECTS[0], queries, DATABASE)


def test_a_viewer_that_takes_other_tags_is_refused():
    other = Subject("c", HASHER._replace(tags=("x", *HASHER.tags[1:])), PARAMS)
    asking = ask(SUBJECTS[0], QUERIES, DATABASE)
    with pytest.raises(InputError, match="'a' and 'c' differ in their tags"):
        retrieval_attacks(
            SUBJECTS[0], METHODS_OF["image"], asking, viewers=[Viewer(other, DATABASE)]
        )
