"""Caption objectives and decoding against enumeration, written out loop by loop from the paper.

Equations are those of Xu et al., "Exact Adversarial Attack to Image Captioning" (CVPR 2019).
Nothing here shares work between configurations: every one is run from the first word on, by
`log_probabilities`, which is the network of `tiny.py` written out again in NumPy, or that of
`tiny_transformer.py`.
"""

import contextlib
import functools
import itertools
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_transformer
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters

from jaxadv.captions.captioner import beam, caption_log_probability, greedy, teacher_forced_logits
from jaxadv.captions.marginal import marginal
from jaxadv.captions.ssvm import complete, completed_log_probability, loss_augmented_inference
from jaxadv.captions.target import make_target, stack_targets
from jaxadv.vocabulary import Vocabulary

TRADEOFF = 0.3  # λ of eq. 4
LANES = 5  # fewer than most cases have configurations
STEP = 1e-4  # of central differences

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-8)
# Compiling is most of the run: spend less on it.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# --- cases ---------------------------------------------------------------------------------------


class Tiny(NamedTuple):
    """A victim that can be enumerated."""

    words: int
    max_length: int
    transformer: bool = False

    @property
    def victim(self):
        make = tiny_transformer.tiny_transformer if self.transformer else tiny_captioner
        return make(self.words, self.max_length)

    def params(self, seed):
        draw = tiny_transformer.tiny_transformer_parameters if self.transformer else tiny_parameters
        return draw(self.words, seed=seed)


class Case(NamedTuple):
    """A victim, a picture and a partial caption; places count from 0."""

    name: str
    words: int
    max_length: int
    tokens: tuple[int, ...]
    latent: tuple[int, ...]
    ends: bool
    seed: int
    transformer: bool = False

    @property
    def tiny(self):
        return Tiny(self.words, self.max_length, self.transformer)

    @property
    def victim(self):
        return self.tiny.victim

    @property
    def params(self):
        return self.tiny.params(self.seed)

    @property
    def image(self):
        return tiny_image(self.seed + 100)

    @property
    def target(self):
        return make_target(list(self.tokens), self.max_length, set(self.latent), self.ends)

    @property
    def literal(self):
        """Parameters and picture for the literal code."""
        return _literal(self.tiny, self.seed)

    @property
    def end_observed(self):
        return self.ends and len(self.tokens) < self.max_length

    @property
    def observed(self):
        """Place -> token that must be there (the end token is 0)."""
        seen = {t: w for t, w in enumerate(self.tokens) if t not in self.latent}
        return seen | ({len(self.tokens): 0} if self.end_observed else {})

    @property
    def places(self):
        """The N words, and the end token where it is observed."""
        return range(len(self.tokens) + self.end_observed)

    @property
    def reach(self):
        """Number of places up to the last observed one."""
        return max(self.observed) + 1

    @property
    def latent_in_reach(self):
        return [h for h in self.latent if h < self.reach]


@functools.cache
def _literal(tiny, seed):
    return jax.tree.map(np.asarray, (tiny.params(seed), tiny_image(seed + 100)))


def _random_case(words, max_length, seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(2, max_length + 1))
    tokens = tuple(int(w) for w in rng.integers(1, words + 1, length))
    count = int(rng.integers(1, length))
    latent = tuple(sorted(int(h) for h in rng.choice(length, count, replace=False)))
    return Case(f"random-{seed}", words, max_length, tokens, latent, bool(rng.integers(2)), seed)


