"""The attacks on taggers beside their NumPy transcription, and in every driver."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import label_equations as paper
from helpers.label_table import ATTACKS, FAST, PARAMETERS, RATE, pictures, targets
from helpers.tiny import tiny_image
from helpers.tiny_tagger import TAGGER, label_target, tagger_parameters
from helpers.traces import count_traces

from jaxadv.core.attack import Status
from jaxadv.core.constraints import signed, tanh_of_picture
from jaxadv.core.run import run, unroll, why_nothing_moved
from jaxadv.labels.judging import label_judge, label_objective, label_optimiser, stateless
from jaxadv.labels.kfool import kfool, to_boundaries
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.ranking import ranks
from jaxadv.labels.target import LabelTarget
from jaxadv.labels.tkmia import least_loss, tkmia
from jaxadv.labels.tkml_ap_u import tkml_ap_u

ALPHA, STEPS = 1e-2, 20
EVERY_ATTACK = pytest.mark.parametrize("name", ATTACKS)


def attack_many(name, count, iterations=60):
    return run(ATTACKS[name], PARAMETERS, pictures(count), targets(count), iterations=iterations)


def _in_numpy(name, params, image, target):
    """The transcription's losses, last ε in [-1, 1] units and whether it stopped."""
    y, s, k = np.array(target.relevant), np.array(target.specified), int(target.k)
    lambdas = np.zeros(2)

    def algorithm_1(picture):
        value, gradient, slope = paper.tkmia_algorithm_1(params, picture, y, s, k, lambdas)
        lambdas[:] = np.clip(lambdas - 0.1 * slope, 0, 1)
        return value, gradient

    method = {
        "tkmia": lambda x: paper.tkmia(params, x, y, s, k),
        "tkmia-gradient": algorithm_1,
        "tkml-ap-u": lambda x: paper.tkml_ap_u(params, x, y, k),
        "ml-cw-u": lambda x: paper.ml_cw_u(params, x, y),
    }[name]
    return paper.attack(params, image, y, s, k, method, alpha=ALPHA, rate=RATE, steps=STEPS)


_PAPERS = {"tradeoff": ALPHA, "optimiser": FAST}
TWENTY_STEPS = {
    name: jax.jit(partial(unroll, attack, iterations=STEPS))
    for name, attack in {
        "tkmia": tkmia(TAGGER, **_PAPERS),
        "tkmia-gradient": tkmia(TAGGER, inner="gradient", multiplier_rate=0.1, **_PAPERS),
        "tkml-ap-u": tkml_ap_u(TAGGER, **_PAPERS),
        "ml-cw-u": ml_cw_u(TAGGER, **_PAPERS),
        "kfool": kfool(TAGGER),
    }.items()
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["tkmia", "tkmia-gradient", "tkml-ap-u", "ml-cw-u"])
def test_twenty_steps_are_the_papers(name, seed):
    """Loss at every step and the perturbation they end at, from the text in NumPy."""
    params, image = tagger_parameters(seed), tiny_image(seed)
    target = label_target(params, image, seed)
    plain = jax.tree.map(np.asarray, params)
    epsilon, losses, stopped = _in_numpy(name, plain, np.asarray(image), target)
    state, info = TWENTY_STEPS[name](params, image, target)
    np.testing.assert_allclose(info.loss[: len(losses)], losses, atol=1e-9)
    np.testing.assert_allclose(2 * state.perturbation, epsilon, atol=1e-6)
    assert bool(state.status == Status.FOOLED) is stopped
    assert np.abs(epsilon).max() > 1e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["tkmia", "tkml-ap-u", "ml-cw-u"])
def test_gradient_on_the_picture_is_the_papers(name):
    """One SGD step without momentum moves by the transcription's gradient, which it checks too."""
    params, image = tagger_parameters(1), tiny_image(1)
    target = label_target(params, image, 1)
    plain = jax.tree.map(np.asarray, params)
    y, s, k = np.array(target.relevant), np.array(target.specified), int(target.k)
    value_of = {
        "tkmia": lambda x: paper.tkmia(plain, x, y, s, k),
        "tkml-ap-u": lambda x: paper.tkml_ap_u(plain, x, y, k),
        "ml-cw-u": lambda x: paper.ml_cw_u(plain, x, y),
    }[name]
    x = np.asarray(image)
    _, gradient = value_of(x)
    direction = np.random.default_rng(0).normal(size=x.shape)
    h = 1e-6
    finite = (value_of(x + h / 2 * direction)[0] - value_of(x - h / 2 * direction)[0]) / (2 * h)
    np.testing.assert_allclose((gradient * direction).sum(), finite, rtol=1e-5)
    make = {"tkmia": tkmia, "tkml-ap-u": tkml_ap_u, "ml-cw-u": ml_cw_u}[name]
    attack = make(TAGGER, optimiser=optax.sgd(1e-4), stop_at_success=False)
    state, _ = unroll(attack, params, image, target, iterations=1)
    np.testing.assert_allclose(state.perturbation, -1e-4 * gradient / 2, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(6))
