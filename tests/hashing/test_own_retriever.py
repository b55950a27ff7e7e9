"""Bring your own retriever: CMLA on embeddings compared by similarity, and its tables."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.own_retriever import LABELS, RETRIEVER, SIZE, WORDS, retriever_parameters
from helpers.tiny import SIDE

from jaxadv.core.attack import default_optimiser
from jaxadv.core.method import choose
from jaxadv.core.run import run
from jaxadv.data.pairs import Pairs
from jaxadv.errors import InputError
from jaxadv.experiments.hash_attacks import encode, examples_of, known
from jaxadv.experiments.job import carry_out
from jaxadv.experiments.retrieval import Subject
from jaxadv.experiments.retrieval_jobs import Viewer, ask, retrieval_attacks
from jaxadv.hashing.cmla import UNITS, Known, Weights, bounded, cmla, hash_target, objective
from jaxadv.hashing.hasher import pair_scale, unit
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.metrics import average_precision
from jaxadv.victims import check

BOTH = pytest.mark.parametrize("modality", ["image", "text"])
PARAMS = retriever_parameters()
WIDE = {"image": 60.0, "text": 0.5}


def pairs(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((count, len(LABELS))) < 0.3
    labels[np.arange(count), rng.integers(len(LABELS), size=count)] = True
    tags = rng.random((count, WORDS)) < 0.3
    tags[np.arange(count), rng.integers(WORDS, size=count)] = True
    return Pairs(
        rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8),
        tags.astype(np.float32),
        labels,
        tuple(f"pair-{i}" for i in range(count)),
        LABELS,
    )


QUERIES, DATABASE = pairs(6, 1), pairs(20, 2)
CODES = encode(RETRIEVER, PARAMS, DATABASE)
KNOWN = known(PARAMS, CODES)
TARGETS = jax.vmap(hash_target, in_axes=(0, None))(
    *map(jnp.asarray, (QUERIES.labels, DATABASE.labels))
)


def test_two_matrices_are_a_victim():
    assert check(RETRIEVER, PARAMS) == []
    norms = [np.linalg.norm(some, axis=1) for some in CODES]
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    assert not RETRIEVER.text_code(PARAMS, jnp.zeros(WORDS)).any()  # an empty bag is like nothing
    assert pair_scale(RETRIEVER, PARAMS) == 5


MISTAKES = {
    "another norm": (
        {"image_code": lambda p, x: 3 * RETRIEVER.image_code(p, x)},
        "image_code: gives an embedding of norm 3; must be of norm 1",
    ),
    "0 / 0": (
        {"text_code": lambda p, x: p["read"] @ x / jnp.linalg.norm(p["read"] @ x)},
        "text_code: gives NaN or infinity on a bag of zeros",
    ),
    "longer": ({"bits": 8}, "must return float32[8], for embeddings of 8"),
    "negative": (
        {"logit_scale": lambda p: -p["scale"]},
        "logit_scale: gives -5; must give one positive, finite number",
    ),
    "many": (
        {"logit_scale": lambda p: p["read"][0]},
        "logit_scale: gives (float32[10]); must give one positive",
    ),
    "dictionary": ({"logit_scale": lambda p: p}, "logit_scale: gives (float32"),
    "no such parameter": (
        {"logit_scale": lambda p: p["temperature"]},
        "logit_scale: fails (KeyError: 'temperature'); must accept the parameters",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named(mistake):
    fields, sentence = MISTAKES[mistake]
    found = check(RETRIEVER._replace(**fields), PARAMS)
    assert any(sentence in one for one in found), found


@pytest.mark.usefixtures("float64")
@BOTH
def test_rows_sum_to_the_literal_double_sum(modality):
    """Eq. 5 with Θ_ij = s F_i G_jᵀ, the dual encoder's logits, in loops; and finite differences."""
    rng, scale, weights = np.random.default_rng(3), 7.5, Weights(0.7, 1.3, 0.4)
    params = retriever_parameters(dtype=np.float64, scale=scale)
    context = unit(jnp.asarray(rng.normal(size=(2, 12, SIZE))))
    what, own_place = Known(params, *context), {"image": 0, "text": 1}[modality]
    start = jnp.asarray(rng.random((4, *((SIDE, SIDE, 3) if modality == "image" else (WORDS,)))))
    moved = jnp.clip(start + rng.normal(0, 0.03, start.shape), 0, 1)
    labels = jnp.asarray(rng.random((16, len(LABELS))) < 0.4)
    targets = jax.vmap(hash_target, in_axes=(0, None))(labels[:4], labels[4:])
    loss = objective(RETRIEVER, modality, weights=weights).loss

    @jax.jit
    def total(moved):
        return jax.vmap(lambda o, a, t: loss(what, o, a, t, ())[0])(start, moved, targets).sum()

    matrix = np.asarray(params["see" if modality == "image" else "read"])
    own, other = np.asarray(context[own_place]), np.asarray(context[1 - own_place])
    similar, literal = np.asarray(targets.similar), 0.0
    for i in range(4):
        seen = np.asarray(moved[i]).reshape(-1) - (0.5 if modality == "image" else 0)
        code = matrix @ seen / np.sqrt(((matrix @ seen) ** 2).sum())
        for j in range(12):
            gamma, theta = scale * float(code @ other[j]), scale * float(code @ own[j])
            literal += weights.inter * (np.log(1 + np.exp(-gamma)) + similar[i, j] * gamma)
            literal += weights.intra * (np.log(1 + np.exp(theta)) - similar[i, j] * theta)
        change = UNITS[modality] * np.asarray(moved[i] - start[i])
        literal += weights.distortion * np.sqrt((change**2).sum())
    np.testing.assert_allclose(total(moved), literal, rtol=1e-10)
    direction, h = rng.normal(size=start.shape), 1e-6
    up, down = (total(moved + sign * h * direction) for sign in (1, -1))
    slope = jnp.vdot(jax.grad(total)(moved), direction)
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-6)


