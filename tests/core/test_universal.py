"""One perturbation for many pictures: it holds its budget and fools pictures it never saw."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny import batch_of, tiny_image
from helpers.tiny_tagger import LABELS, TAGGER, tagger_parameters

from jaxadv.core.universal import apply, fooled_by, universal
from jaxadv.labels.judging import label_judge
from jaxadv.labels.target import LabelTarget, is_valid, specify_global
from jaxadv.labels.tkmia import objective as tkmia_objective
from jaxadv.labels.tkml_ap_u import objective as tkml_ap_u_objective

PARAMETERS = tagger_parameters(4, dtype="float32")
K, BUDGET = 2, 1.5
OBJECTIVES = {"tkmia": tkmia_objective(TAGGER), "tkml-ap-u": tkml_ap_u_objective(TAGGER)}
JUDGE = label_judge(TAGGER)


def examples(first, count):
    """Pictures that have the commonest label among their first two: S is that label, globally."""
    images = batch_of(lambda i: tiny_image(first + i, dtype="float32"), count)
    order = jnp.argsort(-jax.vmap(TAGGER.scores, in_axes=(None, 0))(PARAMETERS, images))
    wanted = jnp.arange(LABELS) == LABEL
    relevant = (
        jnp.zeros((count, LABELS), bool).at[jnp.arange(count)[:, None], order[:, :4]].set(True)
    )
    targets = LabelTarget(
        relevant, jax.vmap(specify_global, in_axes=(0, None))(relevant, wanted), jnp.full(count, K)
    )
    rows = np.flatnonzero(is_valid(targets) & (order[:, :K] == LABEL).any(axis=1))
    return images[rows], jax.tree.map(lambda x: x[rows], targets)


def _commonest():
    images = batch_of(lambda i: tiny_image(i, dtype="float32"), 50)
    scores = jax.vmap(TAGGER.scores, in_axes=(None, 0))(PARAMETERS, images)
    return int(np.bincount(np.argmax(scores, axis=1)).argmax())


LABEL = _commonest()


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_perturbation_fools_unseen_pictures(name, norm):
    images, targets = examples(0, 120)
    unseen, their_targets = examples(1000, 120)
    assert len(images) > 40 and len(unseen) > 20
    budget = BUDGET if norm == "l2" else 0.25
    found = universal(
        OBJECTIVES[name], PARAMETERS, images, targets, budget=budget, norm=norm, batch=16
    )
    size = jnp.linalg.norm(found.perturbation) if norm == "l2" else abs(found.perturbation).max()
    assert 0 < size <= budget * (1 + 1e-5)

    def share(perturbation):
        return fooled_by(JUDGE, PARAMETERS, unseen, their_targets, perturbation).mean()

    still = jnp.zeros_like(found.perturbation)
    noise = jax.random.normal(jax.random.key(0), still.shape)
    noise = noise * jnp.linalg.norm(found.perturbation) / jnp.linalg.norm(noise)
    assert share(still) == 0
    assert share(found.perturbation) > max(0.5, 2 * share(noise))


def test_it_ends_when_enough_are_fooled():
    images, targets = examples(0, 120)
    found = universal(OBJECTIVES["tkmia"], PARAMETERS, images, targets, budget=3.0, enough=0.3)
    assert found.fooled >= 0.3 and found.epochs < 100
    short = universal(
        OBJECTIVES["tkmia"],
        PARAMETERS,
        images,
        targets,
        budget=3.0,
        epochs=1,
        optimiser=optax.sgd(1e-6),
    )
    assert short.epochs == 1


def test_it_is_the_mean_gradient_of_those_not_fooled():
    """One full-batch step of SGD, beside the gradients of the pictures one by one."""
    images, targets = examples(0, 30)
    objective = OBJECTIVES["tkmia"]
    found = universal(
        objective,
        PARAMETERS,
        images,
        targets,
        budget=9.0,
        epochs=1,
        batch=1000,
        optimiser=optax.sgd(0.1),
    )

    def loss(perturbation, image, target):
        return objective.loss(PARAMETERS, image, apply(perturbation, image), target, ())[0]

    still = jnp.zeros_like(images[0])
    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(still, images, targets)
    np.testing.assert_allclose(found.perturbation, -0.1 * gradients.mean(axis=0), atol=1e-6)
