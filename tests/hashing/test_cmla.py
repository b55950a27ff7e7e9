"""CMLA beside its NumPy transcription, within its bounds, and in every driver."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import cmla_equations as paper
from helpers.tiny_hasher import (
    BITS,
    CODE_OF,
    HASHER,
    ITEMS,
    context_labels,
    example,
    hasher_parameters,
    known,
    stack,
    target,
)
from helpers.traces import count_traces

from jaxadv.core.attack import default_optimiser
from jaxadv.core.run import run, unroll
from jaxadv.data.images import ImageError, round_8bit
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import (
    BOUNDS,
    LEARNING_RATES,
    UNITS,
    Weights,
    bounded,
    cmla,
    hash_target,
    released,
)
from jaxadv.hashing.hasher import binary_code

BOTH = pytest.mark.parametrize("modality", ["image", "text"])
WIDE = {"image": 60.0, "text": 0.5}  # so that the tiny victim can be fooled
ATTACKS = {
    modality: cmla(
        HASHER,
        modality,
        weights=Weights(distortion=0.001),
        constraint=bounded(modality, WIDE[modality]),
        optimiser=default_optimiser(WIDE[modality] / 20),
    )
    for modality in ("image", "text")
}
KNOWN = known(dtype="float32")


# those of the first twenty for which the context holds something that they are not similar to
SEEDS = [seed for seed in range(20) if np.any(target(seed).wanted)]


def examples(modality, count):
    return jnp.stack([example(modality, seed, "float32") for seed in SEEDS[:count]])


def targets(count):
    return stack(target(seed) for seed in SEEDS[:count])


@cache
def attacked(modality, count=6, iterations=60):
    aims = targets(count)
    return run(ATTACKS[modality], KNOWN, examples(modality, count), aims, iterations=iterations)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("modality", "norm", "made"),
    [
        ("image", "l1", "paper"),
        ("image", "l2", "released"),
        ("text", "l1", "released"),
        ("text", "linf", "paper"),
    ],
)
def test_twenty_steps_are_the_papers(modality, norm, made):
    """Pictures in 0..255 there and in [0, 1] here: losses at every step, and where they end."""
    what, start, one = known(5), example(modality, 5), target(5)
    constraint = bounded(modality) if made == "paper" else released(modality)
    weights = Weights(0.7, 1.2, 0.002)  # γ = 1 against a context of 12 items leaves pictures alone
    attack = cmla(
        HASHER, modality, weights=weights, norm=norm, codes="outputs", constraint=constraint
    )
    state, info = jax.jit(partial(unroll, attack, iterations=20))(what, start, one)
    own, other = np.asarray(what.image_codes), np.asarray(what.text_codes)
    losses, delta = paper.attack(
        modality,
        {name: np.asarray(x) for name, x in what.params.items()},
        np.asarray(start) * UNITS[modality],
        *((other, own) if modality == "image" else (own, other)),
        np.asarray(one.similar),
        bound=BOUNDS[modality] if made == "paper" else {"image": 10, "text": 0.01}[modality],
        rate=LEARNING_RATES[modality],
        steps=20,
        weights=weights,
        p=norm,
        non_negative=made == "released",
    )
    np.testing.assert_allclose(info.loss, losses, rtol=1e-6)
    np.testing.assert_allclose(UNITS[modality] * state.perturbation, delta, rtol=1e-5, atol=1e-6)
    assert np.abs(delta).max() >= 0.9 * BOUNDS[modality]


@pytest.mark.parametrize(("modality", "make"), [("image", bounded), ("text", released)])
def test_every_step_keeps_the_bound_and_the_range(modality, make):
    """Also with a learning rate that would leave both at once; weights of 0 and 1 are there."""
    bound = BOUNDS[modality] if make is bounded else {"image": 10, "text": 0.01}[modality]
    attack = cmla(
        HASHER, modality, constraint=make(modality), optimiser=default_optimiser(10 * bound)
    )
    start, one, step = example(modality, 2, "float32"), target(2), jax.jit(attack.step)
    state, moved = attack.init(KNOWN, start, one, jax.random.key(0)), []
    for _ in range(15):
        state, _ = step(KNOWN, start, one, state)
        adversarial = np.asarray(start + state.perturbation)
        assert adversarial.min() >= -1e-6 and adversarial.max() <= 1 + 1e-6
        assert np.abs(state.perturbation).max() <= bound / UNITS[modality] * (1 + 1e-4)
        assert make is bounded or (state.perturbation >= 0).all()
        moved.append(np.abs(state.perturbation).max())
    assert max(moved) > 0.9 * bound / UNITS[modality]


@BOTH
def test_fools_and_says_the_code(modality):
    result = attacked(modality)
    assert result.best.success.any() and result.losses[:, -1].sum() < result.losses[:, 0].sum()
    codes = jax.vmap(CODE_OF[modality], in_axes=(None, 0))(KNOWN.params, result.best.image)
    np.testing.assert_allclose(result.best.output, codes, atol=1e-6)
    other = KNOWN.text_codes if modality == "image" else KNOWN.image_codes
    distances = (np.sign(codes)[:, None] != np.sign(other)).sum(axis=2)
    first = distances.argmin(axis=1)
    similar = np.asarray(targets(6).similar)
    assert result.best.success.tolist() == (~similar[np.arange(6), first]).tolist()


def test_a_text_is_saved_as_it_is_and_a_picture_with_8_bits():
    text, picture = attacked("text").final, attacked("image").final
    assert text.image.shape == (6, 10) and text.image.min() >= 0 and text.image.max() <= 1
    np.testing.assert_array_equal(text.output, text.output_8bit)
    codes = jax.vmap(HASHER.image_code, in_axes=(None, 0))(KNOWN.params, round_8bit(picture.image))
    np.testing.assert_allclose(picture.output_8bit, codes, atol=1e-6)


@BOTH
def test_same_results_whatever_the_batch(modality):
    whole, count = attacked(modality), 6
    for rows in ([2], [5, 4, 3, 2, 1, 0]):
        some = jnp.asarray(rows)
        part = jax.tree.map(lambda x, some=some: x[some], targets(count))
        got = run(
            ATTACKS[modality], KNOWN, examples(modality, count)[some], part, iterations=60, ids=some
        )
        assert got.final.success.tolist() == whole.final.success[some].tolist()
        np.testing.assert_allclose(got.final.image, whole.final.image[some], atol=1e-4)
        np.testing.assert_allclose(got.losses, whole.losses[some], rtol=1e-4)


def test_unroll_agrees_with_run():
    modality = "text"
    start, one = example(modality, 2, "float32"), target(2)
    state, info = jax.jit(partial(unroll, ATTACKS[modality], iterations=60))(KNOWN, start, one)
    ran = attacked(modality)
    np.testing.assert_allclose(info.loss, ran.losses[2], rtol=1e-4)
    np.testing.assert_allclose(start + state.perturbation, ran.final.image[2], atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_gradient_through_three_steps():
    """d final loss / d the context's codes, against finite differences."""
    what, start, one = known(2), example("image", 2), target(2)
    attack = cmla(HASHER, optimiser=default_optimiser(0.05))

    @jax.jit
    def final_loss(codes):
        of = what._replace(text_codes=codes)
        return unroll(attack, of, start, one, iterations=3)[1].loss[-1]

    direction = jnp.asarray(np.random.default_rng(0).normal(size=(ITEMS, BITS)))
    h = 1e-6
    up, down = (final_loss(what.text_codes + s * h * direction) for s in (1, -1))
    slope = jax.grad(final_loss)(what.text_codes)
    np.testing.assert_allclose(jnp.vdot(slope, direction), (up - down) / (2 * h), rtol=1e-4)


