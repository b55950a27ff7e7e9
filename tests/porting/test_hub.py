"""Models of the Hub, from a server on this machine that answers as the Hub does."""

import json

import jax
import numpy as np
import pytest
from helpers.commands import call
from helpers.hub_models import KINDS, published, weights, write
from helpers.hub_server import COMMIT, serving
from huggingface_hub import close_session, constants
from safetensors.numpy import save as tensors

import jaxadv as ja
from jaxadv.core.precision import in_arithmetic
from jaxadv.errors import InputError
from jaxadv.formats.errors import PortingError
from jaxadv.porting.hub import fetch, port_hub, port_published
from jaxadv.porting.port import save
from jaxadv.victims import zoo

NAME = "hf://somebody/tiny"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving() as hub:
        files = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield hub
        close_session()


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    """A published model in a folder, of every kind."""
    return write(tmp_path_factory.mktemp("model") / "tiny", published(request.param))


def picture(victim, seed=0):
    return np.random.default_rng(seed).uniform(size=victim.model.image_shape).astype(np.float32)


def test_a_folder_is_a_victim(folder):
    victim = ja.load(str(folder))
    model = victim.model
    assert model.image_shape == (32, 32, 3) and model.max_length == 9
    image = jax.ShapeDtypeStruct(model.image_shape, np.float32)
    features = jax.eval_shape(model.encode, victim.params, image)
    state = jax.eval_shape(model.begin, victim.params, features)
    scores = jax.eval_shape(model.logits, victim.params, state)
    assert scores.shape == (model.vocabulary.size,)


def test_weights_in_bfloat16_are_rounded_and_nothing_else_is(tmp_path):
    """Half as large; captions are scored as by float32 weights of the rounded values."""
    name = str(write(tmp_path / "m", published("git")))
    whole, half = ja.load(name), ja.load(name, weights="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(half.params)} == {np.dtype("bfloat16")}
    assert half.record["weights_sha256"] != whole.record["weights_sha256"]
    rounded = jax.tree.map(lambda x: x.astype(np.float32), half.params)

    def score(victim, params, image):
        features = victim.model.encode(params, image)
        return victim.model.logits(params, victim.model.begin(params, features))

    image = picture(whole)
    expected = jax.jit(lambda x: score(whole, rounded, x))(image)
    found = jax.jit(lambda x: score(half, half.params, x))(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    slope = jax.jit(jax.grad(lambda x: score(half, half.params, x)[5]))(image)
    assert slope.dtype == np.float32 and np.isfinite(slope).all() and slope.any()
    with pytest.raises(InputError, match=r"weights.*float32.*bfloat16"):
        ja.load(name, weights="float16")


def test_weights_in_bfloat16_are_multiplied_so_where_the_arithmetic_is(tmp_path):
    """Nothing is raised to float32 on the way, and what comes back is float32."""
    victim = ja.load(str(write(tmp_path / "m", published("llava"))), weights="bfloat16")
    model = in_arithmetic(victim.model, "bfloat16-decoder")

    def score(params, image):
        features = model.encode(params, image)
        state = model.advance(params, features, model.begin(params, features), np.int32(3))
        return model.logits(params, state)

    lowered = jax.jit(score).lower(victim.params, picture(victim))
    products = [x for x in lowered.as_text().splitlines() if "dot_general" in x]
    assert products and not [line for line in products if "xf32>" in line]
    assert lowered.out_info.dtype == np.float32


def test_what_it_says_is_text_of_its_tokens(tmp_path):
    victim = ja.load(str(write(tmp_path / "m", published("git"))))
    said = ja.captions.say(victim, picture(victim))
    assert said == victim.model.vocabulary.decode(victim.model.vocabulary.encode(said))


def test_fetched_once(hub):
    """Afterwards it is in the cache."""
    hub.models["somebody/tiny"] = published("git")
    victim = ja.load(NAME)
    assert victim.record["revision"] == COMMIT
    files = {key for key in hub.asked if key[0] == "GET" and "resolve" in key[1]}
    before = sum(hub.asked[key] for key in files)
    again = ja.load(f"{NAME}@{COMMIT}")
    assert sum(hub.asked[key] for key in files) == before
    assert victim.record["weights_sha256"] == again.record["weights_sha256"]


def test_the_record_of_a_port_has_the_commit(hub, tmp_path):
    hub.models["somebody/tiny"] = published("git")
    save(tmp_path / "mine", port_hub(NAME))
    assert ja.load(str(tmp_path / "mine")).record["revision"] == COMMIT


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_that_no_folder_has_is_no_victim(name):
    with pytest.raises(InputError, match="no victim"):
        ja.load(name)


def test_offline_it_is_found_in_the_cache(hub, monkeypatch):
    hub.models["somebody/tiny"] = published("git")
    before = ja.load(NAME).record
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ja.load(NAME).record == before
    with pytest.raises(PortingError, match="not on this machine"):
        ja.load("hf://somebody/other")


def test_a_download_that_was_cut_off_goes_on(hub):
    """The second try asks for the rest alone."""
    hub.models["somebody/tiny"] = published("git")
    hub.cut = {"model.safetensors"}
    try:
        first = fetch(NAME).folder
    except PortingError as problem:
        assert "cannot be fetched" in str(problem)
        first = None
    victim = ja.load(NAME)
    assert first is None or (first / "model.safetensors").exists()
    for name, expected in weights("git").items():
        if name == "output.bias":
            ours = np.sort(np.asarray(victim.params["params"]["output"]["bias"]))
            np.testing.assert_array_equal(ours, np.sort(expected))


def test_other_bytes_than_the_hub_says(hub):
    files = published("git")
    hub.models["somebody/tiny"] = files
    hub.damaged = {"model.safetensors"}
    with pytest.raises(PortingError, match="not the bytes that the Hub names"):
        ja.load(NAME)


def test_what_cannot_be_fetched_is_one_line(hub):
    hub.models["somebody/gated"] = published("git")
    hub.gated = {"somebody/gated"}
    with pytest.raises(PortingError, match="terms to be accepted"):
        fetch("hf://somebody/gated")
    with pytest.raises(PortingError, match="no such model, or it is private"):
        fetch("hf://somebody/absent")
    hub.models["somebody/tiny"] = published("git")
    with pytest.raises(PortingError, match="no such revision"):
        fetch(f"{NAME}@v9")
    for name in ("hf://tiny", "hf://a/b/c", "hf://a/../b", "hf://"):
        with pytest.raises(PortingError, match="write hf://OWNER/NAME"):
            fetch(name)


def test_pickles_are_not_fetched(hub):
    files = published("git")
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    hub.models["somebody/tiny"] = files
    with pytest.raises(PortingError, match="pickles are not read from the Hub"):
        ja.load(NAME)
    assert not any("pytorch_model.bin" in path for _, path in hub.asked if "resolve" in path)


def test_files_stay_in_their_folder(hub, tmp_path):
    files = published("git")
    files["../../../outside.safetensors"] = files["model.safetensors"]
    hub.models["somebody/tiny"] = files
    with pytest.raises(PortingError):
        fetch(NAME)
    assert not list(tmp_path.glob("**/outside.safetensors"))


def shards(kind):
    """The weights in two files, with their index."""
    files, every = published(kind), weights(kind)
    del files["model.safetensors"]
    names = sorted(every)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    of = {}
    for number, half in enumerate(halves, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        files[file] = tensors({name: every[name] for name in half})
        of |= dict.fromkeys(half, file)
    files["model.safetensors.index.json"] = json.dumps({"weight_map": of}).encode()
    return files


def test_weights_in_several_files(tmp_path):
    whole = port_published(write(tmp_path / "whole", published("git")))
    parts = port_published(write(tmp_path / "parts", shards("git")))
    assert zoo.digest(whole.variables) == zoo.digest(parts.variables)


def broken(**changes):
    config = json.loads(published("git")["config.json"])
    return {"config.json": json.dumps(config | changes).encode()}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"config.json": b"{"}, "config.json"),
        ({"config.json": b"[]"}, "must be an object"),
        (broken(model_type="bert"), "model_type 'bert'; supported are"),
        (broken(hidden_size="16"), "hidden_size is '16'"),
        (broken(vocab_size=71), "not a checkpoint of this architecture"),
        (broken(vocab_size=20), "its tokens go up to number"),
        ({"tokenizer.json": b"{}"}, "not a tokenizer.json"),
        ({"tokenizer.json": None}, "has no tokenizer.json"),
        ({"model.safetensors": None}, "has no model.safetensors"),
        (
            {"preprocessor_config.json": b'{"image_mean": 3}'},
            "image_mean is '3', not three numbers",
        ),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "../b.safetensors"}}'},
            "files outside its folder",
        ),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "b.safetensors"}}'},
            "half downloaded",
        ),
    ],
)
def test_a_folder_that_is_no_model_is_one_line(changed, line, tmp_path):
    files = {n: d for n, d in {**published("git"), **changed}.items() if d is not None}
    with pytest.raises(InputError, match=line) as found:
        ja.load(str(write(tmp_path / "m", files)))
    assert "\n" not in str(found.value)


