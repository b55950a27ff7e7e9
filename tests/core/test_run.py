"""The drivers, over every attack: they finish, freeze, do not recompile, do not see the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.attack_table import ATTACKS, LENGTH, PARAMETERS, VICTIM, pictures, targets_of
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters
from helpers.traces import count_traces

from jaxadv.captions.captioner import greedy
from jaxadv.captions.gem import gem
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import TargetError, make_target, stack_targets
from jaxadv.core.attack import Status
from jaxadv.core.run import run, unroll
from jaxadv.data.images import ImageError, round_8bit
from jaxadv.errors import InputError

STEPS = 40
EVERY_ATTACK = pytest.mark.parametrize("name", ATTACKS)


def attack_many(name, count, iterations=STEPS):
    attack, kind = ATTACKS[name]
    return run(attack, PARAMETERS, pictures(count), targets_of(kind, count), iterations=iterations)


def test_a_search_that_fails_ends_with_its_last_picture():
    """Show-and-Fool begins again between its tries, not after the last: its norm is not 0."""
    out_of_reach = show_and_fool(VICTIM, constant=1e-9, iterations=5)
    images, targets = pictures(2), targets_of("complete", 2)
    result = run(out_of_reach, PARAMETERS, images, targets, iterations=10)
    through = run(out_of_reach, PARAMETERS, images, targets, iterations=9)
    assert not result.final.success.any()
    assert (result.final.norm > 0).all() and (through.final.norm > 0).all()


@EVERY_ATTACK
def test_result_is_complete_and_true(name):
    """Norms, pictures and success are those of the pictures that come back; one at least fools."""
    attack, kind = ATTACKS[name]
    count = 7
    result = attack_many(name, count, iterations=90)
    benign, targets = pictures(count), targets_of(kind, count)
    for iterate in (result.final, result.best):
        assert iterate.image.min() >= 0 and iterate.image.max() <= 1
        gap = np.asarray(iterate.image - benign)
        np.testing.assert_allclose(
            iterate.norm, np.sqrt((gap**2).sum(axis=(1, 2, 3))), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(iterate.linf, np.abs(gap).max(axis=(1, 2, 3)), atol=1e-6)
        judge = jax.jit(jax.vmap(attack.judge, in_axes=(None, 0, 0)))
        for picture, success in (
            (iterate.image, iterate.success),
            (round_8bit(iterate.image), iterate.success_8bit),
        ):
            assert judge(PARAMETERS, picture, targets).success.tolist() == success.tolist()
    assert result.best.success.any()
    assert not np.any(result.final.success & ~result.best.success)
    both = np.asarray(result.final.success & result.best.success)
    assert np.all(result.best.norm[both] <= result.final.norm[both] + 1e-6)
    assert result.iterations.tolist() == [90] * count
    assert np.isfinite(result.losses).all()


@EVERY_ATTACK
def test_same_results_whatever_the_batch(name, float64):
    """All at once, one by one, or as a scan: the same attack, which compiles once for a shape.

    Lengths and latent places are data, not shapes. In float64, since the place of a largest change
    jumps.
    """
    attack, kind = ATTACKS[name]
    attack = attack._replace(step=count_traces(attack.step))
    params, images, targets = jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        (PARAMETERS, pictures(7), targets_of(kind, 7)),
    )
    backwards = jnp.arange(7)[::-1]
    whole = run(
        attack,
        params,
        images[backwards],
        jax.tree.map(lambda x: x[backwards], targets),
        iterations=STEPS,
        ids=backwards,
    )
    for number in range(7):
        rows = jnp.array([number])
        one = jax.tree.map(lambda x, rows=rows: x[rows], targets)
        got = run(attack, params, images[rows], one, iterations=STEPS, ids=rows)
        wanted = jax.tree.map(lambda x, number=number: x[6 - number : 7 - number], whole)
        assert got.final.output.tolist() == wanted.final.output.tolist()
        assert got.final.success.tolist() == wanted.final.success.tolist()
        np.testing.assert_allclose(got.final.norm, wanted.final.norm, rtol=1e-6)
        np.testing.assert_allclose(got.losses, wanted.losses, rtol=1e-6, atol=1e-9)
    assert attack.step.traces == 2  # of seven, and of one
    one = jax.tree.map(lambda x: x[6], (images, targets))
    state, info = jax.jit(partial(unroll, attack, iterations=STEPS))(params, *one)
    np.testing.assert_allclose(info.loss, got.losses[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(info.norm[0], 0.0, atol=1e-3)  # tanh keeps off the box
    np.testing.assert_allclose(jnp.linalg.norm(state.perturbation), got.final.norm[0], rtol=1e-6)


def test_stop_at_success_freezes():
    """A fooled example stops; its picture is the one that fooled."""
    attack = gem(VICTIM, lanes=9, optimiser=optax.adam(0.02), stop_at_success=True)
    images, targets = pictures(7), targets_of("complete", 7)
    result = run(attack, PARAMETERS, images, targets, iterations=200)
    stopped = np.asarray(result.status == Status.FOOLED)
    assert stopped.any()
    assert np.all(result.final.success[stopped])
    assert np.all(result.iterations[stopped] < 200)
    for row, steps in zip(result.losses[stopped], result.iterations[stopped], strict=True):
        assert np.isnan(row[steps + 1 :]).all()


def test_divergence_stops_with_a_message():
    """A loss that is not finite stops that example and no other."""
    broken = {**PARAMETERS, "see": PARAMETERS["see"].at[0, 0].set(jnp.nan)}
    attack, kind = ATTACKS["gem"]
    result = run(attack, broken, pictures(2), targets_of(kind, 2), iterations=5)
    assert result.status.tolist() == [Status.DIVERGED] * 2
    assert "not finite" in Status.MESSAGES[Status.DIVERGED]
    assert result.iterations.tolist() == [0, 0]


def test_a_step_that_is_not_finite_is_not_taken():
    """The last picture stays one, so that it can be looked at and saved."""
    attack = gem(VICTIM, lanes=9, optimiser=optax.sgd(jnp.nan))
    result = run(attack, PARAMETERS, pictures(2), targets_of("complete", 2), iterations=5)
    assert result.status.tolist() == [Status.DIVERGED] * 2
    np.testing.assert_array_equal(result.final.image, pictures(2))


@pytest.mark.parametrize(("value", "line"), [(jnp.nan, "1 NaN"), (2.0, "not in")])
def test_what_is_no_picture_is_refused_by_number(value, line):
    attack, kind = ATTACKS["gem"]
    images = pictures(3).at[1, 0, 0, 0].set(value)
    with pytest.raises(ImageError, match=f"picture 1 of the batch: .*{line}"):
        run(attack, PARAMETERS, images, targets_of(kind, 3), iterations=1)


def test_pictures_of_numpy():
    """What `read_image` and `resize` give can be attacked as it is."""
    attack, kind = ATTACKS["gem"]
    images, targets = pictures(2), targets_of(kind, 2)
    arrays = jax.tree.map(np.asarray, (images, targets))
    found = [run(attack, PARAMETERS, *both, iterations=2) for both in (arrays, (images, targets))]
    jax.tree.map(np.testing.assert_array_equal, *found)


def rows(tree):
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]


@pytest.mark.parametrize("name", ["gem", "say"])
def test_one_picture_or_many_one_target_or_many(name):
    """Whatever is given alone goes with all of the other; alone with alone has no leading axis."""
    attack, kind = ATTACKS[name]
    images, targets = pictures(3), targets_of(kind, 3)
    wanted = run(attack, PARAMETERS, images, targets, iterations=2)

    def same(got, expected):
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, got, expected)

    same(run(attack, PARAMETERS, images, rows(targets), iterations=2), wanted)
    alone = run(attack, PARAMETERS, images[0], rows(targets)[0], iterations=2)
    same(alone, rows(run(attack, PARAMETERS, images[:1], targets_of(kind, 1), iterations=2))[0])
    to_all = run(attack, PARAMETERS, images, rows(targets)[1], iterations=2)
    same(to_all, run(attack, PARAMETERS, images, [rows(targets)[1]] * 3, iterations=2))
    of_one = run(attack, PARAMETERS, images[1], rows(targets), iterations=2)
    same(of_one, run(attack, PARAMETERS, jnp.stack([images[1]] * 3), targets, iterations=2))


def test_one_target_for_as_many_pictures_as_it_has_words():
    """It is not taken for so many targets."""
    attack, kind = ATTACKS["gem"]
    one = rows(targets_of(kind, 1))[0]
    found = run(attack, PARAMETERS, pictures(LENGTH), one, iterations=1)
    wanted = run(attack, PARAMETERS, pictures(LENGTH), [one] * LENGTH, iterations=1)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda images, targets: (images[None], targets),
            r"must be a picture \[H, W, 3\] or a batch",
        ),
        (lambda images, targets: (images[:1], targets), r"target\.tokens: shape \(2, 5\)"),
        (lambda images, targets: (images, [rows(targets)[0]] * 3), "a list of 3; .* 2 pictures"),
        (lambda images, targets: (images, []), "a list of 0; .* 2 pictures"),
        (lambda images, targets: (images, [rows(targets)[0], 3]), "several kinds"),
        (lambda images, targets: (np.uint8(255 * images), targets), "uint8; must be floats"),
        (
            lambda images, targets: (jnp.pad(images, [(0, 0), (0, 2), (0, 0), (0, 0)]), targets),
            r"shape \(6, 4, 3\): this victim sees \(4, 4, 3\); resize it",
        ),
    ],
    ids=[
        "a batch of batches",
        "too few",
        "another number",
        "no target",
        "no target among them",
        "uint8",
        "another size",
    ],
)
def test_what_is_no_batch_is_one_clear_line(spoil, line):
    attack, kind = ATTACKS["gem"]
    with pytest.raises(InputError, match=line) as caught:
        run(attack, PARAMETERS, *spoil(pictures(2), targets_of(kind, 2)), iterations=1)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "latent"),
    [
        pytest.param(gem, set(), marks=pytest.mark.slow),  # what it goes through, `latent` does
        (gem, {0, 2}),
        pytest.param(partial(gem, posterior="joint"), {1}, marks=pytest.mark.slow),
        (ssvm, {1}),
        (partial(show_and_fool, loss="logits"), set()),
    ],
    ids=["gem", "gem-latent", "gem-joint", "ssvm", "logits"],
)
def test_gradient_through_five_steps(make, latent):
    """d final loss / d victim's parameters and step size, against finite differences."""
    victim = tiny_captioner(words=4, max_length=4)
    parameters = tiny_parameters(words=4, seed=3)
    image = tiny_image(2)
    target = make_target([2, 3, 1], 4, latent)

    @jax.jit
    def final_loss(parameters, step_size):
        attack = make(victim, optimiser=optax.adam(step_size, eps_root=1e-12))
        return unroll(attack, parameters, image, target, iterations=6)[1].loss[-1]

    step_size = jnp.asarray(1e-3)
    of_parameters, of_step = jax.grad(final_loss, argnums=(0, 1))(parameters, step_size)
    h = 1e-6
    finite = (final_loss(parameters, step_size + h) - final_loss(parameters, step_size - h)) / (
        2 * h
    )
    np.testing.assert_allclose(of_step, finite, rtol=1e-4)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), parameters)
    moved = [
        final_loss(jax.tree.map(lambda x, d, s=s: x + s * h * d, parameters, direction), step_size)
        for s in (1, -1)
    ]
    along = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(of_parameters), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(along, (moved[0] - moved[1]) / (2 * h), rtol=1e-4)