def test_contexts_and_targets_are_data():
    """Another context, other weights and another S compile nothing again."""
    modality, attack = "image", ATTACKS["image"]
    counted = attack._replace(step=count_traces(attack.step))
    for seed in range(4):
        aims = stack(target(s) for s in SEEDS[2 * seed : 2 * seed + 2])
        what = known(seed, dtype="float32")
        run(counted, what, examples(modality, 2), aims, iterations=2)
    assert counted.step.traces == 1


@BOTH
def test_finds_what_the_attacker_chooses(modality):
    """The code moves towards the wanted items and the first found comes to be one of them."""
    toward = jnp.zeros(5, bool).at[1].set(True)
    aims = stack(target(seed, toward=toward) for seed in range(6))
    np.testing.assert_array_equal(aims.wanted[0], context_labels()[:, 1])
    attack = ATTACKS[modality]
    before = jax.vmap(attack.judge, in_axes=(None, 0, 0))(KNOWN, examples(modality, 6), aims)
    result = run(attack, KNOWN, examples(modality, 6), aims, iterations=60)
    assert result.best.success.sum() > before.success.sum()
    other = binary_code(KNOWN.text_codes if modality == "image" else KNOWN.image_codes)

    def gap(code):
        agreement = code @ other.T
        return agreement[:, aims.wanted[0]].mean() - agreement[:, ~aims.wanted[0]].mean()

    assert gap(result.final.output) > gap(before.output)


def test_without_the_intra_modal_term_the_own_modality_goes_too():
    """The ablation: own codes of similar items are left further behind."""
    modality = "image"
    constraint = bounded(modality, WIDE[modality])
    rate = default_optimiser(WIDE[modality] / 20)
    alone = cmla(
        HASHER, modality, weights=Weights(1, 0, 0.001), constraint=constraint, optimiser=rate
    )
    own = KNOWN.image_codes if modality == "image" else KNOWN.text_codes
    result = run(alone, KNOWN, examples(modality, 6), targets(6), iterations=60)

    def agreement(codes):
        return jnp.where(targets(6).similar, codes @ own.T, 0).sum()

    assert agreement(result.final.output) < agreement(attacked(modality).final.output)


def test_what_is_no_text_or_no_picture_is_refused():
    bag = jnp.full((2, 10), 0.5).at[1, 3].set(1.5)
    with pytest.raises(InputError, match=r"text 1 of the batch: weights that are not in \[0, 1\]"):
        run(ATTACKS["text"], KNOWN, bag, targets(2), iterations=1)
    with pytest.raises(InputError, match="text 0"):
        run(ATTACKS["text"], KNOWN, bag.at[0, 0].set(jnp.nan), targets(2), iterations=1)
    with pytest.raises(ImageError, match="picture 0 of the batch"):
        run(ATTACKS["image"], KNOWN, examples("image", 1) + 1, targets(1), iterations=1)


def test_a_context_without_anything_similar_is_all_wanted():
    """Then there is nothing to leave, and the benign example succeeds."""
    one = hash_target(jnp.zeros(5, bool), context_labels())
    assert one.wanted.all()
    params = hasher_parameters(dtype="float32")
    assert ATTACKS["image"].judge(known(dtype="float32"), examples("image", 1)[0], one).success
    assert params["see"].shape == (7, 48)
