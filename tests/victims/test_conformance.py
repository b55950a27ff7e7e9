"""`check` finds each mistake that one makes with a victim of one's own, and no other."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from helpers import nnx_tagger
from helpers.tiny import SIDE, tiny_captioner, tiny_parameters
from helpers.tiny_hasher import HASHER, hasher_parameters
from helpers.tiny_tagger import LABELS, TAGGER, tagger_parameters

from jaxadv.victims import check, zoo

CAPTIONER, WEIGHTS = tiny_captioner(), tiny_parameters(dtype="float32")
TAGGER_WEIGHTS = tagger_parameters(dtype="float32")
HASHER_WEIGHTS = hasher_parameters(dtype="float32")


def test_what_is_fine_passes():
    assert check(CAPTIONER, WEIGHTS) == []
    assert check(TAGGER, TAGGER_WEIGHTS) == []
    assert check(HASHER, HASHER_WEIGHTS) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["scenes-show-attend-tell", "scenes-transformer", "scenes-tagger", "scenes-dcmh-plus"]
)
def test_shipped_victims_pass(name):
    victim = zoo.load(name)
    assert check(victim.functions, victim.params) == []


def tagger(logits):
    """A tagger that makes something else of the tiny one's logits, or of its picture."""
    return TAGGER._replace(logits=logits), TAGGER_WEIGHTS


def after(change):
    return tagger(lambda params, image: change(TAGGER.logits(params, image)))


def before(change):
    return tagger(lambda params, image: TAGGER.logits(params, change(image)))


def captioner(**fields):
    return CAPTIONER._replace(**fields), WEIGHTS


def hasher(**fields):
    return HASHER._replace(**fields), HASHER_WEIGHTS


def with_weights(**weights):
    return TAGGER, {**TAGGER_WEIGHTS, **weights}


def wants_a_batch():
    def logits(params, images):
        flat = images.reshape(len(images), -1)
        return jnp.tanh(flat @ params["see"].T) @ params["out"].T

    return tagger(logits)


def random_numbers():
    rng = np.random.default_rng(0)
    return after(lambda scores: scores + rng.normal())


def counter():
    calls = []

    def logits(params, image):
        calls.append(1)
        return TAGGER.logits(params, image) + len(calls)

    return tagger(logits)


def learns_in_place():
    def logits(params, image):
        params["bias"] = 0.9 * params["bias"]
        return TAGGER.logits(params, image)

    return TAGGER._replace(logits=logits), dict(TAGGER_WEIGHTS)


def in_linen(alone=False, **options):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, images):
            x = nn.BatchNorm(use_running_average=False)(nn.Dense(4)(images))
            return nn.Dense(LABELS)(x.mean(axis=(1, 2)))

    net = Net()
    params = net.init(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))

    def logits(params, image):
        out = net.apply(params, image[None], **options)
        return out[0][0] if alone else out

    return TAGGER._replace(logits=logits), params


def in_nnx():
    """Merging shares the variables, so that learning changes the parameters themselves."""
    net = nnx_tagger.net(train=True)
    net.forget.deterministic = True
    return nnx_tagger.nnx_tagger(net)


def in_nnx_closed_over():
    norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    return before(lambda image: norm(image[None])[0])


def over_a_named_axis():
    return after(lambda scores: scores - jax.lax.pmean(scores, "batch"))


def black_box(**options):
    def logits(params, image):
        shape = jax.ShapeDtypeStruct((LABELS,), jnp.float32)
        return jax.pure_callback(
            lambda x: np.float32(x.mean()) * np.arange(LABELS, dtype=np.float32),
            shape,
            image,
            **options,
        )

    return tagger(logits)


def sees_the_mean():
    """Not finite where the picture is plain: it is divided by its deviation."""
    return before(lambda image: (image - image.mean()) / image.std())


def sees_distances():
    """Finite, but a root's slope at 0 is not."""
    return before(lambda image: jnp.sqrt(image))


def empty_bag():
    def text_code(params, bag):
        return HASHER.text_code(params, bag / bag.sum())

    return hasher(text_code=text_code)


def grown_state():
    def advance(params, features, state, token):
        return jnp.concatenate([CAPTIONER.advance(params, features, state[:6], token), state])

    return captioner(advance=advance)


def probable_words():
    def logits(params, state):
        return jax.nn.softmax(CAPTIONER.logits(params, state))

    return captioner(logits=logits)


def deaf():
    """A captioner that no gradient reaches."""

    def encode(params, image):
        return CAPTIONER.encode(params, jax.lax.stop_gradient(image))

    return captioner(encode=encode)


