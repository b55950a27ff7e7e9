"""Expectation over transformations: the mean it says, its draws, and what survives JPEG."""

import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers.attack_table import PARAMETERS, VICTIM, targets_of
from helpers.tiny import tiny_image
from PIL import Image

from jaxadv.captions.gem import objective as gem_objective
from jaxadv.core.attack import Appraisal, Objective, descend
from jaxadv.core.constraints import clip
from jaxadv.core.expectation import over_transformations
from jaxadv.core.jpeg import jpeg
from jaxadv.core.run import run
from jaxadv.core.transformations import noise
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.judging import label_judge
from jaxadv.labels.ml_cw_u import objective as ml_cw_u_objective
from jaxadv.labels.target import LabelTarget, leaves_top

DRAWS, SIDE, LABELS, COUNT = 3, 16, 6, 16


def counted(params, image, adversarial, target, latent):
    """A loss of both pictures, a latent that counts and a success that depends on the draw."""
    loss = jnp.sum(adversarial**2) + 10 * jnp.sum((adversarial - image) ** 2)
    above = adversarial[0, 0, 0] > 0.5
    return loss, Appraisal(latent + 1, above, {"above": above.astype(jnp.float32)})


STUB = Objective(init=lambda params, image, target, key: jnp.zeros(()), loss=counted)


def test_it_is_the_mean_over_its_draws():
    """Of the loss, of its gradient, of the reports; success is that of all draws."""
    transformation = noise(0.3)
    many = over_transformations(STUB, transformation, draws=DRAWS)
    image, adversarial = jnp.full((2, 2, 3), 0.5), jnp.full((2, 2, 3), 0.6)
    latent = many.init({}, image, (), jax.random.key(4))
    call = jax.jit(jax.value_and_grad(many.loss, argnums=2, has_aux=True))

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def alone(x, key):
        return counted({}, transformation(key, image), transformation(key, x), (), 0.0)

    successes = []
    for step in range(4):
        keys = jax.random.split(jax.random.fold_in(latent.key, step), DRAWS)
        each = [alone(adversarial, key) for key in keys]
        (value, found), gradient = call({}, image, adversarial, (), latent)
        np.testing.assert_allclose(value, np.mean([v for (v, _), _ in each]), rtol=1e-5)
        np.testing.assert_allclose(gradient, np.mean([g for _, g in each], axis=0), rtol=1e-4)
        share = np.mean([float(a.success) for (_, a), _ in each])
        np.testing.assert_allclose(found.reports["survived"], share, rtol=1e-6)
        np.testing.assert_allclose(found.reports["above"], share, rtol=1e-6)
        assert bool(found.success) == (share == 1)
        successes.append(share)
        latent = found.latent
        assert (int(latent.step), int(latent.inner)) == (step + 1, step + 1)
    assert len(set(successes)) > 1, "each step draws again"


def _logits(params, image):
    return params["say"] @ jnp.tanh(params["see"] @ (image.reshape(-1) - 0.5))


TAGGER = MultiLabelClassifier(_logits, tuple(map(str, range(LABELS))), (SIDE, SIDE, 3))


def tagger_parameters():
    rng = np.random.default_rng(0)
    see, say = rng.normal(0, 0.05, (8, SIDE * SIDE * 3)), rng.normal(0, 1, (LABELS, 8))
    return {"see": jnp.asarray(see, jnp.float32), "say": jnp.asarray(say, jnp.float32)}


def smooth_pictures():
    """Such as JPEG leaves much of."""
    small = np.random.default_rng(1).uniform(40, 215, (COUNT, 4, 4, 3)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(x).resize((SIDE, SIDE))) for x in small]
    return jnp.asarray(np.stack(large) / 255, jnp.float32)


def problem():
    """Pictures whose best label shall leave the first two."""
    params, images = tagger_parameters(), smooth_pictures()
    rank = jnp.argsort(-jax.vmap(TAGGER.logits, in_axes=(None, 0))(params, images))
    marked = jax.vmap(lambda row: jnp.zeros(LABELS, bool).at[row].set(True))
    return params, images, LabelTarget(marked(rank[:, :3]), marked(rank[:, :1]), jnp.full(COUNT, 2))


def attack_on(objective):
    optimiser = optax.adam(0.005)
    return descend(
        objective, label_judge(TAGGER), constraint=clip(), optimiser=optimiser, stop_at_success=True
    )


def saved_as_jpeg(image, quality):
    """What a user gets who saves and reads the picture with Pillow."""
    file = io.BytesIO()
    pixels = np.round(255 * np.asarray(image)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(np.float32) / 255


def survivors(attack, params, images, targets, qualities=(50, 70, 90)):
    """How many found pictures fool, and how many of them still do as JPEG files."""
    result = run(attack, params, images, targets, iterations=100)
    files = np.stack([[saved_as_jpeg(x, q) for x in result.best.image] for q in qualities])
    judge = jax.vmap(lambda x, t: leaves_top(t, TAGGER.scores(params, x)))
    survived = [judge(files[i], targets) for i in range(len(qualities))]
    return int(result.best.success.sum()), float(np.mean(survived)), result


def test_what_it_finds_survives_jpeg():
    """Real JPEG files fool more often if the attack reckoned with them."""
    params, images, targets = problem()
    plain = ml_cw_u_objective(TAGGER)
    found, without, _ = survivors(attack_on(plain), params, images, targets)
    assert found == COUNT
    robust = over_transformations(plain, jpeg(50, 90), draws=DRAWS)
    found, with_it, _ = survivors(attack_on(robust), params, images, targets)
    assert found >= COUNT - 1
    assert with_it > without + 0.2


def test_draws_follow_the_id():
    """Not the place in the batch."""
    params, images, targets = problem()
    attack = attack_on(over_transformations(ml_cw_u_objective(TAGGER), noise(0.1), draws=2))
    whole = run(attack, params, images, targets, iterations=10)
    order = np.arange(COUNT)[::-1]
    turned = jax.tree.map(lambda x: x[order], (images, targets))
    same = run(attack, params, *turned, iterations=10, ids=jnp.asarray(order))
    np.testing.assert_allclose(same.losses, whole.losses[order], rtol=1e-3, atol=1e-5)
    other = run(attack, params, *turned, iterations=10)
    assert not np.allclose(other.losses, whole.losses[order], rtol=1e-3, atol=1e-5)


def test_gems_objective_fits():
    """Whatever latent quantities an objective has, they keep their shapes."""
    wrapped = over_transformations(gem_objective(VICTIM, lanes=9), noise(0.1), draws=2)
    image = tiny_image(0, "float32")
    target = jax.tree.map(lambda x: x[0], targets_of("partial", 1))
    latent = wrapped.init(PARAMETERS, image, target, jax.random.key(0))
    value, found = jax.eval_shape(wrapped.loss, PARAMETERS, image, image, target, latent)
    assert value.shape == ()
    assert jax.tree.structure(found.latent) == jax.tree.structure(latent)
    assert set(found.reports) == {"log_likelihood", "survived"}
