"""The cached Transformer decoder against the same network written out over whole sentences."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image
from helpers.tiny_transformer import (
    logits,
    tiny_network,
    tiny_transformer,
    tiny_transformer_parameters,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.captions.captioner import teacher_forced_logits
from jaxadv.errors import InputError
from jaxadv.victims import check
from jaxadv.victims.architectures import PUBLISHED, CaptionerArchitecture

WORDS, LENGTH = 4, 6
VICTIM = tiny_transformer(WORDS, LENGTH, layers=2)
two_layers = partial(tiny_transformer_parameters, WORDS, layers=2)
CAPTIONS = st.lists(st.integers(0, WORDS), min_size=LENGTH, max_size=LENGTH)


@jax.jit
def cached(params, image, tokens):
    return teacher_forced_logits(VICTIM, params, VICTIM.encode(params, image), tokens)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("float64", 1e-10)])
def test_cached_equals_uncached(dtype, atol):
    """Scores at every place, of captions as long as there is room for, in both precisions."""
    with jax.enable_x64(dtype == "float64"):
        for seed in range(5):
            params = two_layers(seed, dtype)
            image = tiny_image(seed, dtype)
            tokens = np.random.default_rng(seed).integers(0, WORDS + 1, LENGTH).astype(np.int32)
            found = cached(params, image, jnp.asarray(tokens))
            assert found.dtype == dtype
            literal = jax.tree.map(partial(np.asarray, dtype=np.float64), (params, image))
            expected = logits(literal[0], literal[1] - 0.5, list(tokens[:-1]))
            np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@settings(max_examples=25, deadline=None)
@given(CAPTIONS, st.integers(0, LENGTH - 2), st.integers(1, WORDS))
def test_causality(tokens, place, shift):
    """Another word changes what is scored after it, at every place, and nothing before."""
    params, image = two_layers(dtype="float32"), tiny_image(0, "float32")
    others = list(tokens)
    others[place] = (tokens[place] + shift) % (WORDS + 1)
    one, other = (np.asarray(cached(params, image, jnp.asarray(t))) for t in (tokens, others))
    np.testing.assert_array_equal(one[: place + 1], other[: place + 1])
    assert (np.abs(one - other)[place + 1 :].max(axis=1) > 1e-4).all()


def test_what_is_to_come_is_not_read():
    """Whatever the cache holds at later places, the scores are the same, and it is written over."""
    params = two_layers(dtype="float32")
    features = VICTIM.encode(params, tiny_image(0, "float32"))
    state = jax.jit(VICTIM.begin)(params, features)
    advance = jax.jit(partial(VICTIM.advance, params, features))
    assert state.words.keys.shape == (2, LENGTH + 1, 2, 4)
    assert state.position.dtype == jnp.int32 and state.position == 1
    spoilt = state._replace(words=jax.tree.map(lambda x: x.at[:, 1:].set(1e3), state.words))
    for token in (1, 3):
        state, spoilt = (advance(s, jnp.asarray(token)) for s in (state, spoilt))
        np.testing.assert_array_equal(*(VICTIM.logits(params, s) for s in (state, spoilt)))
    np.testing.assert_array_equal(state.words.keys[:, :3], spoilt.words.keys[:, :3])
    assert (state.words.keys[:, 3:] == 0).all() and (spoilt.words.keys[:, 3:] == 1e3).all()


def test_order_of_words_and_place_of_cells_matter():
    """Attention alone sees sets; the encodings say which word came first and where a cell lies."""
    params, image = two_layers(dtype="float32"), tiny_image(0, "float32")
    here, there = (cached(params, image, jnp.asarray(t)) for t in ([1, 2, 3] * 2, [2, 1, 3] * 2))
    assert np.abs(here[2] - there[2]).max() > 1e-3
    tokens = jnp.asarray([1, 2, 3] * 2)
    for turned in (image[::-1], image[:, ::-1], image.swapaxes(0, 1)):
        assert np.abs(cached(params, turned, tokens) - cached(params, image, tokens)).max() > 1e-3


def test_dropout_is_one_mask_a_caption_and_off_outside_training():
    params, image = two_layers(dtype="float32"), tiny_image(0, "float32")
    net = tiny_network(WORDS, LENGTH, 2, dropout=0.5)
    memory = net.apply(params, image - 0.5, method="prepare")
    still = net.apply(params, memory, method="begin")
    np.testing.assert_allclose(still.last, VICTIM.begin(params, memory).last, rtol=1e-6)
    begin = partial(net.clone(training=True).apply, params, memory, method="begin")
    first, again, other = (begin(rngs={"dropout": jax.random.key(k)}).last for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_units_are_parted_among_heads():
    architecture = CaptionerArchitecture("transformer", "resnet-small", units=20, side=16)
    with pytest.raises(InputError, match="units 20: a Transformer's must be a multiple of 8"):
        architecture.variables(5)


def test_conformance():
    """`jaxadv.victims.check` finds nothing."""
    small = tiny_transformer(WORDS, 2)
    assert check(small, tiny_transformer_parameters(WORDS, dtype="float32")) == []


@pytest.mark.slow
def test_the_published_one_over_a_vision_transformer_on_a_small_picture():
    """Its scores are finite and differ; the cache is as long as asked. As published: test_zoo."""
    architecture = dataclasses.replace(
        PUBLISHED["transformer-vit-b16"], units=16, side=32, max_length=3
    )
    victim = architecture.captioner(VICTIM.vocabulary)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.1, x.shape), x.dtype),
        architecture.variables(VICTIM.vocabulary.size),
    )

    @jax.jit
    def begin(image):
        state = victim.begin(params, victim.encode(params, image))
        return state, victim.logits(params, state)

    state, scores = begin(jnp.full(victim.image_shape, 0.5))
    assert state.words.values.shape == (6, 4, 8, 2)
    assert np.isfinite(scores).all() and np.ptp(scores) > 0
