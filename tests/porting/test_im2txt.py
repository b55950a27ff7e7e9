"""Google's im2txt, saved as a TensorFlow bundle and ported, is the same network."""

import copy
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.captions.captioner import beam, greedy, log_probabilities, with_unknown_words
from jaxadv.data.lexicon import Lexicon, read_lexicon
from jaxadv.formats.errors import PortingError
from jaxadv.formats.tensorflow import crc32c
from jaxadv.porting.port import port
from jaxadv.porting.readers import parts
from jaxadv.victims import architectures, zoo
from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.vocabulary import Vocabulary

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
pytestmark = pytest.mark.usefixtures("torch")  # marks them `parity`

WORDS = ("a", "giraffe", "<S>", "eats", ".", "</S>", "'s", "grass")  # <UNK> is not in the file
BEGIN, END = 2, 5
ROWS, UNITS, LENGTH, SIDE = 12, 12, 7, 107  # <UNK> and 3 rows without a word
ARCHITECTURE = CaptionerArchitecture(
    "im2txt", "inception-v3-slim", UNITS, max_length=LENGTH, side=SIDE
)
ROW_OF = [END, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]  # each of our numbers
CELL = "lstm/basic_lstm_cell"
PARTS = (".index", ".data-00000-of-00001")


def write_bundle(prefix, arrays):
    """Write a bundle as `test_tensorflow` does, with the quick checksum, which is tested there."""
    from formats import test_tensorflow as bundles

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "slow_crc32c", crc32c)
        pairs, data = bundles.pairs_of(arrays)
        return bundles.write(prefix.parent, bundles.table([pairs]), data, prefix.name)


class Pair:
    """im2txt in PyTorch with some pictures and captions, and the files that it is saved in."""

    def __init__(self, folder):
        from porting.torch_im2txt import ShowAndTell

        rng = np.random.default_rng(0)
        colours, noise = rng.uniform(size=(6, 1, 1, 3)), rng.uniform(size=(6, SIDE, SIDE, 3))
        self.images = (colours * noise).astype(np.float32)
        self.tokens = rng.integers(1, ROWS, (6, LENGTH))  # our numbers, none of them the end
        self.tokens[0, -1] = 0
        self.theirs = ShowAndTell(ROWS, UNITS, BEGIN, END, seed=0)
        self.expected = self.log_probabilities(self.theirs, torch.from_numpy(self.images)).detach()
        self.arrays = {name: v.numpy() for name, v in self.theirs.variables.values.items()}
        self.arrays["global_step"] = np.array(2_000_000)
        self.prefix = write_bundle(folder / "model.ckpt-2000000", self.arrays)
        self.words = folder / "word_counts.txt"
        self.words.write_text("\n".join(f"{word} {99 - i}" for i, word in enumerate(WORDS)))
        self.ported = port([self.prefix], ARCHITECTURE, read_lexicon(self.words))
        self.victim = self.ported.architecture.functions(self.ported.names)

    def log_probabilities(self, theirs, images):
        """Log P f[N, T, V] of every place of the first pictures' captions, by our numbers."""
        captions = torch.tensor(ROW_OF)[self.tokens]
        pairs = zip(images, captions, strict=False)
        rows = [theirs.log_probabilities(theirs.embedded(i), tokens) for i, tokens in pairs]
        return torch.stack(rows)[..., ROW_OF]

    def ours(self, variables, images):
        def of_one(image, tokens):
            features = self.victim.encode(variables, image)
            return log_probabilities(self.victim, variables, features, tokens)

        return jax.vmap(of_one)(images, jnp.asarray(self.tokens[: len(images)]))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return Pair(tmp_path_factory.mktemp("im2txt"))


