"""A Transformer captioner small enough to enumerate, and the same written out without a cache.

The picture is the grid: 16 cells of three channels. `log_probabilities` runs every block over the
whole sentence under a causal mask, head by head, from the equations of Vaswani et al. (2017).
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from helpers.tiny import SIDE, WORDS

from jaxadv.captions.captioner import Captioner
from jaxadv.victims.nets.transformer import Transformer
from jaxadv.vocabulary import Vocabulary

UNITS, HEADS = 8, 2


def tiny_network(words=3, max_length=4, layers=1, **options):
    sizes = {"units": UNITS, "layers": layers, "heads": HEADS, **options}
    return Transformer(words + 1, max_length=max_length, **sizes)


def tiny_transformer(words=3, max_length=4, layers=1):
    net = tiny_network(words, max_length, layers)

    def method(name):
        return lambda params, *inputs: net.apply(params, *inputs, method=name)

    return Captioner(
        encode=lambda params, image: net.apply(params, image - 0.5, method="prepare"),
        begin=method("begin"),
        advance=method("advance"),
        logits=method("logits"),
        vocabulary=Vocabulary(WORDS[:words]),
        max_length=max_length,
        image_shape=(SIDE, SIDE, 3),
    )


@cache
def _shapes(words, layers):
    net = tiny_network(words, layers=layers)

    def everything(net, grid):
        return net.logits(net.begin(net.prepare(grid)))

    return jax.eval_shape(
        lambda key, grid: net.init(key, grid, method=everything),
        jax.random.key(0),
        jax.ShapeDtypeStruct((SIDE, SIDE, 3), jnp.float32),
    )


def tiny_transformer_parameters(words=3, seed=0, dtype=np.float64, layers=1):
    """Every leaf at random, biases and the norms' scales, too."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape)
        name = path[-1].key
        if name == "kernel":  # of a map to heads or from them, or a plain one
            outward = path[-2].key == "out"
            inputs = np.prod(leaf.shape[:-1]) if outward else leaf.shape[0]
            noise = 1.5 * noise / np.sqrt(inputs)
        elif name in ("bias", "scale"):
            noise = 0.3 * noise + (name == "scale")
        return jnp.asarray(noise, dtype)

    return jax.tree_util.tree_map_with_path(draw, _shapes(words, layers))


# --- the paper, literally ------------------------------------------------------------------------


def log_probabilities(params, image, said, xp=np):
    """ln P(S_t = . | S_<t) before the first word and after each word of `said`."""
    scores = logits(params, image - 0.5, said, xp)
    return scores - xp.log(xp.exp(scores).sum(axis=-1, keepdims=True))


def logits(params, grid, said, xp=np):
    """Scores of the word after the begin token and after each word of `said`."""
    net = params["params"]
    units = net["norm"]["scale"].shape[0]
    places = np.ndindex(*grid.shape[:2])
    where = np.array([encoding(i, units // 2) + encoding(j, units // 2) for i, j in places])
    cells = linear(grid.reshape(len(where), -1), net["att_embed"])
    cells = norm(cells + where, net["norm_grid"], xp)
    words = xp.stack([net["embed"]["embedding"][token] for token in (0, *said)])
    x = words * np.sqrt(units) + np.array([encoding(t, units) for t in range(len(words))])
    number = 0
    while f"blocks_{number}" in net:
        block = net[f"blocks_{number}"]
        normed = norm(x, block["norm_words"], xp)
        x = x + attention(normed, normed, block["words"], True, xp)
        x = x + attention(norm(x, block["norm_cells"], xp), cells, block["cells"], False, xp)
        wide = xp.maximum(linear(norm(x, block["norm_wide"], xp), block["widen"]), 0)
        x = x + linear(wide, block["narrow"])
        number += 1
    return linear(norm(x, net["norm"], xp), net["logit"])


def encoding(position, units):
    """PE(pos, 2i) = sin(pos / 10000^(2i / units)), PE(pos, 2i + 1) the cosine; sines first."""
    angles = [position / 10000 ** (2 * i / units) for i in range(units // 2)]
    return [np.sin(a) for a in angles] + [np.cos(a) for a in angles]


def linear(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def norm(x, layer, xp):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / xp.sqrt(variance + 1e-6) * layer["scale"] + layer["bias"]


def attention(x, y, layers, causal, xp):
    """Every row of x attends to the rows of y; if causal, to those up to its own."""
    _, heads, size = layers["query"]["kernel"].shape
    total = layers["out"]["bias"]
    for h in range(heads):
        q, k, v = (
            inputs @ layers[name]["kernel"][:, h] + layers[name]["bias"][h]
            for name, inputs in (("query", x), ("key", y), ("value", y))
        )
        weights = xp.exp(q @ k.T / np.sqrt(size))
        if causal:
            weights = weights * np.tril(np.ones((len(x), len(y))))
        total = (
            total + weights / weights.sum(axis=1, keepdims=True) @ v @ layers["out"]["kernel"][h]
        )
    return total
