"""JPEG and resizing beside Pillow's, and their gradients."""

import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxadv.core import jpeg
from jaxadv.core.jpeg import compressed
from jaxadv.core.transformations import in_turn, noise, resizing
from jaxadv.data import scenes
from jaxadv.data.resampling import resample

COMPRESSED = jax.jit(compressed)


def scene(height=50, width=41):
    """A picture of 8-bit values whose sides are no multiples of 16."""
    picture = scenes.example(seed=1, index=0).picture[:height, :width]
    return np.round(255 * picture).astype(np.uint8)


def pillow_jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(np.float64)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
def test_jpeg_is_nearly_pillows(quality):
    """What differs is a fraction of what JPEG changes, and mostly one level of 255."""
    pixels = scene()
    real = pillow_jpeg(pixels, quality)
    ours = 255 * np.asarray(COMPRESSED(jnp.asarray(pixels / 255, jnp.float32), quality))
    gap, change = np.abs(ours - real), np.abs(pixels - real)
    assert gap.mean() < 0.6
    assert gap.mean() < 0.3 * change.mean()
    assert (gap <= 1.001).mean() > 0.8


def test_jpeg_keeps_what_is_plain():
    plain = jnp.full((8, 24, 3), 102 / 255)
    np.testing.assert_allclose(COMPRESSED(plain, 90), plain, atol=1.01 / 255)


def test_rounding_lets_the_gradient_pass(monkeypatch):
    """It is the gradient of the codec without rounding, where nothing is clipped."""
    image = 0.4 + 0.2 * jax.random.uniform(jax.random.key(0), (16, 16, 3))
    weights = jax.random.normal(jax.random.key(1), image.shape)
    through = jax.jit(jax.grad(lambda x: jnp.vdot(weights, compressed(x, 60))))(image)
    monkeypatch.setattr(jpeg, "_round", lambda x: x)
    smooth = jax.jit(jax.grad(lambda x: jnp.vdot(weights, compressed(x, 60))))(image)
    assert np.abs(smooth).max() > 0.1
    np.testing.assert_allclose(through, smooth, atol=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.77, 1.0])
def test_resizing_is_there_and_back(share):
    """As the resizing that reads pictures, which agrees with Pillow's."""
    image = scene(20, 30).astype(np.float32) / 255
    small = resample(image, (round(share * 20), round(share * 30)))
    back = resample(small, (20, 30))
    ours = jax.jit(resizing(share, share))(jax.random.key(0), jnp.asarray(image))
    np.testing.assert_allclose(ours, back, atol=1e-5)


def test_noise_has_its_deviation():
    image = jnp.full((40, 40, 3), 0.5)
    drawn = np.asarray(jax.jit(noise(0.1))(jax.random.key(0), image)) - 0.5
    assert 0.095 < drawn.std() < 0.105
    assert abs(drawn.mean()) < 0.005
    bright = np.asarray(jax.jit(noise(0.1))(jax.random.key(0), jnp.ones_like(image)))
    assert bright.max() == 1 and bright.min() < 1


def test_in_turn_draws_apart():
    """The same noise twice would have twice the deviation, not its root 2."""
    image = jnp.full((40, 40, 3), 0.5)
    twice = jax.jit(in_turn(noise(0.05), noise(0.05)))
    drawn = np.asarray(twice(jax.random.key(0), image)) - 0.5
    assert 0.067 < drawn.std() < 0.075


def test_many_sizes_are_one_compilation():
    """What is drawn is data: a batch of pictures, each with a size and quality of its own."""
    both = in_turn(resizing(0.4, 0.9), jpeg.jpeg(30, 90))
    images = jnp.broadcast_to(jnp.asarray(scene(16, 16) / 255, jnp.float32), (5, 16, 16, 3))
    keys = jax.random.split(jax.random.key(0), 5)
    together = jax.jit(jax.vmap(both))(keys, images)
    assert len({picture.tobytes() for picture in np.asarray(together)}) == 5
    alone = jax.jit(partial(both, keys[3]))(images[3])
    assert (np.abs(together[3] - alone) < 1e-5).mean() > 0.99  # rounding may fall either way