SMALL = [
    Case("one-word", 4, 4, (2,), (), True, 0),
    Case("one-word-open", 4, 4, (2,), (), False, 1),
    Case("no-latent", 4, 4, (1, 2, 4), (), True, 2),
    Case("no-latent-full", 4, 4, (1, 2, 4, 3), (), True, 3),
    Case("first", 4, 4, (1, 2, 3), (0,), True, 4),
    Case("middle-full", 4, 4, (3, 2, 1, 4), (1,), True, 5),
    Case("last", 4, 4, (1, 2, 3), (2,), True, 6),
    Case("last-open", 4, 4, (4, 2, 3), (2,), False, 7),
    Case("last-full", 4, 4, (4, 4, 1, 2), (3,), True, 8),
    Case("adjacent-full", 4, 4, (2, 3, 4, 1), (1, 2), True, 9),
    Case("apart", 4, 4, (1, 2, 3), (0, 2), True, 10),
    Case("apart-open", 4, 4, (1, 3, 2), (0, 2), False, 11),
    Case("all-but-first", 4, 4, (1, 2, 2), (1, 2), True, 12),
    Case("all-but-first-full", 4, 4, (3, 3, 1, 2), (1, 2, 3), True, 13),
    Case("all-but-last-full", 4, 4, (3, 3, 1, 2), (0, 1, 2), True, 14),
    Case("all-but-third-full", 4, 4, (3, 3, 1, 2), (0, 1, 3), False, 15),
    *(_random_case(4, 4, seed) for seed in range(16, 22)),
]
LARGE = [
    Case("all-but-last-full", 5, 5, (1, 2, 3, 4, 5), (0, 1, 2, 3), True, 30),
    Case("all-but-first-full", 5, 5, (5, 2, 3, 4, 1), (1, 2, 3, 4), True, 31),
    Case("all-but-third", 5, 5, (5, 2, 3, 4), (0, 1, 3), True, 32),
    Case("all-but-third-open", 5, 5, (5, 2, 3, 4), (0, 1, 3), False, 33),
    Case("adjacent", 5, 5, (1, 1, 4, 2), (1, 2), True, 34),
    *(_random_case(5, 5, seed) for seed in range(35, 41)),
]
RECURRENT = SMALL + LARGE
TRANSFORMER = [
    Case("transformer-adjacent-full", 3, 3, (1, 2, 3), (0, 1), True, 50, True),
    Case("transformer-first", 3, 3, (3, 1), (0,), True, 51, True),
    Case("transformer-last-open", 3, 3, (2, 1, 1), (2,), False, 52, True),
]
CASES = RECURRENT + TRANSFORMER


def over(cases):
    name = "{0.name}-{0.words}words".format
    return pytest.mark.parametrize("case", cases, ids=[name(case) for case in cases])


over_tops = pytest.mark.parametrize(  # each cut compiles again, which takes a Transformer long
    ("case", "top"),
    [
        pytest.param(case, top, id=f"{case.name}-{case.words}words-top{top or 'all'}")
        for top, cases in ((None, CASES), (2, RECURRENT))
        for case in cases
    ],
)


# --- the paper, literally ------------------------------------------------------------------------


def log_probabilities(params, image, said, xp=np):
    """ln P(S_t = . | S_<t) after each word of `said`, and before the first (eq. 1)."""
    if "see" not in params:
        return tiny_transformer.log_probabilities(params, image, said, xp)
    features = xp.tanh(params["see"] @ (image.reshape(-1) - 0.5))
    state = xp.zeros(len(features))
    rows = []
    for token in (0, *said):
        state = xp.tanh(params["keep"] @ state + params["embed"][token] + params["look"] @ features)
        scores = params["say"] @ state
        rows.append(scores - xp.log(xp.exp(scores).sum()))
    return xp.stack(rows)


def log_p(literal, said):
    """ln P of the tokens `said`, in their order (eq. 1)."""
    rows = log_probabilities(*literal, said[:-1])
    return float(sum(row[token] for row, token in zip(rows, said, strict=True)))


class Posterior(NamedTuple):
    """q(S_t) over the words kept, most probable first."""

    words: np.ndarray
    q: np.ndarray


def configurations(q, places):
    """Every choice of words for the latent `places`, and the product of its q(S_t)."""
    for kept in itertools.product(*(range(len(q[h].words)) for h in places)):
        chosen = list(zip(places, kept, strict=True))
        yield (
            {h: int(q[h].words[k]) for h, k in chosen},
            float(np.prod([q[h].q[k] for h, k in chosen])),
        )


def sentence(case, choice, count):
    """The first `count` tokens of the caption whose latent words are those of `choice`."""
    return [case.observed[t] if t in case.observed else choice[t] for t in range(count)]


@functools.cache
def e_step(case, top):
    """q(S_t) in ascending order by eq. 9, cut to the `top` words before later places use it."""
    q = {}
    for t in case.latent:
        exponent = np.zeros(case.words)
        for choice, weight in configurations(q, [h for h in case.latent if h < t]):
            said = sentence(case, choice, t)
            exponent += weight * log_probabilities(*case.literal, said)[t][1:]
        posterior = np.exp(exponent) / np.exp(exponent).sum()
        kept = np.argsort(-posterior)[:top]
        q[t] = Posterior(kept + 1, posterior[kept] / posterior[kept].sum())
    return q


