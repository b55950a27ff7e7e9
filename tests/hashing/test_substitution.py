"""Word for word: against all texts of few words, within its bounds, in every driver."""

from functools import cache, partial
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_hasher, tiny_reader
from helpers.tiny_reader import LENGTH, READER, TOKENS
from helpers.traces import count_traces
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.core.attack import Status
from jaxadv.core.run import run, unroll
from jaxadv.core.stream import Request, stream
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import Known, Weights, cmla, hash_target, objective
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.hashing.substitution import (
    WordTarget,
    as_weights,
    estimates,
    permitted,
    substitute,
    substitution,
)
from jaxadv.victims.nets.clip import Clip, Siglip, from_config

KINDS = ("tokens", "bag")
BOTH = pytest.mark.parametrize("kind", KINDS)
SEEDS = pytest.mark.parametrize("seed", range(4))
VICTIM = {"tokens": READER, "bag": tiny_hasher.HASHER}
SIZE = {"tokens": TOKENS, "bag": tiny_hasher.WORDS}
# what may stand in: token 0 begins and ends texts
ALLOWED = {"tokens": np.arange(TOKENS) > 0, "bag": np.arange(tiny_hasher.WORDS) != 2}
ALL = TOKENS * LENGTH + tiny_hasher.WORDS**2
WITH_OTHERS = [seed for seed in range(20) if np.any(tiny_hasher.target(seed).wanted)]
MANY = 60  # as many texts as two substitutions come to, and more


def known_of(kind, seed=0):
    if kind == "tokens":
        return tiny_reader.known(seed)
    return tiny_hasher.known(seed, dtype="float32")


def text_of(kind, seed=0):
    """Tokens; or four words of ten."""
    if kind == "tokens":
        return tiny_reader.text(seed)
    bag = np.zeros(tiny_hasher.WORDS, np.float32)
    bag[np.random.default_rng([seed, 5]).choice(tiny_hasher.WORDS, 4, replace=False)] = 1
    return jnp.asarray(bag)


def target_of(kind, seed=0):
    """Of an example for which the context holds something that is not alike."""
    if kind == "tokens":
        return tiny_reader.target(seed)
    return tiny_hasher.target(WITH_OTHERS[seed % len(WITH_OTHERS)])


def texts_of(kind, count):
    return jnp.stack([text_of(kind, seed) for seed in range(count)])


def targets_of(kind, count):
    return tiny_hasher.stack(target_of(kind, seed) for seed in range(count))


@cache
def attack(kind, words=1, candidates=ALL, beam=1):
    return substitution(
        VICTIM[kind], words, allowed=ALLOWED[kind], candidates=candidates, beam=beam
    )


def neighbours(kind, text, words):
    """All texts of up to n substitutions, each written out."""
    allowed = np.flatnonzero(ALLOWED[kind])
    text = np.asarray(text)
    found = [text]
    if kind == "tokens":
        for where in combinations(np.flatnonzero(ALLOWED[kind][text]), words):
            for what in product(allowed, repeat=words):
                other = text.copy()
                other[list(where)] = what
                found.append(other)
    else:
        there = [i for i in np.flatnonzero(text) if i in allowed]
        absent = [i for i in np.flatnonzero(text == 0) if i in allowed]
        for some in range(1, words + 1):
            for go, come in product(combinations(there, some), combinations(absent, some)):
                other = text.copy()
                other[list(go)], other[list(come)] = 0, 1
                found.append(other)
    return jnp.asarray(np.unique(np.stack(found), axis=0))


@cache
def losses_of(kind):
    aim = objective(VICTIM[kind], "text", weights=Weights(distortion=0))

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0, None))
    def losses(known, text, target):
        return aim.loss(known, text, text, target, ())[0]

    return losses


def loss_of(kind, known, target):
    return lambda text: losses_of(kind)(known, text[None], target)[0]


def best_of(kind, known, texts, target):
    losses = losses_of(kind)(known, texts, target)
    return float(losses.min()), texts[losses.argmin()]


def replaced(kind, benign, text):
    """How many words of a text are replaced."""
    changed = np.asarray(benign) != np.asarray(text)
    return changed.sum(-1) // (1 if kind == "tokens" else 2)


@BOTH
@SEEDS
def test_the_first_step_is_the_best_substitution_there_is(kind, seed):
    known, text, target = known_of(kind, seed), text_of(kind, seed), target_of(kind, seed)
    result = run(attack(kind), known, text, target, iterations=1)
    least, found = best_of(kind, known, neighbours(kind, text, 1), target)
    assert float(loss_of(kind, known, target)(result.final.image)) == pytest.approx(least, rel=1e-5)
    np.testing.assert_array_equal(result.final.image, found)
    assert replaced(kind, text, found) == 1


