"""What a pass over the configurations says beside eqs. 2-10 (those: tests/captions)."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters
from helpers.tiny_transformer import tiny_transformer, tiny_transformer_parameters

from jaxadv.captions.captioner import greedy, log_probabilities
from jaxadv.captions.marginal import marginal
from jaxadv.captions.target import make_target, parse_target
from jaxadv.data import scenes
from jaxadv.victims import zoo


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
@pytest.mark.parametrize("latent", [(), (1,), (0, 2)])
def test_said_is_the_greedy_caption(posterior, latent, float64):
    """As far as the last observed place, for victims that end early and late."""
    victim = tiny_captioner(max_length=5)
    target = make_target([1, 2, 3], 5, set(latent))
    reach = int(target.reach)

    @jax.jit
    def both(params, image):
        features = victim.encode(params, image)
        found = marginal(victim, params, features, target, posterior=posterior)
        return found.said, greedy(victim, params, features).tokens

    lengths = set()
    for seed in range(12):
        said, spoken = both(tiny_parameters(seed=seed), tiny_image(seed))
        np.testing.assert_array_equal(said[:reach], spoken[:reach])
        lengths.add(int((spoken != 0).sum()))
    assert len(lengths) > 1


@pytest.mark.parametrize(
    ("make", "draw", "latent"),
    [
        *((tiny_captioner, tiny_parameters, latent) for latent in ((), (1,), (0, 2))),
        (tiny_transformer, tiny_transformer_parameters, (1,)),
    ],
)
def test_gradient_with_respect_to_the_victims_parameters(make, draw, latent, float64):
    """That of `ln sum_H P(S_O, S_H)` by enumeration, the readout's weights among them."""
    victim = make(max_length=4)
    words = victim.vocabulary.size - 1
    target = make_target([1, 2, 3], 4, set(latent))
    places = range(4)
    choices = [range(1, words + 1) if t in latent else [int(target.tokens[t])] for t in places]
    captions = jnp.asarray(list(itertools.product(*choices)))

    def enumerated(params):
        features = victim.encode(params, tiny_image())

        def one(tokens):
            scores = log_probabilities(victim, params, features, tokens)
            return jnp.take_along_axis(scores, tokens[:, None], axis=1).sum()

        return jax.nn.logsumexp(jax.vmap(one)(captions))

    def found(params):
        features = victim.encode(params, tiny_image())
        options = {"posterior": "joint", "top": words, "lanes": words ** max(1, len(latent))}
        return marginal(victim, params, features, target, **options).bound

    params = draw()
    expected, gradient = (jax.jit(jax.value_and_grad(f))(params) for f in (enumerated, found))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), gradient, expected)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient[1]):
        of_key = jax.tree_util.keystr(path).endswith("['key']['bias']")  # softmax cancels it
        assert of_key or np.abs(leaf).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "posterior"),
    [
        ("scenes-show-attend-tell", "factorised"),
        pytest.param("scenes-show-attend-tell", "joint", marks=pytest.mark.slow),
        pytest.param("scenes-scst", "factorised", marks=pytest.mark.slow),
        pytest.param("scenes-scst", "joint", marks=pytest.mark.slow),
        pytest.param("scenes-show-tell", "factorised", marks=pytest.mark.slow),
        pytest.param("scenes-transformer", "factorised", marks=pytest.mark.slow),
        pytest.param("scenes-transformer", "joint", marks=pytest.mark.slow),
    ],
)
def test_gradient_on_a_shipped_victim_leads_uphill(name, posterior):
    """In single precision over a batch: finite, and a small step along it gains likelihood."""
    loaded = zoo.load(name)
    victim, params = loaded.captioner, loaded.params
    text = "a red _ is above a blue square"
    target = parse_target(text, victim.vocabulary, victim.max_length)
    images = jnp.stack([jnp.asarray(scenes.example(1, i).picture) for i in range(2)])

    def bound(image):
        features = victim.encode(params, image)
        found = marginal(victim, params, features, target, posterior=posterior)
        return found.log_likelihood, found.bound

    @jax.jit
    @jax.vmap
    def step(image):
        gradient = jax.grad(lambda i: bound(i)[1])(image)
        moved = image + 1e-3 * gradient / jnp.linalg.norm(gradient)
        return gradient, bound(moved)[0] - bound(image)[0]

    gradient, gained = step(images)
    assert np.isfinite(gradient).all() and (np.abs(gradient).sum(axis=(1, 2, 3)) > 0).all()
    assert (gained > 0).all()
