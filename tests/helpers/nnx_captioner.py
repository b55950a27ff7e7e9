"""A captioner in Flax NNX over any grid of features, and how it is fitted."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxadv.captions.captioner import Captioner, caption_log_probability


class Speaker(nnx.Module):
    """Looks at the grid with what it said last, and hears both in a GRU."""

    def __init__(self, channels, words, units, *, rngs):
        self.words = nnx.Embed(words, units, rngs=rngs)
        self.ask = nnx.Linear(units, channels, rngs=rngs)
        self.cell = nnx.GRUCell(units + channels, units, rngs=rngs)
        self.say = nnx.Linear(units, words, rngs=rngs)

    def __call__(self, grid, state, token):
        seen = nnx.softmax(grid @ self.ask(state) / grid.shape[-1] ** 0.5) @ grid
        return self.cell(state, jnp.concatenate([self.words(token), seen]))[0]


def nnx_captioner(see, params, vocabulary, image_shape, *, units, max_length=14, seed=0):
    """The victim and its parameters; `see(params, image)` is the grid f32[cells, C] it looks at."""
    grid = jax.eval_shape(see, params, jnp.zeros(image_shape))
    speaker = Speaker(grid.shape[-1], vocabulary.size, units, rngs=nnx.Rngs(seed))
    graph, state = nnx.split(speaker)

    def encode(params, image):
        return see(params["see"], image)

    def begin(params, grid):
        return advance(params, grid, jnp.zeros(units, grid.dtype), jnp.asarray(0))

    def advance(params, grid, state, token):
        return nnx.merge(graph, params["speaker"])(grid, state, token)

    def logits(params, state):
        return nnx.merge(graph, params["speaker"]).say(state)

    victim = Captioner(encode, begin, advance, logits, vocabulary, max_length, image_shape)
    return victim, {"see": params, "speaker": state}


def fit(victim, params, data, *, steps, rate, batch=64):
    """Adam on the likelihood of captions; `data.inputs` are grids: what sees them stays."""
    grids, captions, owner = map(jnp.asarray, data)
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(speaker, grids, captions):
        whole = {**params, "speaker": speaker}
        of = jax.vmap(caption_log_probability, in_axes=(None, None, 0, 0))
        return -of(victim, whole, grids, captions).mean()

    def step(number, carry):
        speaker, state = carry
        rows = jax.random.choice(jax.random.key(number), len(captions), (batch,))
        slope = jax.grad(loss)(speaker, grids[owner[rows]], captions[rows])
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(speaker, updates), state

    carry = params["speaker"], optimiser.init(params["speaker"])
    speaker, _ = jax.jit(lambda carry: jax.lax.fori_loop(0, steps, step, carry))(carry)
    return {**params, "speaker": speaker}
