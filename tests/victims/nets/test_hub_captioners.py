"""Captioners of the Hub: each is the network of `transformers`, read from the file it saves."""

import copy
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.captions.captioner import (
    beam,
    caption_log_probability,
    greedy,
    teacher_forced_logits,
)
from jaxadv.errors import InputError
from jaxadv.porting import hub_tables, readers
from jaxadv.porting.fitting import Misfit, fit, misfits
from jaxadv.subwords import number_of
from jaxadv.victims import check
from jaxadv.victims.nets.blip import Blip, BlipConfig
from jaxadv.victims.nets.caption_net import as_captioner
from jaxadv.victims.nets.git import Git, GitConfig
from jaxadv.victims.nets.vit_gpt2 import ViTGPT2, ViTGPT2Config
from jaxadv.vocabulary import END, Vocabulary

LENGTH = 8
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


class Kind(NamedTuple):
    network: type
    config: type
    table: object
    model: str
    of_torch: str


KINDS = {
    "vit-gpt2": Kind(
        ViTGPT2,
        ViTGPT2Config,
        hub_tables.vit_gpt2_table,
        "VisionEncoderDecoderModel",
        "VisionEncoderDecoderConfig",
    ),
    "blip": Kind(
        Blip, BlipConfig, hub_tables.blip_table, "BlipForConditionalGeneration", "BlipConfig"
    ),
    "git": Kind(Git, GitConfig, hub_tables.git_table, "GitForCausalLM", "GitConfig"),
}

VIT = {
    "hidden_size": 768,
    "image_size": 224,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "patch_size": 16,
}
BERT = {
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "num_attention_heads": 12,
    "pad_token_id": 0,
}
#: the part of the published files that says what the network is
PUBLISHED = {
    "vit-gpt2": {
        "model_type": "vision-encoder-decoder",
        "decoder_start_token_id": 50256,
        "eos_token_id": 50256,
        "pad_token_id": 50256,
        "encoder": {
            **VIT,
            "model_type": "vit",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "qkv_bias": True,
        },
        "decoder": {
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "add_cross_attention": True,
            "bos_token_id": 50256,
            "eos_token_id": 50256,
            "is_decoder": True,
            "layer_norm_epsilon": 1e-5,
            "n_embd": 768,
            "n_head": 12,
            "n_inner": None,
            "n_layer": 12,
            "n_positions": 1024,
            "vocab_size": 50257,
        },
    },
    "blip": {
        "model_type": "blip",
        "text_config": {
            **BERT,
            "bos_token_id": 30522,
            "eos_token_id": 2,
            "is_decoder": True,
            "max_position_embeddings": 512,
            "num_hidden_layers": 12,
            "sep_token_id": 102,
            "vocab_size": 30524,
        },
        "vision_config": {
            **VIT,
            "image_size": 384,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
        },
    },
    "git": {
        **BERT,
        "model_type": "git",
        "bos_token_id": 101,
        "eos_token_id": 102,
        "max_position_embeddings": 1024,
        "num_hidden_layers": 6,
        "num_image_with_embedding": None,
        "tie_word_embeddings": False,
        "vocab_size": 30522,
        "vision_config": {
            **VIT,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "num_channels": 3,
        },
    },
}
PUBLISHED["blip-large"] = {
    **PUBLISHED["blip"],
    "vision_config": {
        **PUBLISHED["blip"]["vision_config"],
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
}

SEES = {
    "hidden_size": 16,
    "image_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 8,
}
SPEAKS = {**SEES, "max_position_embeddings": 16, "vocab_size": 20, "bos_token_id": 18}
GPT2 = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 16, "vocab_size": 20}
END_TOKEN = {"bos_token_id": 19, "eos_token_id": 19}
#: what is small in their likes; of the second, the tower is wider than the decoder
SMALL = {
    "vit-gpt2": {
        "decoder_start_token_id": 19,
        "eos_token_id": 19,
        "pad_token_id": 19,
        "encoder": SEES,
        "decoder": {**GPT2, **END_TOKEN},
    },
    "vit-gpt2-projected": {
        "decoder_start_token_id": 3,
        "eos_token_id": 19,
        "pad_token_id": 5,
        "encoder": {**SEES, "hidden_size": 24, "image_size": 24},
        "decoder": {**GPT2, **END_TOKEN, "n_inner": 40},
    },
    "blip": {
        "text_config": {**SPEAKS, "sep_token_id": 7},
        "vision_config": {**SEES, "hidden_size": 24, "image_size": 24},
    },
    "git": {**SPEAKS, "eos_token_id": 7, "vision_config": {**SEES, "hidden_size": 24}},
}
PROMPTS = {"blip": (4, 11, 9)}  # tokens of the tokenizer