def test_kfool_is_the_geometric_step(seed):
    """Each of its steps, as far as it runs, from the transcription."""
    params, image = tagger_parameters(seed), tiny_image(seed)
    target = label_target(params, image, seed)
    plain = jax.tree.map(np.asarray, params)
    y, s, k = np.array(target.relevant), np.array(target.specified), int(target.k)
    x, epsilon = np.asarray(image), np.zeros(image.shape)
    for _ in range(STEPS):
        picture = x + epsilon / 2
        if paper.excluded(paper.scores(plain, picture), s, k) >= s.sum():
            break
        epsilon = epsilon + 1.02 * paper.kfool_step(plain, picture, y, k)
        epsilon = 2 * (np.clip(x + epsilon / 2, 0, 1) - x)
    state, _ = TWENTY_STEPS["kfool"](params, image, target)
    np.testing.assert_allclose(2 * state.perturbation, epsilon, atol=1e-6)
    assert np.abs(epsilon).max() > 1e-3


@pytest.mark.usefixtures("float64")
def test_kfool_reaches_a_flat_boundary_in_one_step():
    """On a victim whose scores are linear, k = 1: the least perturbation that makes two equal."""
    rng = np.random.default_rng(0)
    slopes = jnp.asarray(rng.normal(0, 0.01, size=(9, 48)))

    def scores_of(image):
        return 0.5 + slopes @ image.reshape(-1)

    flat = TAGGER._replace(logits=lambda params, image: jax.scipy.special.logit(scores_of(image)))
    image = tiny_image(3)
    scores = scores_of(image)
    order = np.argsort(-np.asarray(scores))
    relevant = jnp.zeros(9, bool).at[order[:2]].set(True)
    target = label_target(tagger_parameters(), image, 0)._replace(relevant=relevant)
    _, _, step = to_boundaries(flat, slopes, image, target)
    moved = scores_of(image + step)
    np.testing.assert_allclose(moved[order[0]], moved[order[2]], atol=1e-9)
    normal = slopes[order[2]] - slopes[order[0]]
    distance = (scores[order[0]] - scores[order[2]]) / jnp.linalg.norm(normal)
    np.testing.assert_allclose(jnp.linalg.norm(step), distance, rtol=1e-9)


def test_a_sure_tagger_is_judged_by_its_logits():
    """Where two probabilities are 1.0 the larger logit leads, whatever their numbers."""
    sure = TAGGER._replace(logits=lambda params, image: jnp.array([40.0, 65.9, *range(7)]))
    mask = jnp.arange(9) == 1
    target = LabelTarget(mask, mask, jnp.asarray(1))
    image = pictures(1)[0]
    assert (sure.scores({}, image)[:2] == 1).all()
    assert not label_judge(sure)({}, image, target).success
    seen = label_objective(sure, stateless(least_loss), 0.1)
    assert not seen.loss({}, image, image, target, ())[1].success
    attack = kfool(sure)
    _, info = attack.step({}, image, target, attack.init({}, image, target, jax.random.key(0)))
    assert not info.success


def test_a_victim_whose_scores_are_not_finite_is_never_fooled():
    blind = TAGGER._replace(logits=lambda params, image: jnp.full(9, jnp.nan) + image.sum())
    result = run(kfool(blind), PARAMETERS, pictures(1), targets(1), iterations=2)
    one = jax.tree.map(lambda x: x[0], result)
    assert not one.final.success and not one.already
    assert "not finite" in why_nothing_moved(one)


def test_labels_that_are_out_already_are_told():
    """Success of the benign picture is no success of the attack."""
    images = pictures(2)
    rank = jnp.stack([ranks(TAGGER.logits(PARAMETERS, image)) for image in images])
    specified = rank == jnp.array([[0], [8]])  # the first label, and the last
    both = LabelTarget((rank < 2) | specified, specified, jnp.ones(2, jnp.int32))
    result = run(ATTACKS["tkmia"], PARAMETERS, images, both, iterations=3)
    assert result.already.tolist() == [False, True]
    first, then = (jax.tree.map(lambda x, i=i: x[i], result) for i in (0, 1))
    assert why_nothing_moved(first) is None and "already" in why_nothing_moved(then)
    assert then.final.success and then.final.norm == 0  # success that means nothing


def test_kfool_survives_a_victim_without_slope():
    """A saturated victim has no boundary to go to; the picture stays where it is."""
    params = {**PARAMETERS, "bias": jnp.full(9, 200.0)}
    attack = kfool(TAGGER, stop_at_success=False)
    result = run(attack, params, pictures(2), targets(2), iterations=3)
    assert result.status.tolist() == [Status.RUNNING] * 2
    np.testing.assert_array_equal(result.final.image, pictures(2))
    told = [why_nothing_moved(jax.tree.map(lambda x, i=i: x[i], result)) for i in range(2)]
    expected = ["already" if already else "not moved" for already in result.already]
    assert all(word in line for word, line in zip(expected, told, strict=True))