def bound_terms(case, q, places):
    """Every q(S_1~t,H) of eq. 10 with its words up to place t: pairs (weight, S_1..S_t)."""
    for t in places:
        for choice, weight in configurations(q, [h for h in case.latent if h <= t]):
            yield weight, sentence(case, choice, t + 1)


def literal_bound(literal, terms):
    """Sum over t of the expectation under q of ln P(S_t | S_<t) (eq. 10)."""
    return sum(
        weight * log_probabilities(*literal, said[:-1])[-1][said[-1]] for weight, said in terms
    )


@functools.cache
def enumerate_latent(case, top=None):
    """{latent words before the last observed place: ln P(S_O, S_H)} (eq. 2).

    Over all words, or over the `top` of q.
    """
    every = Posterior(np.arange(1, case.words + 1), np.ones(case.words))
    q = e_step(case, top) if top else {h: every for h in case.latent}
    return {
        tuple(choice.values()): log_p(case.literal, sentence(case, choice, case.reach))
        for choice, _ in configurations(q, case.latent_in_reach)
    }


def log_sum_exp(values):
    return np.log(np.sum(np.exp(list(values))))


def central_differences(function, image):
    """The gradient of `function` at `image`: along every axis, correct to fourth order."""

    def across(step):
        return (function(image + step) - function(image - step)) / 2

    steps = STEP * np.eye(image.size).reshape(-1, *image.shape)
    gradient = [(4 / 3 * across(step) - across(2 * step) / 6) / STEP for step in steps]
    return np.reshape(gradient, image.shape)


# --- the library, compiled once for each victim and setting --------------------------------------


def m_step_objective(victim, **setting):
    """(ε, params, image, target) -> what the M step descends (eqs. 4, 10), and the estimate."""

    def objective(epsilon, params, image, target):
        features = victim.encode(params, image + epsilon)
        found = marginal(victim, params, features, target, **setting)
        return TRADEOFF * (epsilon**2).sum() - found.bound, found

    return objective


@functools.cache
def estimator(tiny, posterior, top, tail):
    """(ε, params, image, target) -> ((objective, estimate), gradient w.r.t. ε), all lanes kept."""
    setting = {"posterior": posterior, "top": top, "tail": tail}
    objective = m_step_objective(tiny.victim, lanes=top ** (tiny.max_length - 1), **setting)
    return jit(jax.value_and_grad(objective, has_aux=True))


def perturbation(case):
    """An ε, so that its penalty has a gradient."""
    return jnp.asarray(np.random.default_rng(case.seed).normal(0, 0.1, case.image.shape))


@functools.cache
def estimate(case, posterior="factorised", top=None, tail=True):
    """The library's estimate and the M-step gradient, at the case's picture.

    The clean picture is taken ε below it, so that picture + ε is what the literal code sees.
    """
    run = estimator(case.tiny, posterior, top or case.words, tail)
    epsilon = perturbation(case)
    (_, found), gradient = run(epsilon, case.params, case.image - epsilon, case.target)
    return jax.tree.map(np.asarray, found), np.asarray(gradient)


@functools.cache
def forward(tiny, **setting):
    victim = tiny.victim

    def run(params, image, target):
        return marginal(victim, params, victim.encode(params, image), target, **setting)

    return jit(run)


def structured_objective(victim):
    """(ε, params, image, target, ζ) -> ((eq. 16, what it is made of), gradient w.r.t. ε)."""

    def objective(epsilon, params, image, target, zeta):
        features = victim.encode(params, image + epsilon)
        completed = complete(victim, params, features, target)
        violating = loss_augmented_inference(victim, params, features, target, zeta)
        wanted = completed_log_probability(victim, params, features, target, completed)
        value = TRADEOFF * (epsilon**2).sum() + violating.log_probability - wanted
        return value, (completed, violating, wanted)

    return jax.value_and_grad(objective, has_aux=True)


@functools.cache
def structured(tiny):
    return jit(structured_objective(tiny.victim))


def run_structured(case, zeta):
    epsilon = perturbation(case)
    run = structured(case.tiny)
    (value, (completed, violating, wanted)), gradient = run(
        epsilon, case.params, case.image - epsilon, case.target, jnp.asarray(float(zeta))
    )
    return value, np.asarray(completed), violating, wanted, np.asarray(gradient)


@functools.cache
def decoder(tiny, size=None):
    """(params, image) -> the greedy caption, or the `size` captions of a beam."""
    victim = tiny.victim
    decode = functools.partial(beam, size=size) if size else greedy
    return jit(lambda params, image: decode(victim, params, victim.encode(params, image)))


