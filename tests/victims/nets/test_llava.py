"""LLaVA, its Qwen2 relative and SmolVLM: against `transformers`, and against themselves."""

import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.captions.captioner import (
    Captioner,
    caption_log_probability,
    greedy,
    teacher_forced_logits,
)
from jaxadv.errors import InputError
from jaxadv.porting.fitting import fit, misfits
from jaxadv.porting.hub_llava_tables import llava_table, llava_unused
from jaxadv.porting.wrapping import unwrapped
from jaxadv.victims.nets.caption_net import as_captioner
from jaxadv.victims.nets.llava import Llava, from_config
from jaxadv.vocabulary import Vocabulary

IMAGE_TOKEN, WORDS, LENGTH = 59, 60, 6
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
BEFORE, AFTER = (1, 7, 30), (8, 9)  # of the tokenizer

_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
_TEXT = {
    "vocab_size": WORDS,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": None,
}
TINY = {
    "llava-1.5": {
        "model_type": "llava",
        "image_token_index": IMAGE_TOKEN,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vision_config": {"model_type": "clip_vision_model", **_TOWER},
        "text_config": {"model_type": "llama", "rms_norm_eps": 1e-5, **_TEXT},
        "tie_word_embeddings": False,
    },
    "llava-interleave-qwen": {  # a picture whose last pixels make no patch
        "model_type": "llava",
        "image_token_index": IMAGE_TOKEN,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "vision_config": {
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            **_TOWER,
            "image_size": 19,
        },
        "text_config": {
            "model_type": "qwen2",
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
            **_TEXT,
        },
    },
    "smolvlm": {
        "model_type": "idefics3",
        "image_token_id": IMAGE_TOKEN,
        "scale_factor": 2,
        "vision_config": {"model_type": "idefics3_vision", **_TOWER, "image_size": 32},
        "text_config": {
            "model_type": "llama",
            "rope_theta": 1e5,
            "head_dim": 8,
            **_TEXT,
            "num_key_value_heads": 1,
        },
        "tie_word_embeddings": False,
    },
}
every_network = pytest.mark.parametrize("name", TINY)


class Ported(NamedTuple):
    """A network of `transformers`, and the same as a victim."""

    net: Any
    victim: Captioner
    params: Any
    end: int
    tokens: int  # that a picture becomes


def network(config, end=0, **options):
    """A network whose prompt is in numbers, for a tokenizer whose texts end with `end`."""
    before, after = (tuple(numbered(part, end)) for part in (BEFORE, AFTER))
    prompt = {"before": before, "after": after, **options}
    return Llava(from_config(config), MEAN, STD, max_length=LENGTH, **prompt)


def numbered(tokens, end):
    """The tokenizer's tokens as numbers of words, or the other way round."""
    return [{end: 0, 0: end}.get(int(token), int(token)) for token in tokens]


def side_of(config):
    return config["vision_config"]["image_size"]


def captioner(net, config):
    words = tuple(f"w{number}" for number in range(1, WORDS))
    return as_captioner(net, Vocabulary(words), LENGTH, (side_of(config), side_of(config), 3))


def shapes_of(net):
    side = net.config.tower.image
    return jax.eval_shape(
        net.init, jax.random.key(0), jax.ShapeDtypeStruct((side, side, 3), np.float32)
    )


def ported(arrays, config, end):
    """The variables of a file."""
    net = network(config, end)
    shapes = shapes_of(net)
    for name in llava_unused(net.config, arrays.keys()):
        del arrays[name]
    table = llava_table(shapes, net.config, arrays.keys(), end)
    return fit(arrays, table, shapes, "model.safetensors")[0]


def picture(config, seed=0):
    side = side_of(config)
    return np.random.default_rng(seed).uniform(size=(side, side, 3)).astype(np.float32)


def caption(seed=1):
    return np.random.default_rng(seed).integers(1, WORDS - 1, LENGTH)


def inputs(hub, config, image, words=()):
    """What the network of `transformers` takes, and the picture's leaf."""
    import torch

    pixels, leaf = hub.as_pixels(image, MEAN, STD)
    if config["model_type"] == "idefics3":
        pixels = pixels[None]
    seen = [IMAGE_TOKEN] * from_config(config).tokens
    tokens = torch.tensor([[*BEFORE, *seen, *AFTER, *words]])
    everything = torch.ones_like(tokens)
    return {"input_ids": tokens, "pixel_values": pixels, "attention_mask": everything}, leaf


def generated(hub, net, config, image, **options):
    given, _ = inputs(hub, config, image)
    length = given["input_ids"].shape[1]
    given["pixel_values"] = given["pixel_values"].detach()
    said = net.generate(**given, max_new_tokens=LENGTH, num_beams=1, do_sample=False, **options)
    return said[0, length:].tolist()


