"""The table of attacks, on a tiny victim, that every driver is tested with."""

from functools import cache

import jax
import jax.numpy as jnp
import optax
from helpers.tiny import batch_of, tiny_captioner, tiny_image, tiny_parameters
from helpers.tiny_transformer import tiny_transformer, tiny_transformer_parameters

from jaxadv.captions.captioner import greedy
from jaxadv.captions.gem import gem
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import make_target, parse_keywords
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.constraints import clip, tanh

LENGTH = 5
VICTIM = tiny_captioner(words=4, max_length=LENGTH)
PARAMETERS = tiny_parameters(words=4, dtype="float32")
TRANSFORMER = tiny_transformer(words=4, max_length=LENGTH)
TRANSFORMER_PARAMETERS = tiny_transformer_parameters(words=4, seed=2, dtype="float32")
OPTIMISER = optax.adam(0.02, eps_root=1e-16)


def _search(**options):
    return show_and_fool(VICTIM, iterations=30, optimiser=OPTIMISER, **options)


ATTACKS = {  # name: (attack, kind of target)
    "gem": (gem(VICTIM, lanes=9, optimiser=OPTIMISER), "partial"),
    "gem-joint": (gem(VICTIM, posterior="joint", lanes=9, optimiser=OPTIMISER), "partial"),
    "gem-tanh": (gem(VICTIM, lanes=9, constraint=tanh(), optimiser=OPTIMISER), "partial"),
    "ssvm": (ssvm(VICTIM, optimiser=OPTIMISER), "partial"),
    "margin": (_search(), "complete"),
    "logits": (_search(loss="logits"), "complete"),
    "linf-clip": (_search(distance="linf", constraint=clip()), "complete"),
    "leave-margin": (_search(targeted=False), "complete"),
    "leave-logits": (_search(targeted=False, loss="logits"), "complete"),
    "say": (_search(aim="keywords"), "keywords"),
    "say-logits": (_search(aim="keywords", loss="logits"), "keywords"),
    "avoid": (_search(aim="keywords", targeted=False), "keywords"),
    "avoid-logits": (_search(aim="keywords", targeted=False, loss="logits"), "keywords"),
    "untargeted": (untargeted(VICTIM, optimiser=OPTIMISER), "complete"),
}


ON_TRANSFORMER = {  # the same on another victim
    "gem": (gem(TRANSFORMER, lanes=3, optimiser=OPTIMISER), "partial"),
    "gem-joint": (gem(TRANSFORMER, posterior="joint", lanes=3, optimiser=OPTIMISER), "partial"),
    "ssvm": (ssvm(TRANSFORMER, optimiser=OPTIMISER), "partial"),
    "margin": (show_and_fool(TRANSFORMER, iterations=30, optimiser=OPTIMISER), "complete"),
    "untargeted": (untargeted(TRANSFORMER, optimiser=OPTIMISER), "present"),
}


def targets_of(kind, count, transformer=False):
    """Targets of different lengths and latent places, stacked."""
    makers = {"complete": _complete, "partial": _partial, "keywords": _keywords}
    make, first = makers.get(kind, _complete), 0 if kind == "present" else 100
    targets = [make(i, _said(first + i, transformer) or [1]) for i in range(count)]
    return jax.tree.map(lambda *x: jnp.stack(x), *targets)


@cache
def _said(number, transformer):
    """What the victim says of a picture, another one but for `present`: a caption it can say."""
    parameters = TRANSFORMER_PARAMETERS if transformer else PARAMETERS
    tokens = _speaker(transformer)(parameters, tiny_image(number, dtype="float32"))
    return [int(t) for t in tokens if t]


@cache
def _speaker(transformer):
    victim = TRANSFORMER if transformer else VICTIM
    return jax.jit(lambda p, image: greedy(victim, p, victim.encode(p, image)).tokens)


def _complete(i, tokens):
    return make_target(tokens, LENGTH)


def _partial(i, tokens):
    latent = {i % len(tokens)} if i % 2 and len(tokens) > 1 else set()
    latent |= {2} if i % 3 == 1 and len(tokens) > 3 else set()
    return make_target(tokens, LENGTH, latent, ends=i % 3 > 0)


def _keywords(i, tokens):
    return parse_keywords(("cat", "dog sits", "a dog")[i % 3], VICTIM.vocabulary)


def pictures(count):
    return batch_of(lambda seed: tiny_image(seed, dtype="float32"), count)