# --- tests ---------------------------------------------------------------------------------------


@over([*RECURRENT[::4], *TRANSFORMER])
def test_network_is_written_out_right(case):
    """The oracle's own network is that of `tiny.py`, or `tiny_transformer.py`."""
    said = list(range(1, case.max_length))
    victim, tokens = case.victim, jnp.asarray([*said, 0])

    @jit
    def found(params, image):
        scores = teacher_forced_logits(victim, params, victim.encode(params, image), tokens)
        return jax.nn.log_softmax(scores)

    expected = log_probabilities(*case.literal, said)
    close(found(case.params, case.image), expected, atol=1e-12)


@over(CASES)
def test_target_is_what_the_oracle_takes_it_for(case):
    """O, H, N and the last observed place (section 3)."""
    target = case.target
    assert set(np.flatnonzero(target.observed)) == set(case.observed)
    assert set(np.flatnonzero(target.latent)) == set(case.latent)
    assert int(target.length) == len(case.tokens)
    assert int(target.reach) == case.reach
    assert {t: int(target.tokens[t]) for t in case.observed} == case.observed


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
@over(CASES)
def test_log_likelihood_is_the_sum_over_latent_words(case, posterior):
    """ln P(S_O) by enumeration (eq. 2); the exact one, whichever posterior."""
    found, _ = estimate(case, posterior)
    close(found.log_likelihood, log_sum_exp(enumerate_latent(case).values()))
    if posterior == "joint":
        close(found.bound, found.log_likelihood, atol=0)


@over(SMALL)
def test_log_likelihood_sums_over_kept_words(case):
    """Cut to two words a place: the sum of eq. 2 over the words that q kept."""
    found, _ = estimate(case, top=2)
    close(found.log_likelihood, log_sum_exp(enumerate_latent(case, top=2).values()))
    assert found.log_likelihood <= log_sum_exp(enumerate_latent(case).values()) + 1e-12


@over_tops
def test_e_step(case, top):
    """q(S_t) by eq. 9 in ascending order, over all prefixes; also when cut to two words."""
    found, _ = estimate(case, top=top)
    q = e_step(case, top or case.words)
    for t in range(case.max_length):
        if t in case.latent:
            np.testing.assert_array_equal(found.words[t], q[t].words)
            close(found.posterior[t], q[t].q)
        else:
            np.testing.assert_array_equal(found.posterior[t], 0)
            np.testing.assert_array_equal(found.words[t], 0)


@over(CASES)
def test_joint_posterior_of_configurations(case):
    """`weights` are P(S_H | S_O), one row for each configuration (Bayes on eq. 2)."""
    found, _ = estimate(case, "joint")
    joint = enumerate_latent(case)
    total = log_sum_exp(joint.values())
    used = found.weights > 0
    rows = found.configurations[used]
    assert len(rows) == len(joint)
    weights = {
        tuple(int(w) for w in row[case.latent_in_reach]): weight
        for row, weight in zip(rows, found.weights[used], strict=True)
    }
    assert weights.keys() == joint.keys()
    for words, weight in weights.items():
        close(weight, np.exp(joint[words] - total))
    for t, token in case.observed.items():
        np.testing.assert_array_equal(rows[:, t], token)


@over(CASES)
def test_joint_posterior_of_places(case):
    """`posterior` are its marginals, the most probable word first."""
    found, _ = estimate(case, "joint")
    joint = enumerate_latent(case)
    total = log_sum_exp(joint.values())
    for i, t in enumerate(case.latent_in_reach):
        place = np.zeros(case.words)
        for words, value in joint.items():
            place[words[i] - 1] += np.exp(value - total)
        order = np.argsort(-place)
        np.testing.assert_array_equal(found.words[t], order + 1)
        close(found.posterior[t], place[order])
    for t in case.observed:
        np.testing.assert_array_equal(found.posterior[t], 0)


BOUNDS = [
    pytest.param(case, top, tail, id=f"{case.name}-{case.words}words-top{top or 'all'}-{end}")
    for cases, top, tail, end in [
        (CASES, None, True, "tail"),
        (RECURRENT, 2, True, "tail"),
        (SMALL, None, False, "no-tail"),
        (SMALL, 2, False, "no-tail"),
    ]
    for case in cases
]


