"""A captioner saved by PyTorch, ported, is the same network: scores, decoding and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from porting import torch_captioners
from porting.make_references import CHANNELS, SIDE, STAGES, WIDTH
from porting.torch_captioners import MODELS, see, torch
from victims.nets import torch_definitions

from jaxadv.captions.captioner import beam, greedy, log_probabilities
from jaxadv.data.lexicon import Lexicon
from jaxadv.formats.errors import PortingError
from jaxadv.porting.port import port, save
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("torch", "tiny")

WORDS, UNITS, LENGTH = 9, 12, 7
VOCABULARY = Vocabulary(tuple("abcdefghi"))
LEXICON = Lexicon(VOCABULARY)


def architecture_of(decoder):
    return CaptionerArchitecture(decoder, "tiny", units=UNITS, max_length=LENGTH, side=SIDE)


class Pair:
    """PyTorch's backbone and decoder, and the files that torch saved them in."""

    def __init__(self, decoder, folder, zipped=True):
        self.backbone = torch_definitions.ResNet(
            STAGES, bottleneck=True, caffe=True, width=WIDTH
        ).eval()
        self.decoder = MODELS[decoder](WORDS + 1, UNITS, CHANNELS).eval()
        with torch.no_grad():
            torch_definitions.randomise(self.backbone, seed=1)
        torch_captioners.randomise(self.decoder, seed=0, feature_size=8)
        self.files = [folder / "backbone.pth", folder / "decoder.pth"]
        states = [self.backbone.state_dict(), {"model": self.decoder.state_dict(), "epoch": 3}]
        for state, file in zip(states, self.files, strict=True):
            torch.save(state, file, _use_new_zipfile_serialization=zipped)

    def cells(self, image):
        return see(self.backbone, image)


@pytest.fixture(params=MODELS, scope="module")
def decoder(request):
    return request.param


@pytest.fixture(scope="module")
def pair(decoder, tmp_path_factory):
    return Pair(decoder, tmp_path_factory.mktemp(decoder))


@pytest.fixture(scope="module")
def ported(decoder, pair):
    architecture = architecture_of(decoder)
    variables = port(pair.files, architecture, LEXICON).variables
    return architecture.captioner(VOCABULARY), variables


def pictures(count):
    return np.random.default_rng(0).uniform(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def test_log_probabilities_of_teacher_forced_captions(pair, ported):
    victim, variables = ported
    rng = np.random.default_rng(1)

    @jax.jit
    def ours(image, tokens):
        return log_probabilities(victim, variables, victim.encode(variables, image), tokens)

    for image in pictures(4):
        with torch.no_grad():
            cells = pair.cells(torch.from_numpy(image))
        for tokens in rng.integers(0, WORDS + 1, (5, LENGTH)):
            with torch.no_grad():
                theirs = pair.decoder.log_probabilities(cells, torch.from_numpy(tokens)).numpy()
            assert np.ptp(theirs) > 1
            np.testing.assert_allclose(ours(image, jnp.asarray(tokens)), theirs, atol=1e-4)


def test_greedy_and_beam_captions(pair, ported):
    victim, variables = ported
    speak = jax.jit(lambda i: greedy(victim, variables, victim.encode(variables, i)).tokens)
    search = jax.jit(lambda i: beam(victim, variables, victim.encode(variables, i), 3))
    said = set()
    for image in pictures(6):
        with torch.no_grad():
            cells = pair.cells(torch.from_numpy(image))
            theirs = pair.decoder.greedy(cells, LENGTH)
            beams = pair.decoder.beam(cells, 3, LENGTH)
        assert [t for t in np.asarray(speak(image)).tolist() if t] == theirs
        found = search(image)
        for tokens, score, (caption, total) in zip(
            found.tokens.tolist(), found.log_probability, beams, strict=True
        ):
            assert tokens[: len(caption)] == list(caption) and not any(tokens[len(caption) :])
            np.testing.assert_allclose(score, total, atol=1e-4)
        said.add(tuple(theirs))
    assert len(said) > 1


def test_input_gradients(pair, ported):
    victim, variables = ported
    tokens = np.array([3, 1, 4, 1, 5, 0, 0])
    image = pictures(1)[0]

    @jax.jit
    @jax.grad
    def ours(image):
        features = victim.encode(variables, image)
        return jnp.trace(log_probabilities(victim, variables, features, jnp.asarray(tokens)))

    theirs = torch.from_numpy(image).requires_grad_()
    scores = pair.decoder.log_probabilities(pair.cells(theirs), torch.from_numpy(tokens))
    scores.diagonal().sum().backward()
    expected = theirs.grad.numpy()
    difference = np.abs(np.asarray(ours(image)) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()


def test_legacy_files_port_alike(decoder, ported, tmp_path):
    legacy = Pair(decoder, tmp_path, zipped=False)
    variables = port(legacy.files, architecture_of(decoder), LEXICON).variables
    jax.tree.map(np.testing.assert_array_equal, variables, ported[1])


def test_what_does_not_fit_is_named(pair, decoder, tmp_path):
    state = {**pair.decoder.state_dict(), "surplus": torch.zeros(2)}
    state["logit.weight"] = torch.zeros(WORDS, UNITS)
    del state["logit.bias"]
    broken = tmp_path / "broken.pth"
    torch.save(state, broken)
    with pytest.raises(PortingError) as caught:
        port([pair.files[0], broken], architecture_of(decoder), LEXICON)
    line = str(caught.value)
    missing, extra = "1 missing: 'logit.bias'", "1 unexpected: 'surplus' (2,)"
    for part in (str(broken), missing, extra, "'logit.weight' (9, 12)"):
        assert part in line
    assert "\n" not in line


def test_saved_and_loaded_again(pair, decoder, ported, tmp_path):
    architecture = architecture_of(decoder)
    save(tmp_path / "mine", port(pair.files, architecture, LEXICON))
    loaded = zoo.load(str(tmp_path / "mine"))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, ported[1])
    assert [f["file"] for f in loaded.record["files"]] == ["backbone.pth", "decoder.pth"]
