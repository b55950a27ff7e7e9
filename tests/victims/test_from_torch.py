"""Modules of PyTorch as victims: values and gradients are PyTorch's own, in whole batches."""

import re
import sys
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import hub_models

import jaxadv as ja
from jaxadv.captions.captioner import caption_log_probability
from jaxadv.subwords import number_of
from jaxadv.victims.torch_functions import in_jax
from jaxadv.vocabulary import END

SIDE, CLASSES = 8, ("cat", "dog", "car", "tree")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.2)


@pytest.fixture(autouse=True)
def one_thread(request):
    """Tests share their machine."""
    if "torch" in request.fixturenames:
        request.getfixturevalue("torch").set_num_threads(1)


@pytest.fixture
def net(torch):
    torch.manual_seed(0)
    flat = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU())
    return torch.nn.Sequential(*flat, torch.nn.Flatten(), torch.nn.Linear(216, len(CLASSES))).eval()


def tagger(module):
    return ja.from_torch(module, (SIDE, SIDE, 3), classes=CLASSES, mean=MEAN, std=STD)


def said(module):
    """What `check` says of a tagger."""
    victim = tagger(module)
    return ja.check(victim.model, victim.params)


def pictures(count, side=SIDE, seed=0):
    shape = (count, side, side, 3)
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def pixels(torch, images, mean=MEAN, std=STD):
    """Pictures as networks take them, and the leaf that gradients are of."""
    leaf = torch.tensor(images, requires_grad=True)
    return ((leaf - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2), leaf


# ---------------------------------------------------------------- taggers


def test_values_and_gradients_are_those_of_pytorch(torch, net):
    victim, images = tagger(net), pictures(6)
    weights = np.random.default_rng(1).normal(size=(6, len(CLASSES))).astype(np.float32)
    given, leaf = pixels(torch, images)
    expected = net(given)
    (expected * torch.tensor(weights)).sum().backward()

    def weighed(image, weight):
        return jnp.vdot(weight, victim.model.logits(victim.params, image))

    of_one = partial(victim.model.logits, victim.params)
    np.testing.assert_allclose(jax.vmap(of_one)(images), expected.detach(), atol=1e-5)
    found = jax.jit(jax.vmap(jax.grad(weighed)))(images, weights)
    np.testing.assert_allclose(found, leaf.grad, atol=1e-5)
    assert np.abs(found).max() > 1e-2
    assert ja.check(victim.model, victim.params) == []


def test_a_batch_is_one_call(torch, net):
    calls = []

    def counted(batch):
        calls.append(len(batch))
        return net(batch)

    of_one = partial(tagger(counted).model.logits, ())
    images = pictures(6)
    one_by_one = jnp.stack([of_one(image) for image in images])
    for run in (jax.vmap(of_one), jax.jit(jax.vmap(of_one))):
        calls.clear()
        np.testing.assert_allclose(run(images), one_by_one, atol=1e-6)
        assert calls == [6]
    calls.clear()
    nested = jax.jit(jax.vmap(jax.vmap(of_one)))(images.reshape(2, 3, SIDE, SIDE, 3))
    np.testing.assert_allclose(nested.reshape(6, -1), one_by_one, atol=1e-6)
    calls.clear()
    slopes = jax.jit(jax.vmap(jax.jacrev(of_one)))(images)  # all pictures' rows together
    assert calls == [24]  # the values are asked of nobody
    for row, image in zip(slopes, images, strict=True):
        np.testing.assert_allclose(row[1], jax.grad(lambda x: of_one(x)[1])(image), atol=1e-6)


def test_arguments_that_a_batch_shares_get_the_sum_of_their_gradients(torch):
    product = in_jax(lambda a, b: (a * b).sum(1, keepdim=True), None)
    a, b = jnp.arange(3.0), jnp.arange(6.0).reshape(2, 3)

    def total(a, b):
        return jax.vmap(product, in_axes=(None, 0))(a, b).sum()

    slopes = jax.grad(total, argnums=(0, 1))(a, b)
    np.testing.assert_array_equal(slopes[0], b.sum(0))
    np.testing.assert_array_equal(slopes[1], np.stack([a, a]))


def test_in_a_loop_and_on_two_devices(torch, net):
    of_one = partial(tagger(net).model.logits, ())

    @jax.jit
    @jax.vmap
    def descended(image):
        def step(x, _):
            return x - 0.1 * jax.grad(lambda x: of_one(x)[0])(x), None

        return jax.lax.scan(step, image, None, length=3)[0]

    images = pictures(2)
    mesh = jax.sharding.Mesh(jax.devices()[:2], "pictures")
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("pictures"))
    np.testing.assert_allclose(
        descended(jax.device_put(images, split)), descended(images), atol=1e-6
    )