@pytest.mark.parametrize(("case", "top", "tail"), BOUNDS)
def test_bound_equals_every_configuration_from_the_start(case, top, tail):
    """The sum of eq. 10, each configuration of S_1~t,H run from the first word on."""
    found, _ = estimate(case, top=top, tail=tail)
    places = case.places if tail else range(case.reach)
    terms = bound_terms(case, e_step(case, top or case.words), places)
    close(found.bound, literal_bound(case.literal, terms))


@over(SMALL)
def test_bound_and_divergence_make_the_log_likelihood(case):
    """ln P(S_O) = L(q) + KL(q || P(S_H | S_O)) (eqs. 5 to 7), KL by enumeration."""
    found, _ = estimate(case, tail=False)
    joint = enumerate_latent(case)
    total = log_sum_exp(joint.values())
    entropy = divergence = 0.0
    for choice, q in configurations(e_step(case, case.words), case.latent_in_reach):
        entropy -= q * np.log(q)
        divergence += q * (np.log(q) - (joint[tuple(choice.values())] - total))
    assert divergence >= -1e-12
    close(found.bound + entropy + divergence, found.log_likelihood)


@functools.cache
def literal_gradient(words, max_length):
    """(ε, params, image, rows, places, weights) -> eq. 10's gradient, every row from the start."""

    def objective(epsilon, params, image, rows, places, weights):
        def gained(row, place):
            scores = log_probabilities(params, image + epsilon, list(row[:-1]), jnp)
            return scores[place, row[place]]

        expected = (weights * jax.vmap(gained)(rows, places)).sum()
        return TRADEOFF * (epsilon**2).sum() - expected

    return jit(jax.grad(objective))


@over_tops
def test_m_step_gradient(case, top):
    """Eq. 10's gradient w.r.t. ε with q fixed, q being the literal E step's."""
    terms = list(bound_terms(case, e_step(case, top or case.words), case.places))
    # As many rows as the longest sum of eq. 10 has, so that one compilation serves all cases.
    count = case.words ** (case.max_length - 1) * 3
    rows = np.zeros((count, case.max_length), int)
    places, weights = np.zeros(count, int), np.zeros(count)
    for i, (weight, said) in enumerate(terms):
        rows[i, : len(said)], places[i], weights[i] = said, len(said) - 1, weight
    epsilon = perturbation(case)
    expected = literal_gradient(case.words, case.max_length)(
        epsilon, case.params, case.image - epsilon, rows, places, weights
    )
    _, gradient = estimate(case, top=top)
    close(gradient, expected)


@over([SMALL[10], SMALL[14]])
def test_m_step_gradient_by_differences(case):
    """Eq. 10's gradient again, by central differences of the NumPy loops."""
    params, image = case.literal
    terms = list(bound_terms(case, e_step(case, case.words), case.places))
    expected = -central_differences(lambda x: literal_bound((params, x), terms), image)
    _, gradient = estimate(case)
    close(gradient, expected + 2 * TRADEOFF * np.asarray(perturbation(case)))


@functools.cache
def literal_marginal_gradient(words, max_length):
    """(ε, params, image, rows, used, reach) -> the gradient of -ln P(S_O) + λ‖ε‖²."""

    def objective(epsilon, params, image, rows, used, reach):
        def log_joint(row):
            scores = log_probabilities(params, image + epsilon, list(row[:-1]), jnp)
            chosen = jnp.take_along_axis(scores, row[:, None], axis=1)[:, 0]
            return jnp.where(jnp.arange(max_length) < reach, chosen, 0.0).sum()

        joint = jnp.where(used, jnp.exp(jax.vmap(log_joint)(rows)), 0.0)
        return TRADEOFF * (epsilon**2).sum() - jnp.log(joint.sum())

    return jit(jax.grad(objective))


