"""Anchors are ranked by the target's likelihood, pull, let go, and the worst are dropped."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import (
    all_captions,
    batch_of,
    log_p_of_words,
    tiny_captioner,
    tiny_image,
    tiny_parameters,
)

from jaxadv.captions.anchored import (
    WEIGHT,
    anchored,
    guided,
    planned,
    squared_distance,
)
from jaxadv.captions.bank import Known, bank_of, scores
from jaxadv.captions.captioner import greedy, teacher_forced_logits
from jaxadv.captions.criteria import says_target
from jaxadv.captions.gem import term as gem_term
from jaxadv.captions.judging import caption_objective
from jaxadv.captions.margins import term as margins_term
from jaxadv.captions.methods import METHODS
from jaxadv.captions.reliable import reliable
from jaxadv.captions.show_and_fool import caption_margin
from jaxadv.captions.ssvm import first as ssvm_first
from jaxadv.captions.ssvm import term as ssvm_term
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.core.method import choose
from jaxadv.core.run import run, unroll
from jaxadv.core.stream import Request, stream
from jaxadv.data.images import round_8bit
from jaxadv.errors import InputError

# Compiling is most of the run: spend less on it.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
WORDS, LENGTH, BANK, STEPS, LANES = 3, 4, 10, 32, 2
VICTIM = tiny_captioner(words=WORDS, max_length=LENGTH)
PARAMETERS = tiny_parameters(words=WORDS, dtype="float32")
PICTURES = batch_of(lambda seed: tiny_image(500 + seed, dtype="float32"), BANK)
KNOWN = Known(PARAMETERS, bank_of(VICTIM, PARAMETERS, PICTURES, batch=4))
ONE_LANE = gem_term(VICTIM, posterior="joint", top=1, lanes=1)


@cache
def said_of(number):
    features = VICTIM.encode(PARAMETERS, tiny_image(number, dtype="float32"))
    return [int(token) for token in greedy(VICTIM, PARAMETERS, features).tokens if token]


def target_of(number, latent=()):
    return make_target(said_of(number) or [1], LENGTH, set(latent))


def test_a_bank_is_what_the_victim_makes_of_pictures():
    for picture, features, caption in zip(PICTURES, *KNOWN.bank, strict=True):
        expected = VICTIM.encode(PARAMETERS, picture)
        np.testing.assert_allclose(features, expected, atol=1e-6)
        np.testing.assert_array_equal(caption, greedy(VICTIM, PARAMETERS, expected).tokens)


@pytest.mark.parametrize("latent", [(), (1,), (0, 2)])
def test_the_ranking_is_that_of_brute_force(latent):
    """`ln P` of the target, summed over every completion of its latent words."""
    target = make_target([2, 1, 3], LENGTH, set(latent))
    found = scores(VICTIM, KNOWN, target, exclude=False, top=WORDS)
    every = all_captions(VICTIM, 3)
    meant = every[[all(c[t] == [2, 1, 3][t] for t in range(3) if t not in latent) for c in every]]
    whole = np.concatenate([meant, np.zeros((len(meant), 1), int)], axis=1)  # and the end
    expected = [
        np.logaddexp.reduce(log_p_of_words(VICTIM, PARAMETERS, picture, whole))
        for picture in PICTURES
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.ptp(expected) > 1


def test_answers_are_left_out():
    answer = [int(token) for token in KNOWN.bank.captions[0] if token]
    target = make_target(answer, LENGTH)
    answers = np.array([bool(says_target(target, said)) for said in KNOWN.bank.captions])
    assert answers[0] and not answers.all()
    kept = scores(VICTIM, KNOWN, target)
    np.testing.assert_array_equal(np.isneginf(kept), answers)
    assert np.isfinite(scores(VICTIM, KNOWN, target, exclude=False)).all()


TERMS = {
    "gem": (gem_term(VICTIM, lanes=3), tuple),
    "ssvm": (ssvm_term(VICTIM), lambda: ssvm_first(VICTIM)),
    "margins": (margins_term(VICTIM, lanes=3), tuple),
}


@pytest.mark.parametrize("name", TERMS)
def test_the_pull_is_its_formula_and_fades_to_nothing(name):
    term, first = TERMS[name]
    image, target = tiny_image(3, dtype="float32"), target_of(40, latent={1})
    objective = guided(VICTIM, term, iterations=10, share=0.5, first=first)
    plain = caption_objective(VICTIM, says_target, term, 0.0, first=first)
    begin = objective.init(KNOWN, image, target, jax.random.key(0))
    adversarial = jnp.clip(image + 0.05, 0, 1)

    @jit
    def both(latent):
        def pulled(x):
            return objective.loss(KNOWN, image, x, target, latent)

        def free(x):
            return plain.loss(PARAMETERS, image, x, target, latent.term)[0]

        return (
            *jax.value_and_grad(pulled, has_aux=True)(adversarial),
            *jax.value_and_grad(free)(adversarial),
        )

    likelihood = scores(VICTIM, KNOWN, target)
    anchor = KNOWN.bank.features[int(jnp.argmax(likelihood))]
    goal = planned(VICTIM, KNOWN, anchor, target)
    moved, own = (VICTIM.encode(PARAMETERS, x) for x in (adversarial, image))
    gap = squared_distance(moved, goal) / squared_distance(own, goal)
    for steps, share in ((0, 1.0), (2, 0.6), (5, 0.0), (9, 0.0)):
        (value, appraisal), slope, loss, free_slope = both(begin._replace(steps=jnp.asarray(steps)))
        np.testing.assert_allclose(value, share * WEIGHT * gap + loss, rtol=1e-4, atol=1e-5)
        assert appraisal.latent.steps == steps + 1
        assert (abs(slope - free_slope).max() > 1e-3) == (share > 0)
    (value, _), slope, loss, free_slope = both(begin._replace(fooled=jnp.asarray(True)))
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    np.testing.assert_allclose(slope, free_slope, rtol=1e-5, atol=1e-6)


def test_the_picture_is_encoded_once_a_step():
    calls = []

    def counted(params, image):
        calls.append(1)
        return VICTIM.encode(params, image)

    victim = VICTIM._replace(encode=counted)
    objective = guided(victim, ONE_LANE, iterations=10)
    image, target = tiny_image(3, dtype="float32"), target_of(40)
    latent = jax.eval_shape(objective.init, KNOWN, image, target, jax.random.key(0))
    calls.clear()
    slope = jax.grad(objective.loss, argnums=2, has_aux=True)
    jax.eval_shape(slope, KNOWN, image, image, target, latent)
    assert len(calls) == 1


def test_a_plan_says_the_target_and_goes_no_further():
    target = target_of(40)
    anchor = KNOWN.bank.features[int(jnp.argmax(scores(VICTIM, KNOWN, target)))]
    plan = jit(lambda features: planned(VICTIM, KNOWN, features, target))
    there = plan(anchor)
    assert not says_target(target, greedy(VICTIM, PARAMETERS, anchor).tokens)
    assert says_target(target, greedy(VICTIM, PARAMETERS, there).tokens)
    np.testing.assert_array_equal(plan(there), there)


def test_margins_are_show_and_fools_where_nothing_is_latent():
    features = VICTIM.encode(PARAMETERS, tiny_image(5, dtype="float32"))
    target = target_of(40)
    logits = teacher_forced_logits(VICTIM, PARAMETERS, features, target.tokens)
    for margin in (0.0, 1.0, 50.0):
        found = margins_term(VICTIM, margin=margin)(PARAMETERS, features, target, ())
        np.testing.assert_allclose(found.loss, caption_margin(logits, target, margin), rtol=1e-5)


def test_margins_take_the_likeliest_completion():
    features = VICTIM.encode(PARAMETERS, tiny_image(5, dtype="float32"))
    target = make_target([2, 1, 3], LENGTH, {0, 2})
    found = margins_term(VICTIM, top=WORDS, lanes=9)(PARAMETERS, features, target, ())
    completions = [
        np.array([a, 1, b, 0]) for a, b in itertools.product(range(1, WORDS + 1), repeat=2)
    ]
    totals = log_p_of_words(VICTIM, PARAMETERS, tiny_image(5, dtype="float32"), completions)
    tokens = jnp.asarray(completions[int(np.argmax(totals))], jnp.int32)
    logits = teacher_forced_logits(VICTIM, PARAMETERS, features, tokens)
    expected = caption_margin(logits, target._replace(tokens=tokens), 1.0)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


ATTACK = anchored(VICTIM, iterations=STEPS, anchors=LANES, loss=ONE_LANE)
COUNT = 5
IMAGES = batch_of(lambda seed: tiny_image(seed, dtype="float32"), COUNT)


@cache
def targets():
    return stack_targets([target_of(60 + number, {1} - {number}) for number in range(COUNT)])


@cache
def whole():
    return run(ATTACK, KNOWN, IMAGES, targets(), iterations=STEPS)


def test_the_best_picture_fools_the_victim_as_it_is_saved():
    result = whole()
    assert result.best.success_8bit.mean() >= 0.8
    np.testing.assert_array_equal(result.best.success, result.best.success_8bit)
    np.testing.assert_allclose(result.best.image, round_8bit(result.best.image), atol=1e-6)
    np.testing.assert_array_equal(result.iterations, STEPS)


def assert_alike(some, others):
    def alike(a, b):
        if np.asarray(a).dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
        else:
            np.testing.assert_array_equal(a, b)

    jax.tree.map(alike, some, others)


def test_what_comes_of_an_example_depends_on_no_other():
    for number in (0, COUNT - 1):
        one = jax.tree.map(lambda x, n=number: x[n : n + 1], (IMAGES, targets()))
        ids = jnp.asarray([number])
        alone = run(ATTACK, KNOWN, *one, iterations=STEPS, ids=ids)
        assert_alike(alone.best, jax.tree.map(lambda x, n=number: x[n : n + 1], whole().best))


def test_it_streams():
    images, wanted = jax.tree.map(np.asarray, (IMAGES, targets()))
    requests = [
        Request(i, images[i], jax.tree.map(lambda x, i=i: x[i], wanted)) for i in range(COUNT)
    ]
    finished = list(stream(ATTACK, KNOWN, requests, iterations=STEPS, slots=2))
    assert sorted(f.id for f in finished) == list(range(COUNT))
    for one in finished:
        assert_alike(one.result.best, jax.tree.map(lambda x, i=one.id: x[i], whole().best))


@pytest.mark.parametrize(("steps", "anchor"), [(STEPS, 0), (4, 1)])
def test_an_anchor_that_does_not_help_is_dropped(steps, anchor):
    """Two steps are too few: the next begins from the benign picture; one that helps is kept."""
    image, target = IMAGES[0], jax.tree.map(lambda x: x[0], targets())
    attack = anchored(VICTIM, iterations=steps, anchors=LANES, loss=ONE_LANE)
    state, info = jit(lambda x, t: unroll(attack, KNOWN, x, t, iterations=steps))(image, target)
    latent = state.latent
    assert latent.taken == latent.state.latent.taken == steps
    assert latent.anchor == anchor and info.success.any() == (anchor == 0)
    guidance = latent.state.latent.objective
    assert guidance.steps == (steps if anchor == 0 else steps // LANES)
    wanted = jax.tree.map(lambda x: x[anchor], latent.goals)
    jax.tree.map(np.testing.assert_array_equal, guidance.goal, wanted)
    assert abs(latent.goals.features[0] - latent.goals.features[1]).max() > 1e-3
    if anchor == 0:
        fooled = info.norm[np.flatnonzero(info.success)]
        np.testing.assert_allclose(state.best_norm, fooled.min(), rtol=1e-6)
    else:
        np.testing.assert_allclose(info.norm[steps // LANES], info.norm[0], rtol=1e-6)


def test_it_can_be_differentiated():
    image, target = IMAGES[1], jax.tree.map(lambda x: x[1], targets())

    @jit
    @jax.grad
    def slope(params):
        known = KNOWN._replace(params=params)
        return unroll(ATTACK, known, image, target, iterations=4)[1].loss.sum()

    leaves = jax.tree.leaves(slope(PARAMETERS))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert any(abs(leaf).max() > 0 for leaf in leaves)


def test_arguments_are_checked():
    with pytest.raises(InputError, match="anchors"):
        anchored(VICTIM, iterations=STEPS, anchors=0)
    with pytest.raises(InputError, match="captioner"):
        anchored(None, iterations=STEPS)
    with pytest.raises(InputError, match="pictures"):
        bank_of(VICTIM, PARAMETERS, PICTURES[:0])
    with pytest.raises(InputError, match="Known"):
        run(ATTACK, PARAMETERS, IMAGES, targets(), iterations=STEPS)
    small = anchored(VICTIM, iterations=STEPS, anchors=BANK + 1, loss=ONE_LANE)
    with pytest.raises(InputError, match="one an anchor"):
        run(small, KNOWN, IMAGES, targets(), iterations=STEPS)


@pytest.mark.parametrize(
    ("method", "attack"),
    [
        (choose(METHODS, "reliable", budget=8), reliable(VICTIM, budget=8)),
        (
            choose(
                METHODS, "anchored", iterations=8, anchors=2, objective="margins", exclude=False
            ),
            anchored(
                VICTIM, iterations=8, anchors=2, loss=margins_term(VICTIM, lanes=9), exclude=False
            ),
        ),
    ],
)
def test_by_name_is_the_same_attack(method, attack):
    assert method.iterations == 8
    image = tiny_image(1, dtype="float32")
    got, wanted = (
        run(one, KNOWN, image, target_of(2), iterations=8)
        for one in (method.attack(VICTIM), attack)
    )
    np.testing.assert_array_equal(method.report(got).image, wanted.best.image)
    known = method.method.with_bank(VICTIM, PARAMETERS, PICTURES)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), known, KNOWN)


def test_without_a_bank_it_says_what_to_give():
    with pytest.raises(InputError, match="must be a Known"):
        run(
            reliable(VICTIM, budget=2),
            PARAMETERS,
            tiny_image(1, dtype="float32"),
            target_of(2),
            iterations=2,
        )
