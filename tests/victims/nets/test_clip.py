"""CLIP and SigLIP: against `transformers`, and against themselves."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.errors import InputError
from jaxadv.porting.fitting import fit, misfits
from jaxadv.porting.hub_clip_tables import clip_table, clip_unused
from jaxadv.victims.nets.clip import Clip, ClipConfig, Siglip, from_config

WORDS, LENGTH, END = 60, 7, 59
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)

_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_TOWER = {**_SIZES, "image_size": 16, "patch_size": 8}
_TEXT = {**_SIZES, "vocab_size": WORDS, "max_position_embeddings": LENGTH + 1}
TINY = {
    "clip": {
        "model_type": "clip",
        "projection_dim": 12,
        "vision_config": {**_TOWER, "model_type": "clip_vision_model", "projection_dim": 12},
        "text_config": {
            **_TEXT,
            "model_type": "clip_text_model",
            "hidden_size": 20,
            "eos_token_id": END,
            "projection_dim": 12,
        },
    },
    "siglip": {
        "model_type": "siglip",
        "vision_config": {**_TOWER, "model_type": "siglip_vision_model", "image_size": 19},
        "text_config": {**_TEXT, "model_type": "siglip_text_model"},
    },
}
TINY["clip-old"] = {  # whose configuration names another end
    **TINY["clip"],
    "text_config": {**TINY["clip"]["text_config"], "eos_token_id": 2},
}
every_network = pytest.mark.parametrize("name", TINY)


def network(config):
    size = from_config(config)
    return (Clip if isinstance(size, ClipConfig) else Siglip)(size, MEAN, STD)


def shapes_of(net, length=LENGTH):
    side = net.config.tower.image
    return jax.eval_shape(
        net.init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((side, side, 3), np.float32),
        jax.ShapeDtypeStruct((length,), np.int32),
    )


def picture(config, seed=0):
    side = config["vision_config"]["image_size"]
    return np.random.default_rng(seed).uniform(size=(side, side, 3))


def text(seed=0):
    """Words, the end, and others behind it as padding."""
    rng = np.random.default_rng(seed)
    return np.asarray([*rng.integers(3, END, LENGTH - 2), END, 1])


class Ported(NamedTuple):
    config: Any
    net: Any
    mine: Any
    params: Any


@pytest.fixture(params=TINY)
def pair(request, hub, tmp_path, float64):
    """A network of `transformers` and what it saves, ported; both in double precision."""
    config = TINY[request.param]
    net = hub.random_network(config).double()
    arrays, mine = hub.saved(net, tmp_path), network(config)
    for name in clip_unused(arrays.keys()):
        del arrays[name]
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float64), shapes_of(mine))
    params, _ = fit(arrays, clip_table(shapes), shapes, "model.safetensors")
    assert not arrays  # nothing left over
    return Ported(config, net, mine, params)


def assert_same(what, found, expected):
    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
    print(f"\n{what} up to {largest:.2g} differ by {difference:.1e} at most")
    assert largest > 0.01
    assert difference < 1e-8


def test_embeddings_of_texts_are_those_of_transformers(pair):
    import torch

    tokens = text()
    theirs = pair.net.get_text_features(input_ids=torch.tensor(tokens[None])).pooler_output
    expected = torch.nn.functional.normalize(theirs)[0].detach().numpy()
    found = jax.jit(partial(pair.mine.apply, method="text_embedding"))(pair.params, tokens)
    assert_same("texts", found, expected)


def test_embeddings_of_pictures_and_gradients_are_those_of_transformers(hub, pair):
    """Of the similarity with one direction, with respect to the picture."""
    import torch

    image = picture(pair.config)
    pixels, leaf = hub.as_pixels(image, MEAN, STD)
    theirs = pair.net.get_image_features(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.normalize(theirs)[0]
    direction = np.random.default_rng(1).normal(size=len(expected))
    (expected @ torch.tensor(direction)).backward()

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def gradient(image):
        embedding = pair.mine.apply(pair.params, image, method="image_embedding")
        return embedding @ direction, embedding

    found, embedding = gradient(image)
    assert_same("pictures", embedding, expected.detach().numpy())
    assert_same("gradients", found, leaf.grad.numpy())


PUBLISHED = {
    "openai/clip-vit-base-patch32": {
        "model_type": "clip",
        "projection_dim": 512,
        "text_config": {
            "eos_token_id": 2,
            "hidden_act": "quick_gelu",
            "hidden_size": 512,
            "intermediate_size": 2048,
            "layer_norm_eps": 1e-05,
            "max_position_embeddings": 77,
            "model_type": "clip_text_model",
            "num_attention_heads": 8,
            "num_hidden_layers": 12,
            "projection_dim": 512,
            "vocab_size": 49408,
        },
        "vision_config": {
            "hidden_act": "quick_gelu",
            "hidden_size": 768,
            "image_size": 224,
            "intermediate_size": 3072,
            "layer_norm_eps": 1e-05,
            "model_type": "clip_vision_model",
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "patch_size": 32,
            "projection_dim": 512,
        },
    },
    "google/siglip-base-patch16-224": {
        "model_type": "siglip",
        "text_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "model_type": "siglip_text_model",
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "vocab_size": 32000,
        },
        "vision_config": {
            "hidden_size": 768,
            "image_size": 224,
            "intermediate_size": 3072,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "patch_size": 16,
        },
    },
}
PARAMETERS = dict(zip(PUBLISHED, (151_277_313, 203_155_970), strict=True))


def size_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    """All parameters."""
    assert size_of(shapes_of(network(PUBLISHED[name]))) == PARAMETERS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_leaves(hub, name):
    """Leaf for leaf, those of the original network; old releases stored numbers of positions."""
    arrays = hub.published_arrays(PUBLISHED[name])
    arrays |= {f"{part}_model.embeddings.position_ids": np.zeros(1) for part in ("text", "vision")}
    used = {name: arrays[name] for name in arrays.keys() - clip_unused(arrays.keys())}
    shapes = shapes_of(network(PUBLISHED[name]))
    assert misfits(used, clip_table(shapes), shapes) == []


def random_variables(net, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), np.float32), shapes_of(net)
    )


@every_network
def test_items_are_the_same_in_a_batch(name):
    config, net = TINY[name], network(TINY[name])
    params = random_variables(net)
    images = np.stack([picture(config, seed) for seed in range(3)]).astype(np.float32)
    texts = np.stack([text(seed) for seed in range(3)])
    together = jax.jit(jax.vmap(net.apply, in_axes=(None, 0, 0)))(params, images, texts)
    alone = jax.jit(net.apply)(params, images[1], texts[1])
    for many, one in zip(together, alone, strict=True):
        assert float(jnp.linalg.norm(one)) == pytest.approx(1)
        np.testing.assert_allclose(many[1], one, atol=1e-5)


def test_what_stands_behind_the_end_does_not_count():
    """In CLIP; SigLIP reads its padding."""
    for name, same in (("clip", True), ("siglip", False)):
        net = network(TINY[name])
        embed = jax.jit(partial(net.apply, random_variables(net), method="text_embedding"))
        padded = text()
        padded[-1] = 30
        assert np.allclose(embed(text()), embed(padded), atol=1e-6) == same


def changed(name, part, **values):
    config = dict(TINY[name])
    target = config
    if part:
        target = config[part] = dict(config[part])
    target.update(values)
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            changed("clip", "", model_type="blip"),
            "model_type is 'blip', supported is clip or siglip",
        ),
        (changed("clip", "", text_config=None), "text_config is missing"),
        (
            changed("clip", "text_config", hidden_act="relu"),
            "text_config.hidden_act is 'relu', supported",
        ),
        (
            changed("clip", "text_config", eos_token_id=-1),
            "eos_token_id is -1, supported is a token",
        ),
        (
            changed("siglip", "text_config", projection_size=8),
            "projection_size is 8, supported is 16",
        ),
        (changed("siglip", "vision_config", layer_norm_eps=0), "layer_norm_eps is 0, supported is"),
    ],
)
def test_what_is_not_supported_is_named(config, message):
    with pytest.raises(InputError, match=message):
        from_config(config)


def test_texts_are_no_longer_than_there_are_positions():
    with pytest.raises(InputError, match="text of 9 tokens: the most are 8"):
        shapes_of(network(TINY["clip"]), length=9)