@over(CASES)
def test_joint_gradient(case):
    """The gradient of the exact ln P(S_O) (eqs. 2, 4), by enumeration."""
    count = case.words ** (case.max_length - 1)
    rows, used = np.zeros((count, case.max_length), int), np.zeros(count, bool)
    for i, words in enumerate(enumerate_latent(case)):
        choice = dict(zip(case.latent_in_reach, words, strict=True))
        rows[i, : case.reach], used[i] = sentence(case, choice, case.reach), True
    epsilon = perturbation(case)
    expected = literal_marginal_gradient(case.words, case.max_length)(
        epsilon, case.params, case.image - epsilon, rows, used, case.reach
    )
    _, gradient = estimate(case, "joint")
    close(gradient, expected)


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
@over(SMALL)
def test_fewer_lanes_give_a_lower_bound(case, posterior):
    """With too few lanes: part of the sum of eq. 2, of the configurations that were kept."""
    run = forward(case.tiny, posterior=posterior, top=case.words, lanes=LANES)
    found = run(case.params, case.image, case.target)
    joint = enumerate_latent(case)
    exact = log_sum_exp(joint.values())
    assert found.log_likelihood <= exact + 1e-10
    close(found.weights.sum(), 1)
    if len(joint) <= LANES:
        close(found.log_likelihood, exact)
    if posterior == "joint":
        used = np.asarray(found.weights) > 0
        rows = np.asarray(found.configurations)[used][:, case.latent_in_reach]
        kept = [joint[tuple(int(w) for w in row)] for row in rows]
        assert len({tuple(row) for row in rows}) == len(rows) == min(LANES, len(joint))
        close(found.log_likelihood, log_sum_exp(kept))
        close(np.asarray(found.weights)[used], np.exp(kept - log_sum_exp(kept)))


@contextlib.contextmanager
def at_most(seconds):
    """Give up where the code inside takes longer; it may never end."""

    def give_up(*_):
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_one_word_a_place():
    """`top=1` with the default lanes: q is certain of eq. 9's best word, one configuration."""
    run = forward(Tiny(4, 4), top=1)
    for case in SMALL:
        with at_most(10):
            found = run(case.params, case.image, case.target)
        q = e_step(case, 1)
        for t in case.latent:
            np.testing.assert_array_equal(found.words[t], q[t].words)
            close(found.posterior[t], 1)
        close(found.weights.sum(), 1)
        close(found.bound, literal_bound(case.literal, bound_terms(case, q, case.places)))
        close(found.log_likelihood, log_sum_exp(enumerate_latent(case, top=1).values()))


@over(LARGE)
def test_the_papers_setting(case):
    """The defaults, top 3 and 27 lanes: exact up to three latent words, else a lower bound."""
    run = forward(case.tiny)
    found = run(case.params, case.image, case.target)
    close(found.weights.sum(), 1)
    kept = log_sum_exp(enumerate_latent(case, top=3).values())
    if len(case.latent) <= 3:
        close(found.log_likelihood, kept)
        close(
            found.bound,
            literal_bound(case.literal, bound_terms(case, e_step(case, 3), case.places)),
        )
    else:
        assert found.log_likelihood <= log_sum_exp(enumerate_latent(case).values()) + 1e-10


def used_lanes(result):
    """An estimate and its gradient, without the configurations that have no weight."""
    (value, found), gradient = result
    configurations = jnp.where(found.weights[:, None] > 0, found.configurations, 0)
    return value, found._replace(configurations=configurations), gradient


@pytest.mark.parametrize("posterior", ["factorised", "joint"])
def test_batch_of_estimates_equals_one_by_one(posterior):
    """Different targets and pictures side by side, values and M-step gradients."""
    cases = [case._replace(seed=0) for case in SMALL]
    victim, params = cases[0].victim, cases[0].params
    objective = m_step_objective(victim, posterior=posterior, top=4, lanes=64)
    run = jit(jax.vmap(jax.value_and_grad(objective, has_aux=True), in_axes=(0, None, 0, 0)))
    images = [tiny_image(seed) for seed, _ in enumerate(cases)]
    epsilons = [perturbation(case) for case in SMALL]
    targets = [case.target for case in cases]
    batch = run(jnp.stack(epsilons), params, jnp.stack(images), stack_targets(targets))
    one = estimator(cases[0].tiny, posterior, 4, True)
    for i, (epsilon, image, target) in enumerate(zip(epsilons, images, targets, strict=True)):
        batched = jax.tree.map(lambda x, i=i: x[i], batch)
        alone = one(epsilon, params, image, target)
        jax.tree.map(functools.partial(close, atol=1e-10), used_lanes(batched), used_lanes(alone))


def literal_complete(case):
    """Eq. 13 in ascending order: the most probable word wherever none is observed."""
    said = []
    for t in range(len(case.tokens)):
        scores = log_probabilities(*case.literal, said)[t]
        said.append(case.observed[t] if t in case.observed else 1 + int(np.argmax(scores[1:])))
    return said


def literal_loss_augmented(case, zeta):
    """Eq. 15 in ascending order; the caption's tokens, its end token among them, and ln P."""
    said, total = [], 0.0
    for t in case.places:
        scores = log_probabilities(*case.literal, said)[t]
        gain = scores.copy()
        for token in range(case.words + 1):
            if t in case.observed and token != case.observed[t]:
                gain[token] += zeta
        said.append(int(np.argmax(gain)))
        total += scores[said[-1]]
        if said[-1] == 0:
            break
    return said, total