def merged(base, changes):
    """The changes in nested dicts; only keys that are published, so that none goes unread."""
    base = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict):
            base[key] = merged(base[key], value)
        elif key in base:
            base[key] = value
    return base


def kind_of(name):
    return KINDS["blip" if name.startswith("blip") else name.removesuffix("-projected")]


def small(name):
    return merged(PUBLISHED[name.removesuffix("-projected")], SMALL[name])


def side_of(network):
    return network.config.vision.side


@cache
def network_of(name, length=LENGTH):
    kind = kind_of(name)
    config = kind.config.from_config(small(name))
    prompt = tuple(number_of(token, config.end) for token in PROMPTS.get(name, ()))
    return kind.network(config, MEAN, STD, length, prompt)


def shapes_of(network):
    side = side_of(network)
    image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), image)


@cache
def victim_of(name, length=LENGTH):
    network = network_of(name, length)
    side = side_of(network)
    sizes = network.config.text
    words = Vocabulary(tuple(f"w{i}" for i in range(1, sizes.vocabulary_size)))
    victim = as_captioner(network, words, length, (side, side, 3))
    # compiled as wholes: far quicker than op by op
    return victim._replace(
        **{
            part: jax.jit(getattr(victim, part))
            for part in ("encode", "begin", "advance", "logits")
        }
    )


def pictures(name, count, dtype=np.float64):
    side = side_of(network_of(name))
    return np.random.default_rng(5).uniform(size=(count, side, side, 3)).astype(dtype)


def captions(count, size=20):
    """Numbers, 0 and that of the tokenizer's end among them."""
    return np.random.default_rng(6).integers(0, size, (count, LENGTH)).astype(np.int32)


names = pytest.mark.parametrize("name", SMALL)

# ---------------------------------------------------------------- beside PyTorch


@pytest.fixture(scope="module")
def transformers(torch):
    return pytest.importorskip("transformers", reason="compares with it (extra `parity`)")


class Pair(NamedTuple):
    name: str
    model: object
    victim: object
    variables: object

    @property
    def config(self):
        return network_of(self.name).config

    @property
    def begin(self):
        """The tokenizer's tokens before the first word."""
        return (number_of(self.config.begin, self.config.end), *PROMPTS.get(self.name, ()))

    def ids(self, numbers):
        """The tokenizer's tokens."""
        return [number_of(int(number), self.config.end) for number in numbers]

    def normalised(self, torch, images):
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (MEAN, STD))
        return ((torch.as_tensor(images) - mean) / std).permute(0, 3, 1, 2)

    def scores(self, torch, images, numbers):
        """Scores before each place [pictures, places, numbers] of captions."""
        tokens = torch.tensor([[*self.begin, *self.ids(row[:-1])] for row in numbers])
        words = "decoder_input_ids" if self.name.startswith("vit-gpt2") else "input_ids"
        logits = self.model(pixel_values=images, **{words: tokens}).logits[:, -LENGTH:]
        return logits[..., self.ids(range(logits.shape[-1]))]

    def generated(self, torch, images, **how):
        """Captions as numbers [pictures, places], as `transformers` decodes them."""
        begin = torch.tensor([self.begin] * len(images))
        if self.name == "blip":  # which drops the last token, that of the tokenizer's end
            how["input_ids"] = torch.cat([begin, begin[:, :1]], dim=1)
        with torch.no_grad():
            found = self.model.generate(
                pixel_values=images, max_new_tokens=LENGTH, do_sample=False, **how
            )
        assert (found[:, : len(self.begin)] == begin).all()
        said = np.full((len(images), LENGTH), END)
        for row, tokens in enumerate(found[:, len(self.begin) :].tolist()):
            numbers = [number_of(token, self.config.end) for token in tokens]
            length = numbers.index(END) if END in numbers else len(numbers)
            said[row, :length] = numbers[:length]
        return said