@BOTH
@SEEDS
def test_with_a_wide_beam_two_steps_are_the_best_pair_there_is(kind, seed):
    known, text, target = known_of(kind, seed), text_of(kind, seed), target_of(kind, seed)
    made = attack(kind, 2, ALL, MANY)
    result = run(made, known, text, target, iterations=2)
    least, found = best_of(kind, known, neighbours(kind, text, 2), target)
    assert float(loss_of(kind, known, target)(result.final.image)) == pytest.approx(least, rel=1e-5)
    np.testing.assert_array_equal(result.final.image, found)


@BOTH
@SEEDS
def test_estimates_are_exact_where_the_loss_is_linear(kind, seed):
    """Of one candidate alone, then, the best one is found."""
    size = (LENGTH, TOKENS) if kind == "tokens" else (tiny_hasher.WORDS,)
    slope = jnp.asarray(np.random.default_rng(seed).normal(size=size), jnp.float32)
    text, all_words = text_of(kind, seed), jnp.ones(SIZE[kind], bool)

    def linear(text):
        return jnp.sum(slope * as_weights(text, SIZE[kind]))

    got = estimates(slope, text)
    places = jnp.ones(len(text), bool)
    fit = np.asarray(permitted(text, text, places, all_words, 1))
    assert fit.sum() == (LENGTH * (TOKENS - 1) if kind == "tokens" else 4 * 6)
    for place, word in zip(*fit.nonzero(), strict=True):
        other = substitute(text, jnp.asarray(place), jnp.asarray(word))
        assert replaced(kind, text, other) == 1
        assert float(got[place, word]) == pytest.approx(
            float(linear(other) - linear(text)), abs=1e-5
        )


def one_layer(seed=0):
    """A dual encoder of one matrix, whose loss is nearly linear: it looks at one faint item."""
    rng = np.random.default_rng(seed)
    params = {"embed": jnp.asarray(rng.normal(size=(TOKENS, 5)), jnp.float32)}
    victim = READER._replace(
        text_code=lambda params, text: jnp.sum(
            (text if text.ndim == 2 else jax.nn.one_hot(text, TOKENS)) @ params["embed"], axis=0
        ),
        logit_scale=lambda params: jnp.float32(1e-3),
    )
    codes = jnp.asarray(rng.normal(size=(1, 5)), jnp.float32)
    return (
        victim,
        Known(params, codes, codes),
        hash_target(jnp.ones(1, bool), jnp.zeros((1, 1), bool)),
    )


@SEEDS
def test_one_candidate_is_enough_where_the_encoder_is_linear_in_the_embeddings(seed):
    victim, known, target = one_layer(seed)
    made = substitution(victim, 1, allowed=np.ones(TOKENS, bool), candidates=1, intra=0.0)
    text, places = tiny_reader.text(seed), jnp.ones(LENGTH, bool)
    result = run(made, known, text, WordTarget(*target, places), iterations=1)
    agreements = known.params["embed"] @ known.image_codes[0]
    gains = agreements - agreements[text][:, None]  # the higher, the nearer what is wanted
    place, word = np.unravel_index(gains.argmax(), gains.shape)
    np.testing.assert_array_equal(result.final.image, text.at[place].set(int(word)))


@cache
def jitted(kind, words, candidates, beam):
    return jax.jit(partial(unroll, attack(kind, words, candidates, beam), iterations=4))


@BOTH
@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    sizes=st.sampled_from([(1, 7, 1), (3, 2, 3)]),
    bits=st.lists(st.booleans(), min_size=10, max_size=10),
)
def test_properties_of_every_step(kind, seed, sizes, bits):
    """At most n replaced; nothing masked or forbidden; no loss rises; bags keep their size.

    Also in the steps beyond the n-th.
    """
    known, text, target = known_of(kind, seed % 3), text_of(kind, seed), target_of(kind, seed)
    places = jnp.asarray(bits[: len(text)])
    aim = WordTarget(*target, places)
    state, info = jitted(kind, *sizes)(known, text, aim)
    assert (np.diff(info.loss) <= 0).all()
    loss = loss_of(kind, known, target)
    final = text + state.perturbation
    assert float(loss(final)) <= float(info.loss[0]) + 1e-5
    beam_texts = np.asarray(state.variable.texts)
    np.testing.assert_array_equal(beam_texts[0], final)
    rows = np.isfinite(state.variable.losses)
    for some in beam_texts[rows]:
        assert replaced(kind, text, some) <= sizes[0]
        if kind == "tokens":
            assert (some == text)[~np.asarray(places)].all()
            assert ALLOWED[kind][some[some != np.asarray(text)]].all()
        else:
            assert set(np.unique(some)) <= {0, 1} and some.sum() == text.sum()
            gone, came = np.asarray(text) > some, some > np.asarray(text)
            assert not gone[~np.asarray(places)].any() and ALLOWED[kind][came].all()
    assert len(np.unique(beam_texts[rows], axis=0)) == rows.sum()
    np.testing.assert_allclose(info.norm**2, np.round(np.asarray(info.norm) ** 2), atol=1e-5)