def padded(case, said):
    return said + [0] * (case.max_length - len(said))


ZETAS = pytest.mark.parametrize("zeta", [0, 1, 10])


@over(CASES)
def test_completion(case):
    """Eq. 13's words, and ln P(S_O, S*_H) over the N words and the observed end."""
    _, completed, _, wanted, _ = run_structured(case, 1)
    said = literal_complete(case)
    np.testing.assert_array_equal(completed, padded(case, said))
    close(wanted, log_p(case.literal, said + [0] * case.end_observed))


@ZETAS
@over(CASES)
def test_loss_augmented_inference(case, zeta):
    """Eq. 15's words and their ln P, without Δ."""
    _, _, violating, _, _ = run_structured(case, zeta)
    said, total = literal_loss_augmented(case, zeta)
    np.testing.assert_array_equal(violating.tokens, padded(case, said))
    close(violating.log_probability, total)


@over(CASES)
def test_no_structured_loss_is_greedy_decoding(case):
    """With ζ = 0, eq. 15 is eq. 3's greedy decoding, as far as the target goes."""
    _, _, violating, _, _ = run_structured(case, 0)
    said = np.array(decoder(case.tiny)(case.params, case.image).tokens)
    said[len(case.places) :] = 0
    np.testing.assert_array_equal(violating.tokens, said)


@ZETAS
@over(SMALL)
def test_structured_gradient(case, zeta):
    """Eq. 16 and its gradient w.r.t. ε, by central differences with both captions fixed."""
    value, _, _, _, gradient = run_structured(case, zeta)
    completed = literal_complete(case) + [0] * case.end_observed
    violating, _ = literal_loss_augmented(case, zeta)
    params, image = case.literal
    epsilon = np.asarray(perturbation(case))

    def difference(image):
        return log_p((params, image), violating) - log_p((params, image), completed)

    close(value, difference(image) + TRADEOFF * (epsilon**2).sum())
    close(gradient, central_differences(difference, image) + 2 * TRADEOFF * epsilon)


def test_batch_of_structured_objectives_equals_one_by_one():
    """Different targets and pictures side by side: completions, inferences, gradients."""
    cases = [case._replace(seed=0) for case in SMALL]
    one, params = structured(cases[0].tiny), cases[0].params
    images = [tiny_image(seed) for seed, _ in enumerate(cases)]
    epsilons = [perturbation(case) for case in SMALL]
    targets = [case.target for case in cases]
    zeta = jnp.asarray(1.0)
    batch = jit(jax.vmap(structured_objective(cases[0].victim), in_axes=(0, None, 0, 0, None)))(
        jnp.stack(epsilons), params, jnp.stack(images), stack_targets(targets), zeta
    )
    for i, (epsilon, image, target) in enumerate(zip(epsilons, images, targets, strict=True)):
        alone = one(epsilon, params, image, target, zeta)
        jax.tree.map(lambda x, y, i=i: close(x[i], y, atol=1e-10), batch, alone)


# --- decoding ------------------------------------------------------------------------------------


SEEDS = pytest.mark.parametrize("seed", range(4))


def either(words, max_length):
    """Both kinds of victims; the Transformer says up to three of three words."""
    tinies = [Tiny(words, max_length), Tiny(3, 3, transformer=True)]
    return pytest.mark.parametrize("tiny", tinies, ids=["recurrent", "transformer"])


def every_caption(words, max_length):
    """Every caption: up to T words, then the end token where there is room for one."""
    for length in range(max_length + 1):
        for said in itertools.product(range(1, words + 1), repeat=length):
            yield [*said, 0] if length < max_length else list(said)


def pad(said, max_length):
    return tuple(said) + (0,) * (max_length - len(said))


@SEEDS
@either(4, 4)
def test_every_caption_s_log_probability(tiny, seed):
    """ln P(S) with the end token (eq. 1), of every caption; they sum to one."""
    victim, params = tiny.victim, tiny.params(seed)
    features = jit(victim.encode)(params, tiny_image(seed + 100))
    captions = list(every_caption(tiny.words, tiny.max_length))
    tokens = jnp.asarray([pad(said, tiny.max_length) for said in captions], jnp.int32)
    log_probability = functools.partial(caption_log_probability, victim, params, features)
    found = jit(jax.vmap(log_probability))(tokens)
    close(found, [log_p(_literal(tiny, seed), said) for said in captions])
    close(np.exp(found).sum(), 1)