def test_attacks_run(torch, net):
    victim, image = tagger(net), pictures(1)[0]
    scores = np.asarray(victim.model.logits(victim.params, image))
    first = [CLASSES[i] for i in np.argsort(-scores)]
    target = ja.labels.target(first[0], first[:2], 1, victim.model)
    attack = ja.labels.tkmia(victim.model, optimiser=optax.sgd(0.05, momentum=0.9))
    result = ja.run(attack, victim.params, image, target, iterations=30)
    assert result.losses[1] < result.losses[0]
    assert result.best.success
    assert np.argmax(victim.model.logits((), result.best.image)) != np.argmax(scores)
    streamed = ja.stream(
        attack, victim.params, [ja.Request(7, image, target)], iterations=30, slots=2
    )
    np.testing.assert_allclose(next(iter(streamed)).result.losses, result.losses, atol=1e-5)


def test_what_a_module_is_given_may_be_changed_in_place(torch, net):
    images = pictures(2)
    plain, changing = tagger(lambda x: net(x - 0.1)), tagger(lambda x: net(x.sub_(0.1)))
    for change in (lambda f: f, jax.jacrev):
        found, expected = (change(partial(v.model.logits, ())) for v in (changing, plain))
        np.testing.assert_allclose(jax.vmap(found)(images), jax.vmap(expected)(images), atol=1e-6)
    np.testing.assert_array_equal(images, pictures(2))


def test_a_module_computes_in_its_own_arithmetic(torch, net):
    expected = partial(tagger(net).model.logits, ())(pictures(1)[0])
    found = partial(tagger(net.to(torch.bfloat16)).model.logits, ())(pictures(1)[0])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (lambda torch, net: net.train(), "logits: the PyTorch module is in training mode; call"),
        (
            lambda torch, net: net[:-1].eval(),
            r"logits: returns \(float32\[216\]\); must return float32",
        ),
        (lambda torch, net: lambda x: net(x).mean(), r"\[2, 3, 8, 8\], gives shape \[\]; must"),
        (lambda torch, net: lambda x: (net(x), 0), "gives a tuple; must give a tensor"),
        (lambda torch, net: lambda x: net(x[:, :2]), r"fails \(RuntimeError: Given groups=1"),
        (lambda torch, net: lambda x: net(x.numpy()), r"fails \(TypeError"),
        (lambda torch, net: lambda x: net(x).detach(), "is 0 everywhere; .* or detach"),
        (lambda torch, net: lambda x: net(0 * x), "hardly tells black from white"),
        (
            lambda torch, net: lambda x: torch.nn.functional.dropout(net(x)),
            r"gives another result when called again; must be a pure function \(no dropout",
        ),
        (lambda torch, net: lambda x: net(x - x.mean(0)), "gives another result in jax.vmap"),
        (lambda torch, net: lambda x: net(x).sigmoid(), "like probabilities"),
    ],
)
def test_check_says_what_does_not_work(torch, net, make, finding):
    findings = said(make(torch, net))
    assert any(re.search(finding, line) for line in findings), findings


def test_check_says_what_fails_on_some_pictures_alone(torch, net):
    """After the function was tried."""

    def fails(batch):
        if (batch == batch.flatten()[0]).all():
            return net(batch)
        raise ValueError("no such picture")

    (line,) = said(fails)
    assert "no such picture" in line


