"""A captioner in Equinox: its arrays are the parameters, the rest stays in the functions."""

import equinox as eqx
import jax
import jax.numpy as jnp
from helpers.tiny import SIDE, WORDS

from jaxadv.captions.captioner import Captioner
from jaxadv.vocabulary import Vocabulary

UNITS = 8


class Net(eqx.Module):
    """A linear look, a GRU that hears the last word, a linear say."""

    see: eqx.nn.Linear
    words: eqx.nn.Embedding
    cell: eqx.nn.GRUCell
    say: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.see = eqx.nn.Linear(SIDE * SIDE * 3, UNITS, key=keys[0])
        self.words = eqx.nn.Embedding(len(WORDS) + 1, UNITS, key=keys[1])
        self.cell = eqx.nn.GRUCell(2 * UNITS, UNITS, key=keys[2])
        self.say = eqx.nn.Linear(UNITS, len(WORDS) + 1, key=keys[3])


def equinox_captioner(net):
    """The victim and its parameters."""
    params, rest = eqx.partition(net, eqx.is_array)

    def whole(params):
        return eqx.combine(params, rest)

    def encode(params, image):
        return jnp.tanh(3 * whole(params).see(4 * image.reshape(-1) - 2))

    def advance(params, features, state, token):
        net = whole(params)
        return net.cell(jnp.concatenate([features, net.words(token)]), state)

    def begin(params, features):
        return advance(params, features, jnp.zeros(UNITS), jnp.asarray(0))

    def logits(params, state):
        return 8 * whole(params).say(state)

    vocabulary = Vocabulary(WORDS)
    return Captioner(encode, begin, advance, logits, vocabulary, 4, (SIDE, SIDE, 3)), params