#: with which captions differ, and some but not all end
SEEDS = {"vit-gpt2": 3, "vit-gpt2-projected": 3, "blip": 2, "git": 9}


def randomise(model, torch, seed):
    """Every parameter at random, biases and the norms' scales, too."""
    rng = np.random.default_rng(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = rng.normal(size=parameter.shape)
        is_scale = parameter.ndim == 1 and name.endswith("weight")
        spread = 1.8 / np.sqrt(noise.shape[-1]) if parameter.ndim == 2 else 0.3
        if "word_embeddings" in name or "wte" in name:
            spread = 0.5
        if "position_embeddings" in name or "decoder.transformer.wpe" in name:
            spread = 1.0
        parameter.data = torch.as_tensor(spread * noise + is_scale)


@pytest.fixture(params=SMALL, scope="module")
def pair(request, torch, transformers, tmp_path_factory):
    """A tiny random model in double precision and what the file that it saves becomes."""
    name, kind = request.param, kind_of(request.param)
    model = getattr(transformers, kind.model)(
        getattr(transformers, kind.of_torch)(**small(name))
    ).eval()
    if name == "git":  # its other attention rounds weights to single precision
        model.config.vision_config._attn_implementation = "sdpa"
    randomise(model, torch, SEEDS[name])
    folder = tmp_path_factory.mktemp(name)
    model.save_pretrained(folder)
    network = network_of(name)
    with jax.enable_x64(True):
        tree = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float64), shapes_of(network)
        )
        arrays = readers.read(folder / "model.safetensors")
        table = kind.table(tree, network.config)
        variables, mapped = fit(arrays, table, tree, name)
    assert len(mapped) == len(jax.tree.leaves(tree))
    return Pair(name, model, victim_of(name), variables)


@pytest.mark.usefixtures("float64")
def test_teacher_forced_scores_equal_those_of_transformers(pair, torch):
    images, numbers = pictures(pair.name, 3), captions(3)
    with torch.no_grad():
        expected = pair.scores(torch, pair.normalised(torch, images), numbers).numpy()

    @jax.jit
    def ours(image, tokens):
        features = pair.victim.encode(pair.variables, image)
        return teacher_forced_logits(pair.victim, pair.variables, features, tokens)

    for image, row, scores in zip(images, numbers, expected, strict=True):
        np.testing.assert_allclose(ours(image, row), scores, rtol=0, atol=1e-9)
        assert scores.std() > 0.1


@pytest.mark.usefixtures("float64")
def test_gradient_of_a_caption_to_the_picture_equals_that_of_transformers(pair, torch):
    image, numbers = pictures(pair.name, 1), captions(1)
    numbers[0, 5:] = END
    leaf = torch.tensor(image, requires_grad=True)
    scores = pair.scores(torch, pair.normalised(torch, leaf), numbers)[0].log_softmax(-1)
    scores[range(6), numbers[0, :6].tolist()].sum().backward()

    def ours(image):
        features = pair.victim.encode(pair.variables, image)
        return caption_log_probability(
            pair.victim, pair.variables, features, jnp.asarray(numbers[0])
        )

    found = jax.jit(jax.grad(ours))(image[0])
    np.testing.assert_allclose(found, leaf.grad.numpy()[0], rtol=0, atol=1e-9)
    assert np.abs(found).max() > 1e-3