def test_without_pytorch_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ja.InputError, match=r"pip install 'jaxadv\[torch\]'"):
        ja.from_torch(None, (SIDE, SIDE, 3), classes=CLASSES)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (3, {}, "module 3: must be a function"),
        (abs, {"tags": ("a",)}, "with `tags` it must be a pair"),
        (abs, {"vocabulary": ja.Vocabulary(("a",))}, "begin: empty"),
        (abs, {"vocabulary": ja.Vocabulary(("a",)), "begin": (0,)}, "must be a model of"),
        (abs, {"vocabulary": "{}", "begin": (0,)}, "end: give the tokenizer's number"),
        (abs, {"vocabulary": ja.Vocabulary(("a",)), "max_length": 1}, "max_length 1"),
    ],
)
def test_what_is_no_victim_is_refused(torch, module, options, message):
    with pytest.raises(ja.InputError, match=message):
        ja.from_torch(module, (SIDE, SIDE, 3), **options)


def test_pictures_have_their_colours_last(torch, net):
    with pytest.raises(ja.InputError, match="the colours last"):
        ja.from_torch(net, (3, SIDE, SIDE))


def test_networks_of_timm(torch):
    try:
        import timm
    except Exception as problem:  # it wants a torchvision of the same build as PyTorch
        pytest.skip(f"beside timm: {problem}")
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=2).eval()
    victim = ja.from_torch(net, (32, 32, 3), classes=CLASSES, mean=MEAN, std=STD)
    images = pictures(2, 32)
    given, leaf = pixels(torch, images)
    expected = net(given)
    expected.sum().backward()
    of_one = partial(victim.model.logits, ())
    np.testing.assert_allclose(jax.vmap(of_one)(images), expected.detach(), atol=1e-5)
    found = jax.vmap(jax.grad(lambda x: of_one(x).sum()))(images)
    np.testing.assert_allclose(found, leaf.grad, atol=1e-5)


# ---------------------------------------------------------------- encoders


def test_encoders_are_a_hasher(torch, net):
    words = torch.nn.Linear(5, len(CLASSES)).eval()
    tags = ("a", "b", "c", "d", "e")
    make = partial(ja.from_torch, (net, words), (SIDE, SIDE, 3), classes=CLASSES, tags=tags)
    hasher = make(mean=MEAN, std=STD)
    assert (hasher.model.bits, hasher.model.tags) == (len(CLASSES), tags)
    assert ja.check(hasher.model, hasher.params) == []
    dual = make(mean=MEAN, std=STD, logit_scale=10.0)
    assert ja.check(dual.model, dual.params) == []
    bag = np.eye(5, dtype=np.float32)[1]
    code = words(torch.tensor(bag)).detach()
    np.testing.assert_allclose(dual.model.text_code((), bag), code / code.norm(), atol=1e-6)
    assert dual.model.logit_scale(()) == 10


def test_clip_of_transformers(torch):
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2}
    net = transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config={**small, "image_size": 16, "patch_size": 8},
            text_config={**small, "vocab_size": 60, "max_position_embeddings": 8},
            projection_dim=12,
        )
    ).eval()
    for weight in net.parameters():  # as they are drawn, pictures hardly differ
        weight.data.add_(0.2 * torch.randn_like(weight))
    texts = torch.randint(3, 59, (5, 7))

    def of_images(given):
        return net.get_image_features(pixel_values=given).pooler_output

    with torch.no_grad():
        of_tags = net.get_text_features(input_ids=texts).pooler_output
    victim = ja.from_torch(
        (of_images, lambda bags: bags @ of_tags),
        (16, 16, 3),
        mean=MEAN,
        std=STD,
        tags=tuple("abcde"),
        classes=CLASSES,
        logit_scale=net.logit_scale.exp().item(),
    )
    assert ja.check(victim.model, victim.params) == []
    images = pictures(3, 16)
    given, leaf = pixels(torch, images)
    expected = net(input_ids=texts, pixel_values=given).logits_per_image
    expected[:, 2].sum().backward()

    @jax.vmap
    def logit(image):
        code = victim.model.image_code((), image)
        return victim.model.logit_scale(()) * code @ victim.model.text_code((), jnp.eye(5)[2])

    found, slope = jax.value_and_grad(lambda images: logit(images).sum())(images)
    np.testing.assert_allclose(found, expected[:, 2].sum().item(), rtol=1e-5)
    np.testing.assert_allclose(slope, leaf.grad, atol=1e-5)


