"""The smallest perturbation whose saved picture fools the victim, whatever the family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import label_table, tiny_hasher
from helpers.tiny import batch_of, tiny_captioner, tiny_image, tiny_parameters
from helpers.tiny_tagger import TAGGER

from jaxadv.captions.captioner import greedy
from jaxadv.captions.criteria import says_target
from jaxadv.captions.gem import objective as gem_objective
from jaxadv.captions.judging import caption_judge
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.core import minimal as module
from jaxadv.core.attack import Appraisal, Attack, Objective, Status, Verdict
from jaxadv.core.constraints import clip
from jaxadv.core.minimal import adam_directions, minimal, normed_directions, saved
from jaxadv.core.run import run, unroll
from jaxadv.data.images import round_8bit
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import HashTarget, Weights, hash_judge
from jaxadv.hashing.cmla import objective as cmla_objective
from jaxadv.labels.judging import label_judge
from jaxadv.labels.tkmia import objective as tkmia_objective

STEPS, COUNT = 60, 6


def of_labels():
    objective = tkmia_objective(TAGGER, tradeoff=0.0)
    attack = minimal(objective, label_judge(TAGGER), iterations=STEPS)
    images, targets = label_table.pictures(COUNT), label_table.targets(COUNT)
    return attack, objective, label_table.PARAMETERS, images, targets


def of_hashes(modality="image"):
    weights = Weights(distortion=0.0)
    objective = cmla_objective(tiny_hasher.HASHER, modality, weights=weights)
    attack = minimal(objective, hash_judge(tiny_hasher.HASHER, modality), iterations=STEPS)
    known = tiny_hasher.known(dtype="float32")
    examples = batch_of(lambda seed: tiny_hasher.example(modality, seed, "float32"), COUNT)
    codes = jax.vmap(tiny_hasher.CODE_OF[modality], in_axes=(None, 0))(known.params, examples)
    theirs = known.text_codes if modality == "image" else known.image_codes
    near = jnp.sign(codes) @ jnp.sign(theirs).T
    wanted = near < near.max(axis=1, keepdims=True)  # all but what it finds first
    return attack, objective, known, examples, HashTarget(~wanted, wanted)


def of_captions():
    victim, params = tiny_captioner(), tiny_parameters(dtype="float32")
    objective = gem_objective(victim, tradeoff=0.0, posterior="joint", top=1, lanes=1)
    attack = minimal(objective, caption_judge(victim, says_target), iterations=STEPS)

    def target(number):
        other = tiny_image(100 + number, dtype="float32")
        said = greedy(victim, params, victim.encode(params, other)).tokens
        return make_target([int(t) for t in said if t], victim.max_length)

    images = batch_of(lambda seed: tiny_image(seed, dtype="float32"), COUNT)
    return attack, objective, params, images, stack_targets([target(i) for i in range(COUNT)])


FAMILIES = {"labels": of_labels, "hashing": of_hashes, "captions": of_captions}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_picture_fools_the_victim(family):
    attack, _, params, images, targets = FAMILIES[family]()
    result = run(attack, params, images, targets, iterations=STEPS)
    best = result.best
    assert best.success_8bit.mean() > 0.8
    np.testing.assert_array_equal(best.success, best.success_8bit)
    for iterate in (best, result.final):
        np.testing.assert_allclose(iterate.image, round_8bit(iterate.image), atol=1e-6)


@pytest.mark.parametrize("family", ["labels", "hashing"])
def test_the_norm_only_falls_after_the_first_success(family):
    attack, _, params, images, targets = FAMILIES[family]()
    go = jax.jit(jax.vmap(lambda x, t: unroll(attack, params, x, t, iterations=STEPS)))
    state, info = go(images, targets)
    shrunk = []
    for row in np.flatnonzero(info.success.any(axis=1)):
        norms = np.asarray(info.norm[row])
        succeeded = np.asarray(info.success[row])
        first = norms[np.argmax(succeeded)]
        np.testing.assert_allclose(state.best_norm[row], norms[succeeded].min(), rtol=1e-6)
        assert state.best_norm[row] <= first
        np.testing.assert_allclose(
            jnp.linalg.norm(state.best[row].ravel()), state.best_norm[row], rtol=1e-5
        )
        target = jax.tree.map(lambda x, row=row: x[row], targets)
        assert attack.judge(params, round_8bit(images[row] + state.best[row]), target).success
        shrunk.append(state.best_norm[row] / first)
    assert len(shrunk) > 0.8 * COUNT and np.mean(shrunk) < 0.9


def linear(bound):
    """Fooled where the mean of the picture is at least `bound`: the least perturbation is known."""

    def loss(params, image, adversarial, target, latent):
        mean = adversarial.mean()
        return -mean, Appraisal(latent, mean >= bound, {})

    def judge(params, image, target):
        return Verdict(image.mean() >= bound, image.mean())

    return Objective(lambda params, image, target, key: (), loss), judge


def test_it_finds_the_nearest_point_of_a_plane():
    objective, judge = linear(0.5985)  # between two values of a pixel of 8 bits
    attack = minimal(objective, judge, iterations=200)
    image = jnp.full((1, 24, 24, 3), 0.5)
    result = run(attack, jnp.zeros(()), image, jnp.zeros(1), iterations=200)
    least = 0.0985 * np.sqrt(image.size)
    assert least <= result.best.norm[0] <= least * 1.03


def test_directions_have_a_norm_of_about_one():
    """Whatever the gradient's size: after many steps along the same one, and never more before."""
    gradient = 1e-3 * jnp.arange(1.0, 13.0).reshape(2, 2, 3)
    for directions in (adam_directions(), normed_directions()):
        state, norms = directions.init(gradient), []
        for _ in range(60):
            direction, state = directions.update(gradient, state)
            norms.append(float(jnp.linalg.norm(direction.ravel())))
        assert 0.99 < norms[-1] <= max(norms) < 1.01
    along = gradient / jnp.linalg.norm(gradient.ravel())
    np.testing.assert_allclose(direction, along, rtol=5e-3)
    still, _ = directions.update(jnp.zeros_like(gradient), directions.init(gradient))
    np.testing.assert_array_equal(still, 0.0)