def test_port_makes_a_victim_of_its_own(tmp_path, monkeypatch):
    """With a prompt, which is as if its words had been said."""
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "published", published("blip"))
    code, said, err = call("port", folder, "--name", "mine", "--prompt", "a man is")
    assert code == 0, err
    assert "a captioner of the hub" in said
    mine, plain = ja.load("mine"), ja.load(str(folder))
    assert mine.architecture.prompt and not plain.architecture.prompt
    model, prompted = plain.model, mine.model
    image = picture(mine)
    state = model.begin(plain.params, model.encode(plain.params, image))
    for token in mine.architecture.prompt:
        features = model.encode(plain.params, image)
        state = model.advance(plain.params, features, state, np.int32(token))
    begun = prompted.begin(mine.params, prompted.encode(mine.params, image))
    np.testing.assert_allclose(
        prompted.logits(mine.params, begun), model.logits(plain.params, state), atol=1e-5
    )


def test_a_prompt_has_the_picture_once(tmp_path):
    folder = write(tmp_path / "m", published("llava"))
    for prompt in ("what is it", "<image> or <image>"):
        with pytest.raises(PortingError, match="must have <image> once"):
            port_published(folder, prompt)
    made = port_published(folder, "a <image> dog").architecture
    assert made.before and made.prompt
    template = port_published(folder).architecture
    assert len(template.before) > 1 and len(template.prompt) > len(made.prompt)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_take_them(kind, tmp_path):
    """GEM with a free token between words of several."""
    short = {"generation_config.json": b'{"max_length": 4}'}  # fewer places compile sooner
    victim = ja.load(str(write(tmp_path / "m", published(kind) | short)))
    target = ja.captions.target("a _ ...", victim.model)
    attack = ja.captions.gem(victim.model)
    result = ja.run(attack, victim.params, picture(victim), target, iterations=3)
    assert np.isfinite(result.final.norm) and result.final.norm > 0
    assert jax.tree.all(jax.tree.map(lambda x: bool(np.isfinite(x).all()), result.final.image))