@BOTH
def test_a_batch_is_its_texts_one_by_one(kind):
    known, made = known_of(kind), attack(kind, 2, 5, 2)
    texts, targets = texts_of(kind, 5), targets_of(kind, 5)
    together = run(made, known, texts, targets, iterations=3)
    for row in range(5):
        one = jax.tree.map(lambda x, row=row: x[row], targets)
        alone = run(made, known, texts[row], one, iterations=3)
        np.testing.assert_array_equal(alone.final.image, together.final.image[row])
        np.testing.assert_allclose(alone.losses, together.losses[row], rtol=1e-5)
        assert alone.final.image.dtype == texts.dtype
        np.testing.assert_array_equal(alone.final.output, alone.final.output_8bit)
        assert float(alone.final.linf) in (0, 1)
        changes = np.sum(alone.final.image != texts[row])
        assert float(alone.final.norm) == pytest.approx(np.sqrt(changes))
    on_host = jax.tree.map(np.asarray, targets)
    requests = [
        Request(row, np.asarray(texts[row]), jax.tree.map(lambda x, row=row: x[row], on_host))
        for row in range(5)
    ]
    finished = stream(made, known, requests, iterations=3, slots=2, chunk=2)
    served = {done.id: done.result for done in finished}
    for row in range(5):
        np.testing.assert_array_equal(served[row].final.image, together.final.image[row])
        assert served[row].final.success == together.final.success[row]


@BOTH
def test_fools_with_the_fewest_words_and_stops_there(kind):
    known, texts, targets = known_of(kind), texts_of(kind, 12), targets_of(kind, 12)
    long = run(attack(kind, 4, 9), known, texts, targets, iterations=4)
    fooled, already = np.asarray(long.best.success), np.asarray(long.already)
    assert (fooled & ~already).any()
    stopping = substitution(
        VICTIM[kind], 4, allowed=ALLOWED[kind], candidates=9, stop_at_success=True
    )
    short = run(stopping, known, texts, targets, iterations=4)
    np.testing.assert_array_equal(short.best.success, fooled)
    stopped = np.asarray(short.status) == Status.FOOLED
    np.testing.assert_array_equal(short.final.image[stopped], long.best.image[stopped])
    assert (replaced(kind, texts, short.final.image) <= short.iterations).all()


@BOTH
def test_texts_and_targets_are_data(kind):
    """Other texts, targets and contexts compile nothing again."""
    made = attack(kind, 2, 3, 2)
    counted = made._replace(step=count_traces(made.step))
    for seed in range(3):
        run(counted, known_of(kind, seed), text_of(kind, seed), target_of(kind, seed), iterations=2)
    assert counted.step.traces == 1


def test_a_victim_without_finite_codes_stops_the_attack():
    broken = READER._replace(text_code=lambda p, x: jnp.nan * READER.text_code(p, x))
    made = substitution(broken, 2, allowed=ALLOWED["tokens"])
    text = text_of("tokens")
    result = run(made, known_of("tokens"), text, target_of("tokens"), iterations=2)
    assert result.status == Status.DIVERGED
    np.testing.assert_array_equal(result.final.image, text)


CLIP_WORDS, CLIP_LENGTH = 40, 6
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
TOWER = {**SIZES, "image_size": 8, "patch_size": 8}
TEXT = {**SIZES, "vocab_size": CLIP_WORDS, "max_position_embeddings": CLIP_LENGTH}
CONFIG = {
    "clip": {
        "model_type": "clip",
        "projection_dim": 12,
        "vision_config": {**TOWER, "model_type": "clip_vision_model", "projection_dim": 12},
        "text_config": {
            **TEXT,
            "model_type": "clip_text_model",
            "eos_token_id": CLIP_WORDS - 1,
            "projection_dim": 12,
        },
    },
    "siglip": {
        "model_type": "siglip",
        "vision_config": {**TOWER, "model_type": "siglip_vision_model"},
        "text_config": {**TEXT, "model_type": "siglip_text_model"},
    },
}


