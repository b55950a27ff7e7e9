"""The reliable attack: its average precision by brute force, its bound, what it picks, drivers."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_hasher import HASHER, WORDS, example, known, stack, target

from jaxadv.core.attack import Status
from jaxadv.core.method import choose
from jaxadv.core.run import run, unroll
from jaxadv.data.images import round_8bit
from jaxadv.errors import InputError
from jaxadv.hashing import metrics
from jaxadv.hashing.cmla import codes_of
from jaxadv.hashing.hasher import binary_code
from jaxadv.hashing.methods import METHODS
from jaxadv.hashing.reliable import (
    average_precision,
    precisions,
    relaxed,
    reliable,
    saved_within,
)

BUDGET, LITTLE, MUCH = 40, 0.3, 0.8
BOUND = {"image": 60.0, "text": 0.5}  # so that the tiny victim can be moved
UNIT = {"image": 255.0, "text": 1.0}
KNOWN = known(items=40, dtype="float32")
BOTH = pytest.mark.parametrize("modality", ["image", "text"])


def examples(modality, count=6):
    return jnp.stack([example(modality, seed, "float32") for seed in range(count)])


def targets(count=6):
    return stack(target(seed, items=40) for seed in range(count))


def attack(modality, keep=LITTLE):
    return reliable(HASHER, modality, budget=BUDGET, bound=BOUND[modality], keep=keep)


@cache
def attacked(modality, keep=LITTLE):
    made = attack(modality, keep)
    return run(made, KNOWN, examples(modality), targets(), iterations=BUDGET)


def found(modality, codes):
    """Average precisions of the bits of codes in the other and in the own modality, f[n] each."""
    own, other = (KNOWN.image_codes, KNOWN.text_codes)[:: 1 if modality == "image" else -1]

    def of(code, one):
        return precisions(binary_code(code), binary_code(own), binary_code(other), one)

    return jax.vmap(of)(codes, targets())


def brute_force(distances, relevant):
    order = np.argsort(distances, kind="stable")
    return metrics.average_precision(np.asarray(relevant)[order])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_of_distances_that_differ(seed):
    rng = np.random.default_rng(seed)
    distances, relevant = rng.permutation(60)[:25], rng.random(25) < 0.4
    got = average_precision(jnp.asarray(distances, "float32"), jnp.asarray(relevant), 60)
    assert float(got) == pytest.approx(brute_force(distances, relevant), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_of_equal_items_is_that_of_no_order(seed):
    """The mean over random orders, nearly: each counts by the middle of their places."""
    rng = np.random.default_rng(seed)
    distances, relevant = rng.integers(0, 7, 200), rng.random(200) < 0.4
    got = average_precision(jnp.asarray(distances, "float32"), jnp.asarray(relevant), 6)
    orders = [rng.permutation(200) for _ in range(200)]
    mean = np.mean([brute_force(distances[order], relevant[order]) for order in orders])
    assert float(got) == pytest.approx(mean, abs=0.01)


def test_the_sharper_the_relaxed_code_the_nearer_to_its_bits():
    one, own, other = target(1, items=40), KNOWN.image_codes, KNOWN.text_codes
    code = jnp.asarray(np.random.default_rng(0).normal(0, 1, own.shape[1]), "float32")
    bits = binary_code(own), binary_code(other)
    exact = np.array(precisions(binary_code(code), *bits, one))
    gaps = [
        np.abs(np.array(precisions(relaxed(sharper * code, own), *bits, one)) - exact).max()
        for sharper in (0.3, 3.0, 3000.0)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5


@pytest.mark.usefixtures("float64")
def test_average_precision_has_the_slope_of_its_differences():
    rng = np.random.default_rng(3)
    distances, along = jnp.asarray(rng.random(20) * 6), jnp.asarray(rng.normal(0, 1, 20))
    relevant = jnp.asarray(rng.random(20) < 0.4)

    def of(shift):
        return average_precision(distances + shift * along, relevant, 6)

    slope = jax.grad(of)(0.0)
    difference = (of(1e-6) - of(-1e-6)) / 2e-6
    assert float(slope) == pytest.approx(float(difference), rel=1e-4)
    assert abs(slope) > 1e-3


def test_nothing_relevant_is_a_precision_of_nothing():
    assert average_precision(jnp.arange(3.0), jnp.zeros(3, bool), 4) == 0


@BOTH
def test_stays_in_the_bound_as_saved(modality):
    result = attacked(modality)
    change = UNIT[modality] * np.abs(np.asarray(result.final.image - result.image))
    assert change.max() <= BOUND[modality] + 2e-3
    assert change.max() > 0.5 * BOUND[modality]
    if modality == "image":
        saved = round_8bit(result.final.image)
        np.testing.assert_allclose(saved, result.final.image, atol=1e-6)
    assert np.all((result.final.image >= 0) & (result.final.image <= 1))


def test_a_level_outside_the_bound_gives_way():
    image = jnp.full((1, 1, 3), 100.4 / 255)
    for bound, level in ((8.0, 108.0), (8.6, 109.0)):
        wished = image + bound / 255
        assert 255 * saved_within(wished, image, bound)[0, 0, 0] == pytest.approx(level, abs=1e-3)
    np.testing.assert_allclose(saved_within(image, image, 0.1), image, atol=1e-6)  # none inside


@BOTH
def test_what_comes_of_an_example_does_not_depend_on_its_batch(modality):
    result = attacked(modality)
    one = jax.tree.map(lambda x: x[2], (examples(modality), targets()))
    alone = run(attack(modality), KNOWN, *one, iterations=BUDGET)
    np.testing.assert_allclose(alone.final.image, result.final.image[2], atol=1e-5)


@BOTH
def test_takes_more_from_the_other_modality_than_from_its_own(modality):
    """What the own one loses is at most (1 - keep) / keep times what the other one loses."""
    for keep in (LITTLE, MUCH):
        result = attacked(modality, keep)
        before, after = found(modality, result.benign.output), found(modality, result.best.output)
        if modality == "image":
            saved = jax.vmap(saved_within, (0, 0, None))(result.image, result.image, 60.0)
            codes = jax.vmap(HASHER.image_code, (None, 0))(KNOWN.params, saved)
            before = found(modality, codes)
        other, own = before.other - after.other, before.own - after.own
        assert np.all(own * keep <= (1 - keep) * other + 1e-5)
        assert np.all(other >= -1e-5)
        assert np.mean(other) > (0.02 if modality == "image" else 0.01)


@BOTH
def test_keeps_more_where_more_is_to_be_kept(modality):
    little, much = (found(modality, attacked(modality, k).best.output) for k in (LITTLE, MUCH))
    assert np.mean(little.other) < np.mean(much.other)
    assert np.mean(little.own) < np.mean(much.own)


def test_picks_the_least_score_of_all_that_it_saw():
    one = jax.tree.map(lambda x: x[1], (examples("image"), targets()))
    state, info = unroll(attack("image"), KNOWN, *one, iterations=BUDGET)
    other, own = info.reports["ap_other"], info.reports["ap_own"]
    scores = (1 - LITTLE) * other + LITTLE * jnp.maximum(own[0] - own, 0)
    assert float(state.latent.score) == pytest.approx(float(scores.min()), abs=1e-6)
    code, *_ = codes_of(HASHER, "image", KNOWN, one[0] + state.best)
    signs = binary_code(KNOWN.image_codes), binary_code(KNOWN.text_codes)
    picked = precisions(binary_code(code), *signs, one[1])
    score = (1 - LITTLE) * picked.other + LITTLE * jnp.maximum(own[0] - picked.own, 0)
    assert float(score) == pytest.approx(float(scores.min()), abs=1e-6)


def test_reports_one_picture():
    result = attacked("image")
    np.testing.assert_array_equal(result.final.image, result.best.image)


def test_a_victim_without_finite_codes_stops_the_attack():
    broken = HASHER._replace(image_code=lambda p, image: jnp.nan * HASHER.image_code(p, image))
    made = reliable(broken, budget=5)
    result = run(made, KNOWN, example("image", 0, "float32"), target(0, items=40), iterations=5)
    assert result.status == Status.DIVERGED
    assert np.isfinite(result.final.image).all()


def test_is_a_method_with_four_options_of_its_own():
    chosen = choose(METHODS, "reliable", modality="text")
    assert chosen.used == {
        "method": "reliable",
        "modality": "text",
        "bound": 0.01,
        "budget": 1000,
        "keep": 0.5,
        "arithmetic": "float32",
        "judged": "float32",
    }
    state = chosen.attack(HASHER).init(
        KNOWN, example("text", 0, "float32"), target(0, items=40), jax.random.key(0)
    )
    assert state.perturbation.shape == (WORDS,)


@pytest.mark.parametrize(
    ("given", "named"),
    [({"keep": 0.0}, "keep"), ({"keep": 1.5}, "keep"), ({"budget": 0}, "iterations")],
)
def test_refuses_what_is_out_of_range(given, named):
    with pytest.raises(InputError, match=named):
        reliable(HASHER, **given)