# ---------------------------------------------------------------- captioners

MODELS = {
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
    "blip": "BlipForConditionalGeneration",
    "git": "GitForCausalLM",
    "llava": "LlavaForConditionalGeneration",
}
BEFORE, AFTER = (23,), (52, 17, 11)  # of LLaVA's prompt


class Pair(NamedTuple):
    kind: str
    net: Any
    native: Any
    victim: Any
    begin: list[int]
    end: int

    def scores(self, given, tokens):
        """Of `transformers`, before each place."""
        words = "decoder_input_ids" if self.kind.startswith("vision") else "input_ids"
        logits = self.net(pixel_values=given, **{words: tokens}).logits
        return logits[:, len(self.begin) - 1 - tokens.shape[1] :]

    def generated(self, torch, given, length):
        """Captions as numbers, as `transformers` decodes them."""
        begin = torch.tensor([self.begin] * len(given))
        how: dict[str, Any] = {"input_ids": begin}
        if self.kind.startswith("vision"):
            how = {"decoder_start_token_id": self.begin[0]}
        if self.kind == "blip":  # which drops the last token, that of the tokenizer's end
            how = {"input_ids": torch.cat([begin, begin[:, :1]], dim=1)}
        else:
            how |= {"eos_token_id": self.end, "pad_token_id": self.end}
        unused = self.victim.model.vocabulary.suppressed
        how["suppress_tokens"] = [number_of(n, self.end) for n in unused]
        with torch.no_grad():
            found = self.net.generate(
                pixel_values=given, max_new_tokens=length, do_sample=False, num_beams=1, **how
            )
        rows = np.full((len(given), length), END)
        for row, tokens in zip(rows, found[:, len(self.begin) :].tolist(), strict=True):
            numbers = [number_of(token, self.end) for token in tokens]
            numbers = numbers[: numbers.index(END)] if END in numbers else numbers
            row[: len(numbers)] = numbers
        return rows


