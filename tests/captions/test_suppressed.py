"""A word that no caption contains: decoding, E steps and attacks against enumeration without it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters

from jaxadv.captions.captioner import (
    beam,
    caption_log_probability,
    greedy,
    log_probabilities,
    with_unknown_words,
)
from jaxadv.captions.gem import gem
from jaxadv.captions.marginal import marginal
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import complete, loss_augmented_inference, ssvm
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.run import run
from jaxadv.training.self_critical import sample
from jaxadv.vocabulary import Vocabulary

UNK = 2
VOCABULARY = Vocabulary(("a", "UNK", "cat", "dog"))
VICTIM = tiny_captioner()._replace(vocabulary=VOCABULARY)
LENGTH = VICTIM.max_length
TARGET = make_target([1, 3, 4], LENGTH, latent={1})


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@functools.cache
def e_step(posterior):
    return jax.jit(lambda p, f: marginal(VICTIM, p, f, TARGET, posterior=posterior, top=3))


wide_beam = jax.jit(functools.partial(beam, VICTIM, size=3))
likelihoods = jax.jit(jax.vmap(functools.partial(caption_log_probability, VICTIM), (None, None, 0)))
samples = jax.jit(jax.vmap(lambda p, f, key: sample(VICTIM, p, f, key).tokens, (None, None, 0)))


def params_that_say_it(seed):
    """Parameters of a victim that says UNK nearly everywhere."""
    params = tiny_parameters(seed=seed)
    loud = jnp.abs(params["say"][UNK]) + 1.0
    return {**params, "say": params["say"].at[UNK].set(loud), "embed": jnp.abs(params["embed"])}


def every_caption():
    """Every caption without UNK as rows of `LENGTH` places."""
    words = (1, 3, 4)
    for length in range(LENGTH + 1):
        for caption in itertools.product(words, repeat=length):
            yield (*caption, *(0,) * (LENGTH - length))


@pytest.fixture(params=range(3))
def case(request):
    params = params_that_say_it(request.param)
    return params, VICTIM.encode(params, tiny_image(request.param))


def test_the_victim_would_say_it(case):
    said = greedy(with_unknown_words(VICTIM), *case).tokens
    assert UNK in said.tolist()


def test_greedy_takes_the_likeliest_other_word(case):
    found = greedy(VICTIM, *case)
    state = VICTIM.begin(*case)
    expected, total = [], 0.0
    for _ in range(LENGTH):
        scores = np.asarray(jax.nn.log_softmax(VICTIM.logits(case[0], state)))
        word = max((w for w in range(5) if w != UNK), key=lambda w: scores[w])
        expected.append(word)
        total += scores[word]
        if word == 0:
            break
        state = VICTIM.advance(*case, state, jnp.asarray(word))
    assert found.tokens.tolist() == expected + [0] * (LENGTH - len(expected))
    assert float(found.log_probability) == pytest.approx(total, abs=1e-10)  # the victim's own P


def test_a_wide_beam_finds_the_best_captions_without_it(case):
    captions = np.array(list(every_caption()))
    likely = likelihoods(*case, jnp.asarray(captions))
    found = wide_beam(*case)
    assert UNK not in np.asarray(found.tokens)
    assert float(found.log_probability[0]) <= float(likely.max()) + 1e-10
    for tokens, log_p in zip(found.tokens, found.log_probability, strict=True):
        row = np.flatnonzero((captions == np.asarray(tokens)).all(axis=1))
        assert float(likely[row[0]]) == pytest.approx(float(log_p), abs=1e-10)
    with pytest.raises(ValueError, match="from 1 to 3"):
        beam(VICTIM, *case, size=4)


def test_samples_do_not_contain_it(case):
    keys = jax.random.split(jax.random.key(0), 50)
    said = samples(*case, keys)
    assert UNK not in np.asarray(said) and len(np.unique(said, axis=0)) > 1


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
def test_the_e_step_weighs_the_other_words(case, posterior):
    found = e_step(posterior)(*case)
    used = np.asarray(found.weights) > 0
    words = np.asarray(found.configurations)[used, 1]
    assert sorted(words.tolist()) == [1, 3, 4] and UNK not in found.said
    seen = (1,) if posterior == "factorised" else range(LENGTH)  # places whose ln P counts in q
    likely = []
    for word in words:
        caption = jnp.array([1, word, 4, 0])
        log_p = log_probabilities(VICTIM, *case, caption)
        likely.append(sum(float(log_p[place, caption[place]]) for place in seen))
    q = np.exp(likely) / np.exp(likely).sum()
    np.testing.assert_allclose(np.asarray(found.weights)[used], q, atol=1e-10)


def test_ssvm_infers_other_words(case):
    assert complete(VICTIM, *case, TARGET)[1] != UNK
    assert complete(with_unknown_words(VICTIM), *case, TARGET)[1] == UNK
    worst = loss_augmented_inference(VICTIM, *case, TARGET, 1.0)
    assert UNK not in worst.tokens
    assert UNK in loss_augmented_inference(with_unknown_words(VICTIM), *case, TARGET, 1.0).tokens


ATTACKS = {
    "gem": gem,
    "gem, joint": lambda v: gem(v, posterior="joint"),
    "ssvm": ssvm,
    "show-and-fool": lambda v: show_and_fool(v, iterations=5),
    "untargeted": untargeted,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_reports_it(name):
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params_that_say_it(0))
    target = make_target([1, 3, 4], LENGTH)
    images = jnp.stack([tiny_image(s, np.float32) for s in range(3)])
    result = run(ATTACKS[name](VICTIM), params, images, stack_targets([target] * 3), iterations=5)
    for iterate in (result.final, result.best):
        assert UNK not in np.asarray([iterate.output, iterate.output_8bit])


def test_a_margin_does_not_wait_for_a_word_that_is_never_said():
    """Show-and-Fool stops pushing once the target leads all words that can be said."""
    params = params_that_say_it(0)
    image = tiny_image(0)
    said = greedy(VICTIM, params, VICTIM.encode(params, image)).tokens
    length = int((said != 0).sum())
    target = make_target(said[:length].tolist(), LENGTH)
    targets = stack_targets([target])

    def moved(victim):
        attack = show_and_fool(victim, margin=0.0, iterations=5)
        return float(run(attack, params, image[None], targets, iterations=3).final.norm[0])

    # the tanh box alone moves a picture by its rounding
    assert moved(VICTIM) < 0.01 < moved(with_unknown_words(VICTIM))