@EVERY_ATTACK
def test_attack_fools_and_says_the_logits(name):
    result = attack_many(name, 6, iterations=150)
    assert result.best.success.any()
    logits = jax.vmap(TAGGER.logits, in_axes=(None, 0))(PARAMETERS, result.best.image)
    np.testing.assert_allclose(result.best.output, logits, atol=1e-5)
    stopped = np.asarray(result.status == Status.FOOLED)
    assert np.all(result.final.success[stopped]) and stopped.any()


def test_fewer_labels_leave_sooner():
    """δ = 1 stops where the first of several specified labels is out, not where all are."""
    aims = targets(6)
    one = run(tkmia(TAGGER, delta=1, optimiser=FAST), PARAMETERS, pictures(6), aims, iterations=60)
    every = attack_many("tkmia", 6)
    several = np.asarray(aims.specified.sum(axis=1)) > 1
    assert np.all(one.iterations <= every.iterations)
    assert np.any(one.iterations[several] < every.iterations[several])
    np.testing.assert_array_equal(one.iterations[~several], every.iterations[~several])


@EVERY_ATTACK
def test_same_results_whatever_the_batch(name):
    """One by one and in another order; every picture has its own S, Y and k."""
    images, aims = pictures(5), targets(5)
    whole = attack_many(name, 5, iterations=15)
    for rows in ([2], [4, 3, 2, 1, 0]):
        some = jnp.asarray(rows)
        part = jax.tree.map(lambda x, some=some: x[some], aims)
        got = run(ATTACKS[name], PARAMETERS, images[some], part, iterations=15, ids=some)
        assert got.final.success.tolist() == whole.final.success[some].tolist()
        np.testing.assert_allclose(got.final.image, whole.final.image[some], atol=1e-5)
        np.testing.assert_allclose(got.losses, whole.losses[some], atol=1e-5)


@EVERY_ATTACK
def test_targets_of_different_labels_and_k_compile_once(name):
    attack = ATTACKS[name]
    counted = attack._replace(step=count_traces(attack.step))
    images, aims = pictures(12), targets(12)
    assert len({int(k) for k in aims.k}) == 3 and len({int(s.sum()) for s in aims.specified}) == 2
    for i in range(12):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], aims)
        run(counted, PARAMETERS, images[i : i + 1], one, iterations=2)
    assert counted.step.traces == 1


@EVERY_ATTACK
def test_unroll_agrees_with_run(name):
    aims = targets(3)
    image, target = pictures(3)[2], jax.tree.map(lambda x: x[2], aims)
    state, info = jax.jit(partial(unroll, ATTACKS[name], iterations=8))(PARAMETERS, image, target)
    ran = attack_many(name, 3, iterations=8)
    taken = int(ran.iterations[2])
    np.testing.assert_allclose(info.loss[:taken], ran.losses[2][:taken], atol=1e-5)
    np.testing.assert_allclose(image + state.perturbation, ran.final.image[2], atol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [tkmia, tkml_ap_u, ml_cw_u, None], ids=["tkmia", "ap", "cw", "k"])
def test_gradient_through_three_steps(make):
    """d final loss / d the victim's parameters, against finite differences."""
    params, image = tagger_parameters(2), tiny_image(2)
    target = label_target(params, image, 2)
    attack = make(TAGGER, optimiser=label_optimiser(0.1)) if make else kfool(TAGGER)
    attack = attack if make else kfool(TAGGER, stop_at_success=False)

    @jax.jit
    def final_loss(parameters):
        return unroll(attack, parameters, image, target, iterations=3)[1].loss[-1]

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
    h = 1e-6
    up, down = (
        final_loss(jax.tree.map(lambda x, d, s=s: x + s * h * d, params, direction))
        for s in (1, -1)
    )
    slope = jax.grad(final_loss)(params)
    along = sum(jnp.vdot(slope[name], direction[name]) for name in params)
    np.testing.assert_allclose(along, (up - down) / (2 * h), rtol=1e-4)


def test_signed_space_is_twice_the_picture():
    """A step of SGD in it is a quarter of `clip`'s; pictures stay in [0, 1]."""
    image, space = pictures(1)[0], signed()
    moved = space.project(jnp.full_like(image, 3.0), image)
    np.testing.assert_allclose(space.picture(moved, image), 1.0, atol=1e-6)
    np.testing.assert_allclose(space.enter(image, 0 * image + 0.001), 0.002, atol=1e-6)


def test_tanh_of_picture_is_the_released_codes():
    """What is seen where nothing was moved is tanh(x), x in [-1, 1]."""
    image, space = pictures(1)[0], tanh_of_picture()
    w = space.enter(image, jnp.zeros_like(image))
    np.testing.assert_array_equal(w, 0 * w)
    np.testing.assert_allclose(2 * space.picture(w, image) - 1, np.tanh(2 * image - 1), atol=1e-6)