def test_sharded_over_devices_is_the_same():
    """The batch axis may lie on any mesh of the devices that are here."""
    attack, kind = ATTACKS["ssvm"]
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(auto,))
    assert jax.device_count() == 2  # see conftest
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    images, targets = jax.device_put((pictures(4), targets_of(kind, 4)), sharding)
    sharded = run(attack, PARAMETERS, images, targets, iterations=STEPS)
    plain = attack_many("ssvm", 4)
    assert sharded.final.output.tolist() == plain.final.output.tolist()
    np.testing.assert_allclose(sharded.final.norm, plain.final.norm, rtol=1e-3, atol=1e-5)


def test_said_captions_are_the_victims():
    """`Result.output` is what greedy decoding says of the picture."""
    result = attack_many("gem", 3)
    for image, said in zip(result.final.image, result.final.output, strict=True):
        features = VICTIM.encode(PARAMETERS, image)
        assert greedy(VICTIM, PARAMETERS, features).tokens.tolist() == said.tolist()
    assert result.final.output.shape == (3, LENGTH)
    assert result.victim.value is VICTIM
    np.testing.assert_array_equal(result.image, pictures(3))


def test_what_the_benign_picture_does_already_is_told():
    """The caption that is said anyway is no success; what is judged is the picture as it came."""
    images = pictures(2)
    features = [VICTIM.encode(PARAMETERS, image) for image in images]
    said = [greedy(VICTIM, PARAMETERS, some).tokens for some in features]
    own = make_target([int(token) for token in said[0] if token], LENGTH)
    other = jax.tree.map(lambda x: x[1], targets_of("complete", 2))
    attack, _ = ATTACKS["gem"]
    result = run(attack, PARAMETERS, images, stack_targets([own, other]), iterations=2)
    assert result.already.tolist() == [True, False]
    np.testing.assert_array_equal(result.benign.output, said)


@pytest.mark.parametrize("name", [name for name, (_, kind) in ATTACKS.items() if kind == "partial"])
def test_a_target_for_another_length_is_one_clear_line(name):
    attack, _ = ATTACKS[name]
    longer = stack_targets([make_target([1, 2], LENGTH + 2)])
    line = f"the target has {LENGTH + 2} places: .* make it with max_length={LENGTH}"
    with pytest.raises(TargetError, match=line):
        run(attack, PARAMETERS, pictures(1), longer, iterations=1)