@pytest.fixture(scope="module", params=TINY)
def pair(request, hub, tmp_path_factory):
    """A network and what it saves, ported; texts end with what it says in the fourth place."""
    config = TINY[request.param]
    net = hub.random_network(config)
    said = generated(hub, net, config, picture(config), eos_token_id=None, pad_token_id=0)
    end = next(word for word in said[3:] if word not in said[:3])
    arrays = hub.saved(net, tmp_path_factory.mktemp(request.param))
    params = ported(arrays, config, end)
    assert not arrays  # nothing left over
    victim = captioner(network(config, end), config)
    return config, Ported(net, victim, params, end, from_config(config).tokens)


@partial(jax.jit, static_argnums=0)
def told(victim, params, image, numbers):
    """The gradient of a caption's log-likelihood with respect to the picture, and the scores."""

    def likelihood(image):
        features = victim.encode(params, image)
        scores = teacher_forced_logits(victim, params, features, numbers)
        return caption_log_probability(victim, params, features, numbers), scores

    return jax.grad(likelihood, has_aux=True)(image)


@partial(jax.jit, static_argnums=0)
def spoken(victim, params, image):
    return greedy(victim, params, victim.encode(params, image))


def test_scores_and_gradients_are_those_of_transformers(hub, pair):
    """At every place of a caption, of every word; and of its likelihood, at every pixel."""
    config, (net, victim, params, end, tokens) = pair
    image, said = picture(config), caption()
    given, leaf = inputs(hub, config, image, said[:-1])
    first = len(BEFORE) + tokens + len(AFTER) - 1
    scores = net(**given).logits[0, first:]
    scores.log_softmax(-1)[range(LENGTH), said].sum().backward()
    found, found_scores = told(victim, params, image, jnp.asarray(numbered(said, end)))
    expected = scores.detach().numpy()[:, numbered(range(WORDS), end)]
    for what, mine, theirs in (
        ("scores", found_scores, expected),
        ("gradients", found, leaf.grad.numpy()),
    ):
        difference, largest = np.abs(mine - theirs).max(), np.abs(theirs).max()
        print(f"\n{what} up to {largest:.2g} differ by {difference:.1e} at most")
        assert largest > 0.1
        assert difference < 1e-4


def test_greedy_captions_are_those_of_transformers(hub, pair):
    """Token for token, of several pictures, of which one caption ends early."""
    config, (net, victim, params, end, _) = pair
    lengths = set()
    for seed in range(4):
        image = picture(config, seed)
        said = generated(hub, net, config, image, eos_token_id=end, pad_token_id=end)
        expected = numbered(said, end)
        lengths.add(len(expected))
        found = spoken(victim, params, image).tokens
        np.testing.assert_array_equal(found, expected + [0] * (LENGTH - len(expected)))
    assert min(lengths) < LENGTH


OLD = ((r"^vision_tower\.", "vision_tower.vision_model."),)  # as published
COUNTERS = (  # which were published with them
    "vision_tower.vision_model.embeddings.position_ids",
    "language_model.model.layers.0.self_attn.rotary_emb.inv_freq",
)
NEW = (  # as `transformers` names the network's parts since
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
)


@pytest.mark.parametrize("renamed", [OLD, NEW], ids=["old", "new"])
@pytest.mark.parametrize("name", ["llava-1.5", "llava-interleave-qwen"])
def test_names_of_other_releases(hub, name, renamed, tmp_path):
    config = TINY[name]
    arrays = hub.saved(hub.random_network(config), tmp_path)
    other = dict.fromkeys(COUNTERS, np.zeros(1)) if renamed == OLD else {}
    for key, value in arrays.items():
        for pattern, by in renamed:
            key = re.sub(pattern, by, key)
        other[key] = value
    assert other.keys() != arrays.keys()
    other = unwrapped(other, "as `readers.read` does")
    jax.tree.map(np.testing.assert_array_equal, *(ported(a, config, 5) for a in (arrays, other)))