@SEEDS
@either(5, 4)
def test_greedy(tiny, seed):
    """The most probable token at every place until the end token (eq. 3), and its ln P."""
    literal = _literal(tiny, seed)
    said = []
    while len(said) < tiny.max_length and 0 not in said:
        said.append(int(np.argmax(log_probabilities(*literal, said)[-1])))
    found = decoder(tiny)(tiny.params(seed), tiny_image(seed + 100))
    assert tuple(found.tokens.tolist()) == pad(said, tiny.max_length)
    close(found.log_probability, log_p(literal, said))


def literal_beam(literal, max_length, size):
    """Beam search as people write it; [(ln P, tokens)], best first."""
    kept = [(0.0, [])]
    for _ in range(max_length):
        longer = []
        for total, said in kept:
            if 0 in said:
                longer.append((total, said))
                continue
            scores = log_probabilities(*literal, said)[-1]
            longer += [(total + score, [*said, token]) for token, score in enumerate(scores)]
        kept = sorted(longer, key=lambda x: -x[0])[:size]
    return kept


@pytest.mark.parametrize(
    ("tiny", "size"),
    [*((Tiny(5, 4), size) for size in range(1, 6)), (Tiny(3, 3, True), 3)],
)
@SEEDS
def test_beam(tiny, seed, size):
    """Against a list-based beam search: the same captions, in order, with their ln P."""
    literal = _literal(tiny, seed)
    params, image = tiny.params(seed), tiny_image(seed + 100)
    found = decoder(tiny, size)(params, image)
    expected = literal_beam(literal, tiny.max_length, size)
    assert [tuple(row) for row in found.tokens.tolist()] == [
        pad(said, tiny.max_length) for _, said in expected
    ]
    close(found.log_probability, [log_p(literal, said) for _, said in expected])
    assert (np.diff(found.log_probability) <= 0).all()
    if size == 1:
        plain = decoder(tiny)(params, image)
        np.testing.assert_array_equal(found.tokens[0], plain.tokens)
        close(found.log_probability[0], plain.log_probability)


@pytest.mark.parametrize("max_length", [2, 3])
def test_beam_finds_the_best_caption(max_length):
    """The arg max of eq. 3 by enumeration, wherever no beam can lose it.

    A beam of n keeps the best caption if each of its prefixes is among the n most probable ones.
    """
    tiny, size = Tiny(4, max_length), 4
    applies = 0
    for seed in range(12):
        literal = _literal(tiny, seed)
        captions = list(every_caption(tiny.words, max_length))
        best = max(captions, key=lambda said: log_p(literal, said))
        safe = True
        for t in range(1, len(best) + 1):
            prefixes = {tuple(said[:t]) for said in captions}
            ranked = sorted(prefixes, key=lambda said: -log_p(literal, list(said)))
            safe &= ranked.index(tuple(best[:t])) < size
        if safe:
            applies += 1
            params, image = tiny.params(seed), tiny_image(seed + 100)
            found = decoder(tiny, size)(params, image)
            assert tuple(found.tokens[0].tolist()) == pad(best, max_length)
            close(found.log_probability[0], log_p(literal, best))
    assert applies >= 6


@SEEDS
def test_beam_as_wide_as_all_captions_ranks_them_all(seed):
    """Two words that can be said, thirty that cannot: a beam of 31 holds every caption."""
    words, max_length = 2, 4
    captions = list(every_caption(words, max_length))
    small = tiny_captioner(words, max_length)

    victim = small._replace(
        advance=lambda params, features, state, token: small.advance(
            params, features, state, jnp.minimum(token, words)
        ),
        logits=lambda *inputs: jnp.concatenate([small.logits(*inputs), jnp.full(30, -1e6)]),
        vocabulary=Vocabulary(tuple(f"w{i}" for i in range(words + 30))),
    )
    params = tiny_parameters(words, seed=seed)
    features = victim.encode(params, tiny_image(seed + 100))
    found = jit(lambda params, features: beam(victim, params, features, len(captions)))(
        params, features
    )
    literal = _literal(Tiny(words, max_length), seed)
    ranked = sorted(captions, key=lambda said: -log_p(literal, said))
    assert [tuple(row) for row in found.tokens.tolist()] == [
        pad(said, max_length) for said in ranked
    ]
    close(found.log_probability, [log_p(literal, said) for said in ranked])