def test_words(pair):
    unused = ("<unused-9>", "<unused-10>", "<unused-11>")
    kept = ("a", "giraffe", "<S>", "eats", ".", "'s", "grass", "<UNK>")
    assert pair.ported.names["vocabulary"] == (*kept, *unused)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)], ids=["single", "double"]
)
def test_log_probabilities_of_teacher_forced_captions(pair, precision, tolerance):
    theirs = copy.deepcopy(pair.theirs)
    theirs.variables.to(torch.from_numpy(np.zeros(1, precision)).dtype)
    images = pair.images[:3].astype(precision)
    expected = pair.log_probabilities(theirs, torch.from_numpy(images)).numpy()
    assert np.ptp(expected, axis=-1).min() > 1
    with jax.enable_x64(precision is np.float64):
        variables = jax.tree.map(lambda leaf: leaf.astype(precision), pair.ported.variables)
        found = np.asarray(jax.jit(pair.ours)(variables, images))
    assert found.dtype == precision
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_greedy_and_beam_captions(pair):
    """Those of im2txt's own decoding, which knows no `suppress_UNK`; here it is the default."""
    victim, variables = with_unknown_words(pair.victim), pair.ported.variables

    @jax.jit
    @jax.vmap
    def search(image):
        features = victim.encode(variables, image)
        return greedy(victim, variables, features).tokens, beam(victim, variables, features, 3)

    def numbered(caption):
        numbers = [ROW_OF.index(row) for row in caption]
        return numbers + [0] * (LENGTH - len(numbers))

    greedily, found = search(pair.images)
    said = set()
    for i, image in enumerate(pair.images):
        with torch.no_grad():
            embedded = pair.theirs.embedded(torch.from_numpy(image))
            theirs = pair.theirs.greedy(embedded, LENGTH)
            captions, totals = zip(*pair.theirs.beam(embedded, 3, LENGTH), strict=True)
        assert greedily[i].tolist() == numbered(theirs)
        assert found.tokens[i].tolist() == [numbered(caption) for caption in captions]
        np.testing.assert_allclose(found.log_probability[i], totals, atol=1e-4)
        said.add(tuple(theirs))
    assert len(said) > 2 and len({len(caption) for caption in said}) > 1
    marks = pair.victim.vocabulary.suppressed
    assert len(marks) == 5 and np.isin(greedily, marks).any()
    usual = jax.vmap(lambda i: greedy(pair.victim, variables, pair.victim.encode(variables, i)))
    assert not np.isin(usual(pair.images).tokens, marks).any()


def test_input_gradients(pair):
    weights = np.random.default_rng(2).standard_normal((2, LENGTH, ROWS), np.float32)
    images = torch.from_numpy(pair.images[:2]).requires_grad_()
    (pair.log_probabilities(pair.theirs, images) * torch.from_numpy(weights)).sum().backward()
    expected = images.grad.numpy()
    score = jax.grad(lambda images: (pair.ours(pair.ported.variables, images) * weights).sum())
    difference = np.abs(jax.jit(score)(pair.images[:2]) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()


@pytest.fixture
def port_arrays(pair, monkeypatch):
    """Port what would be in the files."""

    def run(arrays):
        monkeypatch.setattr("jaxadv.porting.port.read", lambda path: dict(arrays))
        return port([pair.prefix], ARCHITECTURE, read_lexicon(pair.words))

    return run


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [
        (f"{CELL}/weights", f"{CELL}/biases"),
        ("lstm/BasicLSTMCell/Linear/Matrix", "lstm/BasicLSTMCell/Linear/Bias"),
    ],
)
def test_older_names_and_what_training_leaves(kernel, bias, pair, port_arrays):
    arrays = dict(pair.arrays)
    arrays[kernel], arrays[bias] = arrays.pop(f"{CELL}/kernel"), arrays.pop(f"{CELL}/bias")
    for name in (
        "InceptionV3/AuxLogits/Conv2d_1b_1x1/weights",
        "InceptionV3/Logits/Conv2d_1c_1x1/biases",
        "InceptionV3/Conv2d_1a_3x3/weights/Momentum",
        "logits/weights/Adam_1",
        "logits/weights/ExponentialMovingAverage",
        "OptimizeLoss/learning_rate",
        "beta1_power",
    ):
        arrays[name] = np.ones(3, np.float32)
    variables = port_arrays(arrays).variables
    jax.tree.map(np.testing.assert_array_equal, variables, pair.ported.variables)


