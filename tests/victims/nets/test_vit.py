"""The Vision Transformer against its equations, written out in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxadv.victims.nets.vit import ViT, vit_b16

SMALL = ViT(patch=2, width=12, layers=2, heads=3)


def variables(image, seed=0, dtype=np.float64):
    """Every leaf at random, biases, scales, positions and the class token, too."""
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), image)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), dtype), shapes)


def pictures(*shape, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), dtype)


def norm(x, layer):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * layer["scale"] + layer["bias"]


def literal(net, image):
    """Eqs. 1 to 4, patch by patch, head by head."""
    side = SMALL.patch
    h, w = image.shape[0] // side, image.shape[1] // side
    patches = [
        image[i * side : (i + 1) * side, j * side : (j + 1) * side].reshape(-1)
        for i in range(h)
        for j in range(w)
    ]
    embed = net["embed"]
    tokens = [net["class_token"], *(p @ embed["kernel"] + embed["bias"] for p in patches)]
    z = np.stack(tokens) + net["positions"]
    for number in range(SMALL.layers):
        block = net[f"block{number}"]
        x, maps = norm(z, block["norm1"]), block["attention"]
        for head in range(SMALL.heads):
            q, k, v = (
                x @ maps[name]["kernel"][:, head] + maps[name]["bias"][head]
                for name in ("query", "key", "value")
            )
            weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
            weights /= weights.sum(axis=1, keepdims=True)
            z = z + weights @ v @ maps["out"]["kernel"][head]
        z = z + maps["out"]["bias"]
        wide = norm(z, block["norm2"]) @ block["widen"]["kernel"] + block["widen"]["bias"]
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        z = z + wide @ block["narrow"]["kernel"] + block["narrow"]["bias"]
    return norm(z, net["norm"])[1:].reshape(h, w, -1)


def test_equations(float64):
    """A picture that is not square, so that rows and columns cannot be mistaken."""
    image = pictures(6, 4, 3)
    params = variables(image)
    net, array = jax.tree.map(np.asarray, (params["params"], image))
    np.testing.assert_allclose(jax.jit(SMALL.apply)(params, image), literal(net, array), atol=1e-10)


def test_batch_axes_and_training_change_nothing():
    images = pictures(2, 3, 4, 4, 3, dtype=np.float32)
    params = variables(images[0, 0], dtype=np.float32)
    grids = jax.jit(partial(SMALL.apply, train=True))(params, images)
    assert grids.shape == (2, 3, 2, 2, 12)
    np.testing.assert_allclose(grids[1, 2], jax.jit(SMALL.apply)(params, images[1, 2]), atol=1e-5)


def test_size_of_the_published_one():
    """86,567,656 parameters as released, of which the classifier of 1,000 has 769,000."""
    tree = jax.eval_shape(vit_b16().init, jax.random.key(0), jnp.zeros((224, 224, 3)))
    assert sum(x.size for x in jax.tree.leaves(tree)) == 86_567_656 - 769_000


def test_sides_must_be_whole_patches():
    with pytest.raises(ValueError, match="5 x 4: its sides must be multiples of 2"):
        SMALL.init(jax.random.key(0), jnp.zeros((5, 4, 3)))