def uneven(bound):
    """As `linear`, but a tenth of the pixels count ten times as much as the others."""
    weights = jnp.where(jnp.arange(24 * 24 * 3).reshape(24, 24, 3) % 10 == 0, 10.0, 1.0)

    def loss(params, image, adversarial, target, latent):
        value = (weights * adversarial).mean()
        return -value, Appraisal(latent, value >= bound, {})

    def judge(params, image, target):
        value = (weights * image).mean()
        return Verdict(value >= bound, value)

    objective = Objective(lambda params, image, target, key: (), loss)
    return objective, judge, (bound - 0.5 * weights.mean()) * weights.size / l2(weights)


def l2(x):
    return float(jnp.linalg.norm(x.ravel()))


def test_normed_directions_find_the_nearest_point_where_pixels_differ():
    """No picture beyond the plane is nearer; rounding to 1/255 moves a pixel, of which the least
    moves by 0.02, by less than a tenth of that on average.
    """
    objective, judge, least = uneven(1.2)
    attack = minimal(objective, judge, iterations=100, directions=normed_directions())
    image = jnp.full((1, 24, 24, 3), 0.5)
    result = run(attack, jnp.zeros(()), image, jnp.zeros(1), iterations=100)
    assert least * (1 - 1e-4) <= result.best.norm[0] <= least * 1.02


def test_nothing_of_a_text_is_rounded():
    attack, _, known, examples, targets = of_hashes("text")
    assert isinstance(attack, Attack)
    result = run(attack, known, examples, targets, iterations=STEPS)
    best = result.best
    assert best.success.mean() > 0.5
    assert abs(best.image - round_8bit(best.image)).max() > 1e-4


def test_rounding_has_the_gradient_of_the_picture():
    picture = jnp.linspace(0, 1, 12).reshape(2, 2, 3)
    np.testing.assert_array_equal(saved(picture), round_8bit(picture))
    np.testing.assert_array_equal(jax.grad(lambda x: (3 * saved(x)).sum())(picture), 3.0)


def test_it_can_be_differentiated():
    attack, objective, params, images, targets = of_labels()
    image, target = images[0], jax.tree.map(lambda x: x[0], targets)

    @jax.jit
    @jax.grad
    def slope(params):
        state, _ = unroll(attack, params, image, target, iterations=5)
        adversarial = clip().picture(state.variable, image)
        return objective.loss(params, image, adversarial, target, ())[0]

    leaves = jax.tree.leaves(slope(params))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert any(abs(leaf).max() > 0 for leaf in leaves)


def test_what_is_not_finite_is_not_taken():
    objective, judge = linear(2.0)
    nowhere = jnp.zeros((), bool)

    def loss(params, image, adversarial, target, latent):
        return adversarial.mean() * jnp.nan, Appraisal(latent, nowhere, {})

    broken = objective._replace(loss=loss)
    result = run(
        minimal(broken, judge, iterations=3),
        jnp.zeros(()),
        jnp.full((1, 2, 2, 3), 0.5),
        jnp.zeros(1),
        iterations=3,
    )
    assert result.status[0] == Status.DIVERGED and not result.best.success[0]


def test_arguments_are_checked():
    objective, judge = linear(0.6)
    with pytest.raises(InputError, match="iterations"):
        minimal(objective, judge, iterations=0)
    with pytest.raises(InputError, match="objective"):
        minimal(judge, judge, iterations=3)
    with pytest.raises(InputError, match="directions"):
        minimal(objective, judge, iterations=3, directions="adam")


def test_moves_and_balls_shrink():
    assert module.STEP > module.LAST_STEP and 0 < module.LAST_SHRINK < module.SHRINK < 1