@cache
def encoder(name):
    """A network of Hugging Face's, tiny and random; begin, three words, end and padding."""
    size = from_config(CONFIG[name])
    net = (Clip if name == "clip" else Siglip)(size, (0.5,) * 3, (0.5,) * 3)
    tokens = jnp.asarray([0, 3, 9, 4, CLIP_WORDS - 1, 1], jnp.int32)
    image = jax.ShapeDtypeStruct((8, 8, 3), jnp.float32)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype),
        jax.eval_shape(net.init, jax.random.key(0), image, tokens),
    )
    bits = 12 if name == "clip" else 16
    victim = CrossModalHasher(
        partial(net.apply, method="image_embedding"),
        jax.jit(partial(net.apply, method="text_embedding")),
        bits,
        (8, 8, 3),
        (),
        ("a", "b"),
        lambda params: jnp.float32(10),
    )
    return victim, params, tokens


@pytest.mark.parametrize("name", CONFIG)
def test_networks_read_one_hot_weights_as_tokens(name):
    victim, params, tokens = encoder(name)
    of_tokens, of_weights = (
        victim.text_code(params, x) for x in (tokens, as_weights(tokens, CLIP_WORDS))
    )
    np.testing.assert_allclose(of_weights, of_tokens, atol=1e-5)


@pytest.mark.parametrize("name", CONFIG)
def test_words_of_a_published_network_give_way(name):
    """Begin, end and padding stay; the code leaves the pictures that are alike."""
    victim, params, tokens = encoder(name)
    code = victim.text_code(params, tokens)
    noise = jax.random.normal(jax.random.key(1), (8, len(code)))
    labels = jnp.arange(8)[:, None] % 2 == jnp.arange(2)
    near = jnp.where(labels[:, :1], code, -code) + 0.3 * noise
    known = Known(params, near, near)
    target = hash_target(labels[0], labels)
    words = (np.arange(CLIP_WORDS) > 2) & (np.arange(CLIP_WORDS) < CLIP_WORDS - 1)
    made = substitution(victim, 2, allowed=words, candidates=8, intra=0.0)
    result = run(made, known, tokens, target, iterations=2)
    assert result.losses[1] < result.losses[0]
    assert 1 <= np.sum(result.final.image != tokens) <= 2
    np.testing.assert_array_equal(result.final.image[jnp.array([0, 4, 5])], [0, CLIP_WORDS - 1, 1])
    alike = near @ result.final.output, near @ code
    assert alike[0][labels[:, 0]].mean() < alike[1][labels[:, 0]].mean()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (jnp.array([1, 2, 3, TOKENS], jnp.int32), r"tokens that are not in 0\.\.6"),
        (jnp.array([1, -2, 3, 4], jnp.int32), "tokens that are not in"),
        (jnp.zeros(LENGTH, jnp.int32), "no word of the text may give way"),
        (jnp.full(TOKENS, 0.5), "between 0 and 1"),
        (jnp.ones(TOKENS + 1), "must be a bag of 7 words"),
        (jnp.zeros(TOKENS), "no word of the text may give way"),
    ],
)
def test_what_holds_no_words_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        run(attack("tokens"), known_of("tokens"), text, target_of("tokens"), iterations=1)


def test_pictures_and_places_of_another_length_are_refused():
    known, target = known_of("tokens"), target_of("tokens")
    with pytest.raises(InputError, match=r"text of shape \(2, 2, 3\)"):
        run(attack("tokens"), known, jnp.zeros((2, 2, 3)), target, iterations=1)
    wrong = WordTarget(*target, jnp.ones(3, bool))
    with pytest.raises(InputError, match=r"target places: shape \(3,\); must be \(4,\)"):
        run(attack("tokens"), known, text_of("tokens"), wrong, iterations=1)


def test_attacks_on_weights_take_no_tokens():
    made = cmla(tiny_hasher.HASHER, "text")
    bag = jnp.asarray(text_of("bag"), jnp.int32)
    with pytest.raises(InputError, match="a text of int32: must be of floats"):
        run(made, known_of("bag"), bag, target_of("bag"), iterations=1)


def test_tokens_need_to_know_which_are_words():
    with pytest.raises(InputError, match="allowed None: must be given for"):
        substitution(READER, 1)