@pytest.mark.usefixtures("float64")
def test_greedy_captions_equal_those_of_transformers(pair, torch):
    images = pictures(pair.name, 6)
    expected = pair.generated(torch, pair.normalised(torch, images), num_beams=1)

    @jax.jit
    @jax.vmap
    def ours(image):
        features = pair.victim.encode(pair.variables, image)
        return greedy(pair.victim, pair.variables, features).tokens

    np.testing.assert_array_equal(ours(images), expected)
    assert len({tuple(row) for row in expected}) > 3
    assert 0 < (expected[:, -1] == END).sum() < len(expected)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.usefixtures("float64")
def test_beam_captions_equal_those_of_transformers(pair, torch, size):
    images = pictures(pair.name, 6)
    expected = pair.generated(
        torch,
        pair.normalised(torch, images),
        num_beams=size,
        length_penalty=0.0,
        early_stopping=False,
    )

    @jax.jit
    @jax.vmap
    def ours(image):
        features = pair.victim.encode(pair.variables, image)
        return beam(pair.victim, pair.variables, features, size).tokens[0]

    np.testing.assert_array_equal(ours(images), expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_those_of_transformers(name, torch, transformers):
    """No entry of the published model is missing, left over or of another shape; no weights."""
    from transformers.core_model_loading import revert_weight_conversion

    kind = kind_of(name)
    config = kind.config.from_config(PUBLISHED[name])
    network = kind.network(config, MEAN, STD, 20)
    tree = shapes_of(network)
    with torch.device("meta"):
        of_torch = getattr(transformers, kind.of_torch)(**copy.deepcopy(PUBLISHED[name]))
        model = getattr(transformers, kind.model)(of_torch)
    stored = revert_weight_conversion(model, model.state_dict())
    zero = np.zeros((), np.float32)
    arrays = {key: np.broadcast_to(zero, value.shape) for key, value in stored.items()}
    assert misfits(arrays, kind.table(tree, config), tree) == []
    leaves = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
    pooler = sum(p.numel() for key, p in model.named_parameters() if ".pooler." in key)
    assert leaves == sum(p.numel() for p in model.parameters()) - pooler


# ---------------------------------------------------------------- by themselves


def parameters(name, dtype=np.float32):
    """Every leaf at random, biases and the norms' scales, too."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        last = path[-1].key
        outward = path[-2].key == "out"
        inputs = np.prod(leaf.shape[:-1]) if outward else leaf.shape[0]
        spread = 1.4 / np.sqrt(inputs) if last == "kernel" else 0.3
        noise = spread * rng.normal(size=leaf.shape) + (last == "scale")
        return jnp.asarray(noise, dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes_of(network_of(name)))


@names
@pytest.mark.usefixtures("float64")
def test_words_one_by_one_are_words_at_once(name):
    """A prompt gives the scores that its words give one after another."""
    victim, variables = victim_of(name), parameters(name, np.float64)
    numbers, image = jnp.asarray(captions(1)[0]), pictures(name, 1)[0]
    features = victim.encode(variables, image)
    scores = teacher_forced_logits(victim, variables, features, numbers)
    network = network_of(name)
    for place in (1, 2, 5):
        prompted = network.clone(prompt=(*network.prompt, *map(int, numbers[:place])), max_length=1)
        state = jax.jit(partial(prompted.apply, method="begin"))(variables, features)
        found = victim.logits(variables, state)
        np.testing.assert_allclose(found, scores[place], rtol=0, atol=1e-12)


@names
def test_what_is_to_come_is_not_read(name):
    """Whatever the cache holds at later places, the scores are the same, and it is written over."""
    victim, variables = victim_of(name), parameters(name)
    features = victim.encode(variables, pictures(name, 1, np.float32)[0])
    state = victim.begin(variables, features)
    read = int(state.position)
    assert read == 1 + len(network_of(name).prompt)
    assert state.words.keys.shape[:2] == (2, read + LENGTH)
    spoilt = state._replace(words=jax.tree.map(lambda x: x.at[:, read:].set(1e3), state.words))
    for token in (1, 3):
        state, spoilt = (
            victim.advance(variables, features, s, jnp.asarray(token)) for s in (state, spoilt)
        )
        np.testing.assert_array_equal(*(victim.logits(variables, s) for s in (state, spoilt)))


@names
def test_batches_change_nothing(name):
    """A caption's log-probability and its gradient are the same alone and in a batch."""
    victim, variables = victim_of(name), parameters(name)

    def value(image, tokens):
        features = victim.encode(variables, image)
        return caption_log_probability(victim, variables, features, tokens)

    one = jax.jit(jax.value_and_grad(value))
    many = jax.jit(jax.vmap(jax.value_and_grad(value)))
    images, numbers = pictures(name, 3, np.float32), captions(3)
    found, slopes = many(images, numbers)
    assert found.dtype == jnp.float32
    for row in range(3):
        expected, slope = one(images[row], numbers[row])
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)
        np.testing.assert_allclose(slopes[row], slope, rtol=0, atol=1e-4 * np.abs(slope).max())


