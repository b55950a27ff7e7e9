"""CLIP and SigLIP of the Hub: retrievers, and taggers of classes that are given by name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call
from helpers.hub_models import ENCODERS, published, write

import jaxadv as ja
from jaxadv.data import scenes
from jaxadv.data.pairs import SCENE_CLASSES, check_pairs
from jaxadv.errors import InputError
from jaxadv.experiments.retrieval_pools import retrieval_pools
from jaxadv.formats.errors import PortingError
from jaxadv.porting.hub import port_published

CLASSES = ("dog", "man", "surfer", "beach", "wave")
every_kind = pytest.mark.parametrize("kind", ENCODERS)


@pytest.fixture(scope="module", params=ENCODERS)
def folder(request, tmp_path_factory):
    """A published model in a folder, of either kind."""
    return write(tmp_path_factory.mktemp("model") / request.param, published(request.param))


def picture(victim, seed=0):
    values = np.random.default_rng(seed).uniform(size=victim.model.image_shape)
    return jnp.asarray(values, jnp.float32)


def test_a_retriever_keeps_its_protocol(folder):
    victim = ja.load(str(folder))
    assert victim.hasher.reader.length == 12
    assert ja.check(victim.model, victim.params) == []


def test_a_retriever_takes_weights_of_tokens_too(folder):
    """The slope of these says which word is replaced; `check` notices where they are not taken."""
    victim = ja.load(str(folder))
    model = victim.model

    def tokens_alone(params, text):
        if text.ndim != 1:
            raise TypeError("tokens only")
        return model.text_code(params, text)

    def otherwise(params, text):
        code = model.text_code(params, text)
        return code if text.ndim == 1 else -code

    for broken, line in ((tokens_alone, "refuses one-hot rows"), (otherwise, "another result")):
        (found,) = ja.check(model._replace(text_code=broken), victim.params)
        assert line in found and "f32[12, " in found


def test_a_tagger_keeps_its_protocol(folder):
    victim = ja.load(str(folder), classes=CLASSES)
    assert victim.classifier.classes == CLASSES
    assert ja.check(victim.model, victim.params) == []


def test_a_tagger_scores_what_its_retriever_finds_alike(folder):
    """CLIP tells one class among all: probabilities of a softmax; SigLIP each by itself."""
    retriever, tagger = ja.load(str(folder)), ja.load(str(folder), classes=CLASSES)
    image, hasher = picture(tagger), retriever.hasher
    texts = [hasher.read(f"a photo of a {name}") for name in CLASSES]
    codes = np.stack([hasher.text_code(retriever.params, jnp.asarray(text)) for text in texts])
    inner = codes @ np.asarray(hasher.image_code(retriever.params, image))
    inner = inner * float(hasher.logit_scale(retriever.params))
    scores = np.asarray(tagger.classifier.scores(tagger.params, image))
    if "siglip" in folder.name:
        bias = float(retriever.params["params"]["logit_bias"])
        expected = 1 / (1 + np.exp(-(inner + bias)))
    else:
        expected = np.exp(inner) / np.exp(inner).sum()
        assert scores.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_texts_become_tokens_and_texts_again(folder):
    hasher = ja.load(str(folder)).hasher
    tokens = hasher.read("a brown dog")
    assert tokens.shape == hasher.text_shape == (12,) and tokens.dtype == np.int32
    assert hasher.say(tokens) == "a brown dog"
    assert hasher.read("a brown dog " * 9).shape == (12,)  # cut off
    with pytest.raises(InputError, match="must have a word"):
        hasher.read("  ")


def test_what_a_port_writes_is_what_is_loaded(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    names = ("--vocabulary", "classes.txt", "--prompt", "a {} here")
    for arguments, kind in (((), "retriever"), (names, "tagger")):
        code, said, err = call("port", folder, "--name", kind, *arguments)
        assert code == 0, err
        assert f"a {kind} of the hub" in said
    direct, stored = ja.load(str(folder)), ja.load("retriever")
    image = picture(direct)
    np.testing.assert_array_equal(
        direct.hasher.image_code(direct.params, image),
        stored.hasher.image_code(stored.params, image),
    )
    tagger = ja.load("tagger")
    assert tagger.architecture.prompt == "a {} here"
    assert tagger.classifier.classes == CLASSES


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"classes": ("dog",)}, "at least two"),
        ({"classes": ("dog", "dog")}, "each once"),
        ({"classes": CLASSES, "prompt": "a photo"}, "must have {} once"),
        ({"prompt": "a photo of a {}"}, "give its classes"),
    ],
)
def test_what_makes_no_tagger_is_one_line(given, line, tmp_path):
    folder = write(tmp_path / "m", published("clip"))
    with pytest.raises(PortingError, match=line) as found:
        port_published(folder, **given)
    assert "\n" not in str(found.value)


def test_only_what_is_published_is_given_classes(tmp_path):
    folder = write(tmp_path / "m", published("git"))
    for name in (str(folder), "scenes-tagger"):
        with pytest.raises(InputError, match="classes"):
            ja.load(name, classes=CLASSES)


@every_kind
def test_a_network_that_knows_fewer_tokens(kind, tmp_path):
    files = published(kind)
    config = json.loads(files["config.json"])
    config["text_config"] |= {"vocab_size": 20, "eos_token_id": 1}
    files["config.json"] = json.dumps(config).encode()
    with pytest.raises(InputError, match="tokens go up to number"):
        ja.load(str(write(tmp_path / "m", files)))


def test_scenes_are_asked_by_their_captions(folder):
    victim = ja.load(str(folder))
    queries, database = retrieval_pools(victim, ("scenes",), 3, 5)
    check_pairs(queries, victim.hasher.text_shape, victim.hasher.classes)
    said = scenes.example(scenes.HELD_OUT_SEED, 0).captions[0]
    np.testing.assert_array_equal(queries.texts[0], victim.hasher.read(said))
    assert queries.labels.shape[1] == len(SCENE_CLASSES) and len(database.ids) == 5


def test_data_are_asked_by_their_captions(real_data, folder):
    victim = ja.load(str(folder))
    queries, database = retrieval_pools(victim, (str(real_data / "coco_mini"),), 10, 0)
    assert len(queries.ids) == 10 and len(database.ids) > 100
    assert not {*queries.ids} & {*database.ids}
    assert queries.texts.dtype == np.int32


def test_cmla_takes_pictures_and_refuses_texts(folder):
    victim = ja.load(str(folder))
    model = victim.model
    queries, database = retrieval_pools(victim, ("scenes",), 1, 20)
    known = ja.hashing.known(victim, database.pictures / np.float32(255), database.texts)
    labels = jnp.asarray(database.labels)
    target = ja.hashing.target(jnp.asarray(queries.labels[0]), labels)
    image = jnp.asarray(queries.pictures[0] / np.float32(255))
    result = ja.run(ja.hashing.cmla(model, "image"), known, image, target, iterations=3)
    assert np.isfinite(result.final.norm) and result.final.norm > 0
    with pytest.raises(InputError, match="sequences of tokens"):
        ja.hashing.cmla(model, "text")


def test_words_that_are_one_token(folder):
    """A part of a longer word is none, whether a tokenizer marks where words begin or end."""
    reader = ja.load(str(folder)).hasher.reader
    tokens = reader.encode("a brown dog runs")
    pieces = [reader.decode([token]) for token in tokens]
    whole = [bool(reader.words[token]) for token in tokens]
    assert whole[pieces.index("a")]
    for token in np.flatnonzero(reader.words):
        assert reader.decode([int(token)]).isalpha()
        assert reader.starts[token] and reader.ends[token]
    assert not reader.words[reader.pad] and reader.starts[reader.pad] and reader.ends[reader.pad]


def test_texts_are_attacked_word_for_word(folder):
    """Marks, padding and parts of words stay as they are."""
    victim = ja.load(str(folder))
    model, reader = victim.model, victim.model.reader
    queries, database = retrieval_pools(victim, ("scenes",), 1, 20)
    known = ja.hashing.known(victim, database.pictures / np.float32(255), database.texts)
    labels = jnp.asarray(database.labels)
    target = ja.hashing.target(jnp.asarray(queries.labels[0]), labels)
    text = jnp.asarray(reader.encode("a man on a wave"))
    attack = ja.hashing.substitution(model, words=2)
    result = ja.run(attack, known, text, target, iterations=2)
    places = np.flatnonzero(np.asarray(result.final.image != text))
    assert len(places) <= 2
    assert result.losses[1] <= result.losses[0]
    for place in places:
        assert reader.words[text[place]] and reader.words[result.final.image[place]]
        assert reader.ends[text[place - 1]] and reader.starts[text[place + 1]]
    assert len(model.say(result.final.image).split()) == 5


def test_tkmia_takes_a_tagger(folder):
    victim = ja.load(str(folder), classes=CLASSES)
    image = picture(victim)
    order = np.argsort(-np.asarray(victim.model.logits(victim.params, image)))
    first = [CLASSES[number] for number in order]
    target = ja.labels.target(first[:1], first[:2], 1, victim.model)
    attack = ja.labels.tkmia(victim.model)
    result = ja.run(attack, victim.params, image, target, iterations=3)
    assert jax.tree.all(jax.tree.map(lambda x: bool(np.isfinite(x).all()), result.final.image))


def test_commands_take_a_retriever(folder, tmp_path):
    out = tmp_path / "out"
    asked = ("--victim", folder, "--database", 20)
    code, said, err = call("retrieve", *asked, "--text", "a brown dog", "--top", 2)
    assert code == 0, err
    assert "pictures for a brown dog" in said
    code, said, err = call("attack", "retrieval", *asked, "--scenes", 8, "--out", out)
    assert code in (0, 2), err  # of random weights, some queries are wrong as they are
    assert (out / "figure.png").is_file()


def test_the_method_of_texts_is_in_the_commands(folder, tmp_path):
    given = ("--victim", folder, "--modality", "text", "--method", "substitution")
    few = ("--queries", 6, "--database", 30, "--words", 1, "--out", tmp_path / "out")
    code, said, err = call("evaluate", "retrieval", *given, *few)
    assert code == 0, err
    assert "texts attacked" in said
    rows = [row for row in ja.read_records(tmp_path / "out") if not row["failed"]]
    assert len(rows) == 6
    assert {round(row["norm"] ** 2) for row in rows} <= {0, 1}