@pytest.fixture(params=MODELS, scope="module")
def pair(request, torch, tmp_path_factory):
    """A tiny random network of `transformers`, natively and as it is."""
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    kind = request.param
    folder = hub_models.write(tmp_path_factory.mktemp(kind) / "model", hub_models.published(kind))
    native = ja.load(str(folder))
    made, tokenizer = native.architecture, (folder / "tokenizer.json").read_text()
    net = getattr(transformers, MODELS[kind]).from_pretrained(folder).eval()
    if kind == "llava":
        made = replace(made, before=BEFORE, prompt=AFTER)
        places = (made.image_shape[0] // net.config.vision_config.patch_size) ** 2
        begin = [*BEFORE, *[net.config.image_token_id] * places, *AFTER]
    elif kind == "vision-encoder-decoder":
        begin = [net.config.decoder_start_token_id]
    else:
        begin = [(net.config.text_config if kind == "blip" else net.config).bos_token_id]
    functions = made.functions({"tokenizer": (tokenizer,)})
    native = native._replace(architecture=made, functions=functions)
    victim = ja.from_torch(
        net,
        made.image_shape,
        mean=made.mean,
        std=made.std,
        vocabulary=tokenizer,
        begin=begin,
        end=made.end,
        max_length=made.max_length,
    )
    return Pair(kind, net, native, victim, begin, made.end)


def likelihood(victim):
    """The log-likelihood of a caption, and its gradient by the picture."""

    def of(image, tokens):
        features = victim.model.encode(victim.params, image)
        return caption_log_probability(victim.model, victim.params, features, tokens)

    return jax.jit(jax.vmap(jax.value_and_grad(of)))


def test_gradient_of_a_caption_is_that_of_transformers_and_of_the_native_form(pair, torch):
    model = pair.victim.model
    assert model.vocabulary == pair.native.model.vocabulary
    images = pictures(2, model.image_shape[0])
    numbers = np.random.default_rng(1).integers(1, 50, (2, model.max_length)).astype(np.int32)
    numbers[:, 6:] = END
    given, leaf = pixels(torch, images)
    ids = torch.tensor([[number_of(int(n), pair.end) for n in row[:7]] for row in numbers])
    tokens = torch.cat([torch.tensor([pair.begin] * 2), ids[:, :-1]], dim=1)
    ln_p = pair.scores(given, tokens).log_softmax(-1).gather(2, ids[:, :, None]).sum((1, 2))
    ln_p.sum().backward()
    found, slopes = likelihood(pair.victim)(images, numbers)
    np.testing.assert_allclose(found, ln_p.detach(), rtol=1e-5)
    np.testing.assert_allclose(slopes, leaf.grad, atol=1e-5)
    assert np.abs(slopes).max() > 1e-2
    found, slopes = likelihood(pair.native)(images, numbers)
    np.testing.assert_allclose(found, ln_p.detach(), rtol=1e-5)
    np.testing.assert_allclose(slopes, leaf.grad, atol=1e-5)


def test_greedy_captions_are_those_of_generate(pair, torch):
    model = pair.victim.model
    images = pictures(4, model.image_shape[0], seed=3)
    given, _ = pixels(torch, images)
    expected = pair.generated(torch, given.detach(), model.max_length)
    captions = ja.captions.say(pair.victim, images)
    assert captions == [model.vocabulary.decode(row) for row in expected]
    assert any(captions)


def test_attack_by_captions_takes_the_steps_of_the_native_form(pair):
    if pair.kind != "blip":
        pytest.skip("one is enough")
    image = pictures(1, pair.victim.model.image_shape[0])[0]
    results = []
    for victim in (pair.native, pair.victim):
        target = ja.captions.target("two dogs", victim.model)
        attack = ja.captions.show_and_fool(victim.model)
        results.append(ja.run(attack, victim.params, image, target, iterations=3))
    native, found = results
    np.testing.assert_allclose(found.losses, native.losses, rtol=1e-5)
    np.testing.assert_allclose(found.final.image, native.final.image, atol=1e-4)


WORDS = ("a", "cat", "dog", "sits")


@pytest.fixture
def functions(torch):
    """A captioner as a pair of functions: a picture begins the state of a recurrent network."""
    torch.manual_seed(1)
    see, embed = torch.nn.Linear(48, 8), torch.nn.Embedding(len(WORDS) + 1, 8)
    core, say = torch.nn.GRU(8, 8, batch_first=True), torch.nn.Linear(8, len(WORDS) + 1)

    def score(features, tokens):
        return 5 * say(core(embed(tokens), features[None].contiguous())[0])

    return lambda given: torch.tanh(2 * see(given.flatten(1))), score


def test_captioner_of_two_functions(torch, functions):
    victim = ja.from_torch(
        functions, (4, 4, 3), vocabulary=ja.Vocabulary(WORDS), begin=(0,), max_length=3
    )
    model = victim.model
    assert ja.check(model, victim.params) == []
    target = ja.captions.target("a _ sits", model)
    attack = ja.captions.gem(model, top=2, lanes=2, optimiser=optax.adam(0.03))
    result = ja.run(attack, victim.params, pictures(2, 4), target, iterations=3)
    assert (result.losses[:, -1] < result.losses[:, 0]).all()


def test_what_scores_no_longer_caption_is_said(torch, functions):
    encode, score = functions

    def short(features, tokens):
        if tokens.shape[1] > 4:
            raise ValueError("at most 4 tokens")
        return score(features, tokens)

    make = partial(
        ja.from_torch, (encode, short), (4, 4, 3), vocabulary=ja.Vocabulary(WORDS), begin=(0,)
    )
    for length, findings in {4: 0, 5: 1}.items():
        found = ja.check(make(max_length=length).model, ())
        assert len(found) == findings
        assert all("at most 4 tokens" in line for line in found)