@names
def test_conformance(name):
    """`jaxadv.victims.check` finds nothing."""
    assert check(victim_of(name, 2), parameters(name)) == []


def test_captions_longer_than_there_are_positions():
    with pytest.raises(InputError, match=r"captions of 13 words after 4 tokens: .* 16 positions"):
        shapes_of(network_of("blip", 13))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vit-gpt2", {"decoder": {"n_embd": "many"}}, "decoder.n_embd is 'many'"),
        ("vit-gpt2", {"decoder": {"n_head": 5}}, "decoder.n_embd is 768, .* multiple of .* 5"),
        ("vit-gpt2", {"encoder": {"qkv_bias": False}}, "encoder.qkv_bias is False.* True"),
        ("vit-gpt2", {"decoder": {"add_cross_attention": False}}, "decoder.add_cross_attention"),
        ("vit-gpt2", {"decoder_start_token_id": 50257}, "decoder_start_token_id is 50257"),
        ("blip", {"text_config": {"layer_norm_eps": 0}}, "text_config.layer_norm_eps is 0"),
        ("blip", {"vision_config": {"hidden_act": "relu"}}, "hidden_act is 'relu'.* gelu_new"),
        ("blip", {"model_type": "blip-2"}, "model_type is 'blip-2', supported is 'blip'"),
        ("git", {"num_image_with_embedding": 6}, "num_image_with_embedding is 6.* None"),
        ("git", {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ("git", {"num_hidden_layers": True}, "num_hidden_layers is True"),
    ],
)
def test_configurations_of_other_networks_are_refused(name, changes, message):
    with pytest.raises(InputError, match=message):
        KINDS[name].config.from_config(merged(PUBLISHED[name], changes))


@pytest.mark.parametrize("name", KINDS)
def test_every_value_of_a_configuration_that_is_needed_is_asked_for(name):
    """Without it, an error names it; or it says nothing of the network's sizes."""
    expected = KINDS[name].config.from_config(PUBLISHED[name])
    asked = 0
    for part in ("", *(key for key, value in PUBLISHED[name].items() if isinstance(value, dict))):
        for key in PUBLISHED[name][part] if part else PUBLISHED[name]:
            config = copy.deepcopy(PUBLISHED[name])
            del (config[part] if part else config)[key]
            try:
                assert KINDS[name].config.from_config(config) == expected
            except InputError as error:
                assert str(error) == f"config.json: {part and part + '.'}{key} is missing"
                asked += 1
    assert asked > 15


def test_another_network_is_no_checkpoint():
    network = network_of("git")
    tree = shapes_of(network)
    table = hub_tables.git_table(tree, network.config)
    with pytest.raises(Misfit, match=r"missing: .*git\.embeddings"):
        fit({"output.bias": np.zeros(20, np.float32)}, table, tree, "file")