@pytest.mark.parametrize(
    ("name", "array", "line"),
    [
        ("logits/weights", None, "missing: 'logits/weights'"),
        (f"{CELL}/kernel", None, f"missing: '{CELL}/kernel'"),
        (f"{CELL}/weights", np.zeros((24, 48)), rf"unexpected: '{CELL}/weights' \(24, 48\)"),
        (f"{CELL}/kernel", np.zeros((24, 47)), rf"{CELL}/kernel' \(24, 47\) does not become"),
        (f"{CELL}/kernel", np.zeros((20, 48)), rf"{CELL}/kernel' \(20, 48\) is \(10, 48\) in Flax"),
        (f"{CELL}/bias", np.zeros(()), rf"{CELL}/bias' \(\) does not become \(48,\)"),
        ("logits/biases", np.zeros(8), "scores of 7 words, but the vocabulary has 8"),
        ("seq_embedding/map", np.zeros((9, 12)), r"map' \(9, 12\) does not become \(12, 12\)"),
        ("image_embedding/biases", np.zeros(12), "unexpected: 'image_embedding/biases'"),
        (
            "InceptionV3/Mixed_5c/Branch_1/Conv_1_0c_5x5/BatchNorm/gamma",
            np.ones(64),
            "unexpected: 'InceptionV3/Mixed_5c/Branch_1/Conv_1_0c_5x5/BatchNorm/gamma",
        ),
    ],
)
def test_what_does_not_fit_is_named(name, array, line, pair, port_arrays):
    arrays = {**pair.arrays, name: array}
    if array is None:
        del arrays[name]
    with pytest.raises(PortingError, match=line) as caught:
        port_arrays(arrays)
    assert str(caught.value).startswith(f"{pair.prefix}: ") and "\n" not in str(caught.value)


def test_vocabularies_of_other_captioners(pair):
    with pytest.raises(PortingError, match=r"decoder im2txt is im2txt's word_counts\.txt"):
        port([pair.prefix], ARCHITECTURE, Lexicon(Vocabulary(WORDS)))
    other = CaptionerArchitecture("show-tell", "inception-v3", UNITS, side=SIDE)
    with pytest.raises(PortingError, match="decoder show-tell is JSON, not im2txt's"):
        port([pair.prefix], other, read_lexicon(pair.words))


@pytest.mark.parametrize("named", ["", *PARTS])
def test_a_bundle_lies_in_all_of_its_files(named, pair):
    found = parts(pair.prefix.with_name(pair.prefix.name + named))
    assert [part.name for part in found] == [f"{pair.prefix.name}{part}" for part in PARTS]


def test_command(pair, tmp_path, monkeypatch):
    monkeypatch.setitem(architectures.PUBLISHED, "show-tell-im2txt", ARCHITECTURE)
    code, out, err = call(
        *("port", pair.prefix, "--architecture", "show-tell-im2txt"),
        *("--vocabulary", pair.words, "--name", "mine", "--out", tmp_path),
    )
    assert (code, err) == (0, "")
    assert "logits/weights" in out and "of a generated scene it says: " in out
    loaded = zoo.load(str(tmp_path / "mine"))
    assert loaded.captioner.vocabulary.words == pair.ported.names["vocabulary"]
    jax.tree.map(np.testing.assert_array_equal, loaded.params, pair.ported.variables)
    assert [(file["file"], file["sha256"]) for file in loaded.record["files"]] == [
        (part.name, hashlib.sha256(part.read_bytes()).hexdigest()) for part in parts(pair.prefix)
    ]