STATISTICS = "run batch norm on its running statistics"
MISTAKES = {  # what was done wrong: (victim and parameters, what must be said of it)
    "no victim": (lambda: (len, {}), "victim: is a builtin_.*must be one of Captioner, Multi"),
    "channels first": (
        lambda: (TAGGER._replace(image_shape=(3, SIDE, SIDE)), TAGGER_WEIGHTS),
        r"image_shape: is \(3, 4, 4\); must be \(height, width, 3\)",
    ),
    "words": (
        lambda: captioner(vocabulary=("a", "cat")),
        r"vocabulary: is a tuple; must be a jaxadv\.vocabulary\.Vocabulary",
    ),
    "no array": (lambda: with_weights(act=jnp.tanh), r"params\['act'\]: is a .*must be an array"),
    "NaN weights": (
        lambda: with_weights(bias=jnp.full(LABELS, jnp.nan)),
        r"params\['bias'\]: holds NaN or infinity; must be finite",
    ),
    "takes a batch": (wants_a_batch, "logits: takes a batch; must take one example"),
    "returns a batch": (
        lambda: after(lambda scores: scores[None]),
        r"logits: returns a batch axis, \(float32\[1, 9\]\); must return float32\[9\]",
    ),
    "other number": (
        lambda: after(lambda scores: scores[1:]),
        r"logits: returns \(float32\[8\]\); must return float32\[9\], for 9 classes",
    ),
    "whole numbers": (
        lambda: after(lambda scores: scores.astype(int)),
        r"logits: returns \(int32\[9\]\); must return float32\[9\].*floating point",
    ),
    "NumPy out": (
        lambda: tagger(lambda params, image: np.zeros(LABELS)),
        "logits: returns a ndarray; must return float32",
    ),
    "fails": (
        lambda: tagger(lambda params, image: params["hear"] @ image),
        r"logits: fails \(KeyError: 'hear'\); must accept the parameters and one example, \(float",
    ),
    "needs values": (
        lambda: before(lambda image: image if image.mean() > 0.5 else 1 - image),
        "logits: needs the values of its input .*must be traceable by JAX",
    ),
    "random numbers": (random_numbers, "logits: gives another result when called again"),
    "counter": (counter, "logits: gives another result when called again; must be a pure"),
    "learns in place": (learns_in_place, f"logits: changes its parameters in place.*{STATISTICS}"),
    "Linen, updates returned": (
        lambda: in_linen(mutable=["batch_stats"]),
        f"logits: returns a tuple of 2; must return float32.*{STATISTICS}",
    ),
    "Linen, updates refused": (in_linen, f"logits: changes variables of its own.*{STATISTICS}"),
    "Linen, updates dropped": (
        lambda: in_linen(alone=True, mutable=["batch_stats"]),
        f"params.*BatchNorm.*mean.*: nothing depends on these statistics; {STATISTICS}",
    ),
    "NNX, trains": (in_nnx, f"logits: changes its parameters in place.*{STATISTICS}"),
    "NNX, closed over": (
        in_nnx_closed_over,
        rf"logits: changes variables of its own \(TraceContextError\).*{STATISTICS}",
    ),
    "named axis": (over_a_named_axis, f"logits: takes a mean over a batch.*{STATISTICS}"),
    "not finite": (sees_the_mean, "logits: gives NaN or infinity on a black picture"),
    "bag not finite": (empty_bag, "text_code: gives NaN or infinity on a bag of zeros"),
    "pixels of 0..255": (
        lambda: before(lambda image: (image - 120) / 128),
        r"logits: hardly tells black from white .*must normalise pictures of 0\.\.1",
    ),
    "sigmoid inside": (
        lambda: after(jax.nn.sigmoid),
        r"logits: all lie in 0\.\.1, like probabilities; must be the scores before the sigmoid",
    ),
    "softmax inside": (probable_words, r"logits: all lie in 0\.\.1.*before the softmax"),
    "no batching": (
        lambda: black_box(),
        "logits: cannot be batched .*must work in jax.vmap",
    ),
    "no gradient": (
        lambda: black_box(vmap_method="sequential"),
        "logits: has no gradient .*must be differentiable in reverse",
    ),
    "gradient not finite": (sees_distances, "logits: the gradient to the picture holds NaN"),
    "gradient 0": (
        lambda: hasher(image_code=lambda p, x: jnp.sign(HASHER.image_code(p, x))),
        "image_code: the gradient to the picture is 0 everywhere",
    ),
    "bag's gradient 0": (
        lambda: hasher(text_code=lambda p, x: HASHER.text_code(p, jnp.round(x))),
        "text_code: the gradient to the bag of words is 0 everywhere",
    ),
    "bits": (
        lambda: hasher(bits=8),
        r"image_code: returns \(float32\[6\]\); must return float32\[8\], for 8 bits",
    ),
    "vocabulary": (
        lambda: captioner(vocabulary=tiny_captioner(words=3).vocabulary),
        r"logits: returns \(float32\[5\]\); must return float32\[4\], for 3 words and the end",
    ),
    "max_length": (lambda: captioner(max_length=0), "max_length: is 0; must be a whole number"),
    "state grows": (
        grown_state,
        r"advance: returns a state \(float32\[12\]\); must have .* of begin's, \(float32\[6\]\)",
    ),
    "token ignored by encode": (deaf, "encode, begin, .*: the gradient to the picture is 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named(mistake):
    make, sentence = MISTAKES[mistake]
    found = check(*make())
    assert any(re.match(sentence, one) for one in found), found


def test_one_mistake_is_said_once():
    """What follows from it is not said as well."""
    for name in ("channels first", "takes a batch", "returns a batch", "other number"):
        assert len(check(*MISTAKES[name][0]())) == 1
