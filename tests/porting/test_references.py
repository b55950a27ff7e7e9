"""Stored checkpoints, ported, give what PyTorch gave: cells, scores, captions, codes, gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from porting import make_references
from porting.make_references import (
    BEGIN,
    BLOCK,
    BUNDLE,
    CLASSES,
    CNN_F,
    END,
    FOLDER,
    GRIDS,
    HASH_SIDE,
    HASH_UNITS,
    HASH_WIDTH,
    HASHERS,
    HIDDEN,
    IM2TXT_SIDE,
    LENGTH,
    SEMANTIC,
    SIDE,
    TAGS,
    UNITS,
    WORDS,
    thin,
)

from jaxadv.captions.captioner import greedy, log_probabilities
from jaxadv.data.lexicon import Lexicon
from jaxadv.formats.errors import PortingError
from jaxadv.porting import hash_tables
from jaxadv.porting.port import port, read_features
from jaxadv.porting.readers import read
from jaxadv.training.start import begin_from_features
from jaxadv.victims import architectures
from jaxadv.victims.architectures import (
    CaptionerArchitecture,
    ClassifierArchitecture,
    HasherArchitecture,
)
from jaxadv.victims.nets import inception_v3
from jaxadv.victims.nets.response_norm import PYTORCH_RESPONSE
from jaxadv.victims.nets.ssah import RELEASED_WINDOWS
from jaxadv.victims.nets.vgg_f import VggF
from jaxadv.vocabulary import Vocabulary

VOCABULARY = Vocabulary(tuple("abcdefghijkl"[:WORDS]))
NETWORKS = ("classifier", "vgg-f", *HASHERS)


def small_cnn_f(side, **options):
    return VggF(side, HASH_WIDTH, HASH_UNITS, classes=CLASSES, **options)


def thin_layer(channels, *args, make=inception_v3.ConvNorm, **options):
    return make(thin(channels), *args, **options)


@pytest.fixture(scope="module", autouse=True)
def small_networks(tiny):
    """Those that were stored, in place of the published sizes."""
    features = {
        "vgg-f": small_cnn_f,
        "vgg-f-pytorch": partial(small_cnn_f, response=PYTORCH_RESPONSE),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception_v3, "ConvNorm", thin_layer)
        for name, make in features.items():
            patch.setitem(architectures.FEATURES, name, make)
        yield


def load_archive(file):
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def images_of(stored):
    return stored["pictures"].astype(np.float32) / 255


def assert_same(found, stored):
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-4 * np.abs(stored).max())


def assert_same_gradients(found, stored):
    """By one pixel of each square, and the norm by all."""
    assert_same(found["gradient"][:, ::BLOCK, ::BLOCK], stored["gradient"])
    norms = np.linalg.norm(found["gradient"].reshape(2, -1), axis=1)
    np.testing.assert_allclose(norms, stored["gradient_norm"], rtol=1e-4)


# ---------------------------------------------------------------- captioners


@pytest.fixture(params=GRIDS, scope="module")
def decoder(request):
    return request.param


@pytest.fixture(scope="module")
def captions(decoder):
    return load_archive(FOLDER / f"{decoder}.npz")


@pytest.fixture(scope="module")
def said(decoder, captions):
    """The same of the ported network, by the same names; the whole gradient."""
    backbone, side, lexicon = "tiny", SIDE, Lexicon(VOCABULARY)
    files = [FOLDER / "backbone.pth", FOLDER / f"{decoder}.pth"]
    if decoder == "im2txt":
        backbone, side, lexicon = "inception-v3-slim", IM2TXT_SIDE, Lexicon(VOCABULARY, BEGIN, END)
        files = [FOLDER / BUNDLE]
    architecture = CaptionerArchitecture(
        decoder, backbone, units=UNITS, max_length=LENGTH, side=side, grid=GRIDS[decoder]
    )
    net, captioner = architecture.network(VOCABULARY.size), architecture.captioner(VOCABULARY)
    variables = port(files, architecture, lexicon).variables
    tokens = jnp.asarray(captions["tokens"])

    def score(image):
        features = captioner.encode(variables, image)
        rows = jax.vmap(lambda t: log_probabilities(captioner, variables, features, t))(tokens)
        first = jnp.take_along_axis(rows[0], tokens[0][:, None], axis=1)
        return first.sum(), (rows, greedy(captioner, variables, features).tokens)

    @jax.jit
    @jax.vmap
    def look(image):
        cells = net.apply(variables, image, method="see")
        cells = cells.reshape(-1, cells.shape[-1])
        gradient, (rows, said) = jax.grad(score, has_aux=True)(image)
        return {"cells": cells, "log_probabilities": rows, "greedy": said, "gradient": gradient}

    return {name: np.asarray(value) for name, value in look(images_of(captions)).items()}


def test_cells(captions, said):
    np.testing.assert_allclose(said["cells"], captions["cells"], atol=1e-4)


def test_log_probabilities(captions, said):
    name = "log_probabilities"
    assert np.ptp(captions[name]) > 1 and np.abs(captions[name][0] - captions[name][1]).max() > 1
    np.testing.assert_allclose(said[name], captions[name], atol=1e-4)


def test_greedy_captions(captions, said):
    assert (captions["greedy"][0] != captions["greedy"][1]).any()
    np.testing.assert_array_equal(said["greedy"], captions["greedy"])


def test_gradients_of_captions(captions, said):
    assert_same_gradients(said, captions)


# ---------------------------------------------------------------- classifier, CNN-F, hashers


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    return request.param


@pytest.fixture(scope="module")
def stored(network):
    return load_archive(FOLDER / f"{network}.npz")


def ported(network):
    """Functions of the ported network: of a picture, and of a bag of words where it takes one."""
    if network == "vgg-f":
        net = small_cnn_f(HASH_SIDE)
        tree = jax.eval_shape(
            partial(net.init, method="logits"),
            jax.random.key(0),
            jnp.zeros((HASH_SIDE, HASH_SIDE, 3)),
        )
        variables, _ = hash_tables.fit_vgg_f(read(FOLDER / CNN_F), net, tree, CNN_F)
        return partial(net.apply, variables, method="logits"), None
    if network == "classifier":
        made = port([FOLDER / "backbone.pth"], ClassifierArchitecture("tiny", SIDE))
        classifier = made.architecture.functions(made.names)
        return partial(classifier.logits, made.variables), None
    method, naming = network.split("-")
    architecture = HasherArchitecture(
        method,
        "vgg-f-pytorch" if naming == "pytorch" else "vgg-f",
        side=HASH_SIDE,
        units=HIDDEN,
        semantic=SEMANTIC,
        windows=RELEASED_WINDOWS,
    )
    made = port([FOLDER / file for file in (*HASHERS[network], CNN_F)], architecture)
    assert len(made.names["tags"]) == TAGS
    hasher = made.architecture.functions(made.names)
    return tuple(partial(f, made.variables) for f in (hasher.image_code, hasher.text_code))


@pytest.fixture(scope="module")
def found(network, stored):
    """The same of the ported network, by the same names; the whole gradient."""
    see, tell = ported(network)

    @partial(jax.jit, static_argnums=0)
    def look(function, inputs):
        outputs, pull = jax.vjp(jax.vmap(function), inputs)
        return outputs, *pull(jnp.ones_like(outputs))

    outputs, gradient = look(see, images_of(stored))
    if tell is None:
        return {"outputs": outputs, "gradient": gradient}
    codes, text_gradient = look(tell, stored["bags"])
    texts = {"text_codes": codes, "text_gradient": text_gradient}
    return {"outputs": outputs, "gradient": gradient, **texts}


def assert_varied(outputs):
    """They differ from example to example."""
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1 * np.abs(outputs).max()


def test_logits_or_codes_of_pictures(stored, found):
    assert_varied(stored["outputs"])
    assert_same(found["outputs"], stored["outputs"])


def test_gradients_by_pictures(stored, found):
    assert_same_gradients(found, stored)


@pytest.mark.parametrize("network", HASHERS, indirect=True, scope="module")
def test_codes_of_texts_and_their_gradients(stored, found):
    assert_varied(stored["text_codes"])
    assert_same(found["text_codes"], stored["text_codes"])
    assert_same(found["text_gradient"], stored["text_gradient"])


# ---------------------------------------------------------------- PyTorch


def test_stored_values_are_those_of_pytorch(torch, tmp_path):
    make_references.write(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == sorted(file.name for file in FOLDER.iterdir())
    load = {".pth": torch.load, ".npz": load_archive}
    for name in names:
        now, then = (load.get(file.suffix, read)(file) for file in (tmp_path / name, FOLDER / name))
        assert now.keys() == then.keys()
        for key, value in then.items():
            limit = 1e-5 * np.abs(np.asarray(value)).max(initial=1)
            np.testing.assert_allclose(now[key], value, rtol=1e-4, atol=limit, err_msg=key)


def test_a_hasher_begins_with_the_weights_of_cnn_f():
    """The variables of its features are the file's, as far as a victim's features go."""
    architecture = HasherArchitecture("dcmh", "vgg-f", side=HASH_SIDE, units=HIDDEN)
    features = read_features(FOLDER / CNN_F, architecture)
    names = {"tags": ("a",), "classes": ("b",)}
    wanted = architecture.shapes(names)
    assert jax.tree.map(np.shape, features) == {
        kind: jax.tree.map(np.shape, wanted[kind]["features"]) for kind in ("params", "constants")
    }
    kernel = read(FOLDER / CNN_F)["conv1.weight"]
    np.testing.assert_array_equal(features["params"]["conv1"]["kernel"], kernel)
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape), wanted)
    begun = begin_from_features(fresh, features)
    assert jax.tree.structure(begun) == jax.tree.structure(fresh)
    assert begun["params"]["features"] is features["params"]
    assert begun["params"]["image_hash"] is fresh["params"]["image_hash"]


@pytest.mark.parametrize(
    ("backbone", "says"),
    [("features", "no file of 'features' is known"), ("vgg-f-small", "not this network: conv1")],
)
def test_weights_of_other_features_are_refused(backbone, says):
    with pytest.raises(PortingError, match=says):
        read_features(FOLDER / CNN_F, HasherArchitecture("dcmh", backbone, side=64))