@cache
def attack(modality):
    return cmla(
        RETRIEVER,
        modality,
        weights=Weights(distortion=0.001),
        constraint=bounded(modality, WIDE[modality]),
        optimiser=default_optimiser(WIDE[modality] / 20),
    )


def attacked(modality, rows):
    some = jnp.asarray(rows)
    examples = jnp.asarray(examples_of(QUERIES, modality, np.asarray(rows)))
    targets = jax.tree.map(lambda x: x[some], TARGETS)
    return run(attack(modality), KNOWN, examples, targets, iterations=40, ids=some)


CODES_OF_QUERIES = encode(RETRIEVER, PARAMS, QUERIES)._asdict()


def precision(codes, others):
    """MAP from its definition, by sorting scores."""
    every = []
    for code, mine in zip(codes, QUERIES.labels, strict=True):
        order = np.argsort(-(others @ code), kind="stable")
        every.append(average_precision((mine & DATABASE.labels[order]).any(axis=1)))
    return np.mean(every)


@BOTH
def test_fools_by_the_score_whatever_the_batch(modality):
    whole = attacked(modality, range(6))
    other = CODES.text if modality == "image" else CODES.image
    code, before = np.asarray(whole.final.output), CODES_OF_QUERIES[modality]
    found, found_before = ((some @ other.T).argmax(axis=1) for some in (code, before))
    wanted, each = np.asarray(TARGETS.wanted), np.arange(6)
    assert whole.final.success.tolist() == wanted[each, found].tolist()
    assert whole.final.success.sum() > wanted[each, found_before].sum()
    assert precision(code, other) < precision(before, other) - 0.05
    for rows in ([2], [5, 4, 3, 2, 1, 0]):
        part, same = attacked(modality, rows), np.array(rows)
        assert part.final.success.tolist() == whole.final.success[same].tolist()
        np.testing.assert_allclose(part.final.image, whole.final.image[same], atol=1e-4)


def test_records_are_of_the_scores():
    """MAP before and after; another retriever is shown what was attacked."""
    method = choose(
        METHODS,
        "cmla",
        modality="text",
        bound=0.5,
        learning_rate=0.025,
        distortion=0.001,
        iterations=40,
    )
    own = Subject("own", RETRIEVER, PARAMS)
    viewer = Viewer(Subject("b", RETRIEVER, retriever_parameters(1)), DATABASE)
    job = retrieval_attacks(own, method, ask(own, QUERIES, DATABASE), viewers=[viewer])
    made = carry_out(job, lambda _: True, slots=4, key=jax.random.key(0))
    rows = [done.columns for done in made]
    benign = precision(CODES_OF_QUERIES["text"], CODES.image)
    fooled = precision(np.asarray(attacked("text", range(6)).final.output), CODES.image)
    assert np.mean([row["ap_cross_benign"] for row in rows]) == pytest.approx(benign)
    assert np.mean([row["ap_cross"] for row in rows]) == pytest.approx(fooled, abs=1e-3)
    assert {len(row["within"]) for row in rows} == {SIZE + 1}
    assert {entry["victim"] for row in rows for entry in row["transfer"]} == {"b"}


def test_embeddings_have_no_signs_to_show():
    own = Subject("own", RETRIEVER, PARAMS)
    signs = choose(METHODS, "cmla", codes="signs")
    with pytest.raises(InputError, match="codes 'signs': this victim compares emb"):
        retrieval_attacks(own, signs, ask(own, QUERIES, DATABASE))