PUBLISHED = {
    "llava-hf/llava-1.5-7b-hf": {
        "image_token_index": 32000,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": {
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "rms_norm_eps": 1e-05,
            "vocab_size": 32064,
        },
        "tie_word_embeddings": False,
        "vision_config": {
            "hidden_size": 1024,
            "image_size": 336,
            "intermediate_size": 4096,
            "model_type": "clip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
            "projection_dim": 768,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
    "llava-hf/llava-interleave-qwen-0.5b-hf": {
        "image_token_index": 151646,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": {
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "model_type": "qwen2",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "num_key_value_heads": 16,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": True,
            "vocab_size": 152000,
        },
        "vision_config": {
            "hidden_size": 1152,
            "image_size": 384,
            "intermediate_size": 4304,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 26,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    },
    "HuggingFaceTB/SmolVLM-256M-Instruct": {
        "image_token_id": 49190,
        "model_type": "idefics3",
        "scale_factor": 4,
        "text_config": {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "model_type": "llama",
            "num_attention_heads": 9,
            "num_hidden_layers": 30,
            "num_key_value_heads": 3,
            "rms_norm_eps": 1e-05,
            "rope_theta": 100000,
            "vocab_size": 49280,
        },
        "tie_word_embeddings": False,
        "vision_config": {
            "hidden_size": 768,
            "image_size": 512,
            "intermediate_size": 3072,
            "model_type": "idefics3",
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "patch_size": 16,
        },
    },
}
TOKENS = dict(zip(PUBLISHED, (576, 729, 64), strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(hub, name):
    """Leaf for leaf, those of the original network."""
    net = network(PUBLISHED[name], end=2)
    arrays = hub.published_arrays(PUBLISHED[name])
    used = {k: arrays[k] for k in arrays.keys() - llava_unused(net.config, arrays.keys())}
    shapes = shapes_of(net)
    table = llava_table(shapes, net.config, used.keys(), end=2)
    assert misfits(used, table, shapes) == []
    assert net.config.tokens == TOKENS[name]


def random_variables(net, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), dtype), shapes_of(net))


@every_network
def test_cached_equals_uncached(name, float64):
    """A word at a time as if those before it had been in the prompt."""
    config = TINY[name]
    net, said = network(config), tuple(int(word) for word in caption())
    params, image = random_variables(net, dtype=np.float64), jnp.asarray(picture(config), "float64")
    _, found = told(captioner(net, config), params, image, jnp.asarray(said))
    for place in (0, 2, LENGTH - 1):
        whole = jax.jit(network(config, after=(*AFTER, *said[:place])).apply)
        np.testing.assert_allclose(found[place], whole(params, image), rtol=0, atol=1e-10)


@every_network
def test_a_picture_is_the_same_in_a_batch(name):
    """Its caption and the likelihood of that."""
    config = TINY[name]
    victim = captioner(network(config), config)
    params = random_variables(network(config))
    images = jnp.stack([picture(config, seed) for seed in range(3)])
    together = jax.vmap(spoken, in_axes=(None, None, 0))(victim, params, images)
    alone = spoken(victim, params, images[1])
    np.testing.assert_array_equal(together.tokens[1], alone.tokens)
    np.testing.assert_allclose(together.log_probability[1], alone.log_probability, rtol=1e-5)


@every_network
def test_captions_share_the_keys_of_the_picture(name):
    """The state of a caption has room for its own words only."""
    config = TINY[name]
    net = network(config)
    victim, params = captioner(net, config), random_variables(net)
    features = jax.eval_shape(victim.encode, params, picture(config))
    state = jax.eval_shape(victim.begin, params, features)
    before = len(BEFORE) + net.config.tokens + len(AFTER)
    assert [memory.keys.shape[0] for memory in features.memories] == [before] * 2
    assert [memory.keys.shape[0] for memory in state.words] == [LENGTH] * 2


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
        ({}, "model_type is missing"),
        (changed("llava-1.5", "", model_type="fuyu"), "'fuyu', supported is llava or idefics3"),
        (changed("llava-1.5", "", vision_config=None), "vision_config is missing"),
        (changed("llava-1.5", "", text_config=None), "text_config is missing"),
        (
            changed("llava-1.5", "", vision_feature_layer=[-2, -5]),
            "is .-2, -5., supported is a whole",
        ),
        (changed("llava-1.5", "", vision_feature_layer=4), "from -4 to 3"),
        (changed("llava-1.5", "", projector_hidden_act="relu"), "'relu', supported is 'gelu'"),
        (changed("llava-1.5", "vision_config", model_type="dinov2"), "'dinov2', supported is"),
        (
            changed("llava-1.5", "vision_config", hidden_size=15),
            "15, supported is a multiple of .*, 2",
        ),
        (changed("llava-1.5", "vision_config", patch_size=0), "patch_size is 0, supported is"),
        (
            changed("llava-1.5", "vision_config", patch_size=32),
            "patch_size is 32, supported is .* 1 to 16",
        ),
        (changed("llava-1.5", "text_config", model_type="mistral"), "supported is llama or qwen2"),
        (
            changed("llava-1.5", "text_config", rms_norm_eps="no"),
            "rms_norm_eps is 'no', supported is",
        ),
        (changed("llava-1.5", "text_config", attention_bias=True), "attention_bias is True"),
        (
            changed("llava-1.5", "text_config", num_key_value_heads=3),
            "4, supported is a multiple of .*, 3",
        ),
        (
            changed("llava-1.5", "text_config", rope_scaling={"type": "linear", "factor": 2.0}),
            "text_config.rope_scaling.type is 'linear'",
        ),
        (changed("smolvlm", "", scale_factor=3), "scale_factor is 3, supported is a divisor of 4"),
    ],
)
def test_what_is_not_supported_is_named(config, message):
    with pytest.raises(InputError, match=message):
        from_config(config)


def test_pictures_have_the_size_of_the_tower():
    net = network(TINY["llava-1.5"])
    with pytest.raises(InputError, match=r"image of \(16, 8, 3\): must be \(16, 16, 3\)"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((16, 8, 3)))
