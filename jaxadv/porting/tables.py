"""What the parameters of each network are called in the checkpoints of its authors.

A table says for every leaf of the Flax tree which foreign entry it is and how that is laid out;
what a network has no use for is listed as well. `fit` holds a file against a table: a missing,
extra or misshapen entry is an error that names them all.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.porting.errors import PortingError
from jaxadv.porting.slim import SCOPES
from jaxadv.porting.vocabulary import Lexicon
from jaxadv.victims.architectures import CaptionerArchitecture, ClassifierArchitecture

Transform = Callable[[np.ndarray], np.ndarray]
Keys = tuple[str, ...]


class Entry(NamedTuple):
    """The foreign entry of one leaf: its name, and what brings it into Flax's layout.

    Several leaves may be of one entry. A transform raises `ValueError` or `IndexError` for an array
    of another shape than it takes.
    """

    name: str
    transform: Transform


class Mapped(NamedTuple):
    """A row of what was mapped: the foreign name, the leaf's path and its shape in Flax."""

    name: str
    leaf: str
    shape: tuple[int, ...]


# ---------------------------------------------------------------- layouts

_LEAVES = {  # Flax's name of a leaf: PyTorch's
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def _from_torch(array: np.ndarray) -> np.ndarray:
    """Convolutions OIHW -> HWIO, linear maps OI -> IO."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def _torch(module: str, leaf: str) -> Entry:
    return Entry(f"{module}.{_LEAVES[leaf]}", _from_torch if leaf == "kernel" else _as_it_is)


# ---------------------------------------------------------------- backbones

_RESNET = (
    (re.compile(r"layer(\d)_(\d+)"), r"layer\1.\2"),
    (re.compile(r"downsample_conv"), "downsample.0"),
    (re.compile(r"downsample_bn"), "downsample.1"),
)


def torchvision(path: Keys) -> Entry:
    """Name a leaf of a network whose layers are torchvision's (`nets.resnet`, `inception_v3`)."""
    module = ".".join(path[:-1])
    for here, there in _RESNET:
        module = here.sub(there, module)
    return _torch(module, path[-1])


# ---------------------------------------------------------------- ruotianluo's decoders

_LSTM = {"core/weight_ih": "core.weight_ih_l0", "core/weight_hh": "core.weight_hh_l0"}
_MAXOUT = {"core/i2h": "core.i2h", "core/h2h": "core.h2h"}
_ATTENTION = {
    "attention/h2att": "core.attention.h2att",
    "attention/alpha_net": "core.attention.alpha_net",
    "core/a2c": "core.a2c",
    "ctx2att": "ctx2att",
}
_WORDS = {"embed": "embed", "logit": "logit"}

#: module of the Flax decoder: module of the PyTorch one (`ShowTellModel`, `FCModel`, `NewFCModel`,
#: `ShowAttendTellModel`, `Att2inModel`, `Att2in2Model`)
DECODERS: dict[str, dict[str, str]] = {
    "show-tell": {**_WORDS, **_LSTM, "img_embed": "img_embed"},
    "fc": {**_WORDS, **_MAXOUT, "img_embed": "img_embed"},
    "newfc": {
        **_WORDS,
        "core/i2h": "_core.i2h",
        "core/h2h": "_core.h2h",
        "img_embed": "fc_embed",
    },
    "show-attend-tell": {
        **_WORDS,
        "linear": "linear",
        "rnn/weight_ih": "core.rnn.weight_ih_l0",
        "of_context": "core.rnn.weight_ih_l0",
        "rnn/weight_hh": "core.rnn.weight_hh_l0",
        "ctx2att": "core.ctx2att",
        "attention/h2att": "core.h2att",
        "attention/alpha_net": "core.alpha_net",
    },
    "att2in": {**_WORDS, **_MAXOUT, **_ATTENTION},
    "att2in2": {
        **_WORDS,
        **_MAXOUT,
        **_ATTENTION,
        "embed": "embed.0",
        "att_embed": "att_embed.0",
    },
}
# `nn.LSTM` names a weight itself, without `.weight`
_BARE = re.compile(r"(weight_[ih]h_l0)\.weight$")


def _of_word(array: np.ndarray) -> np.ndarray:
    """Of an LSTM's input weights `[4 units, units + C]`, what is for the word."""
    return array[:, : len(array) // 4].T


def _of_context(array: np.ndarray) -> np.ndarray:
    """Of the same weights, what is for the attended context."""
    return array[:, len(array) // 4 :].T


_PARTS = {
    ("show-attend-tell", "rnn/weight_ih"): _of_word,
    ("show-attend-tell", "of_context"): _of_context,
}


def _ruotianluo(decoder: str, path: Keys) -> Entry:
    module = "/".join(path[:-1])
    name, transform = _torch(DECODERS[decoder][module], path[-1])
    return Entry(_BARE.sub(r"\1", name), _PARTS.get((decoder, module), transform))


# ---------------------------------------------------------------- im2txt

_SLIM = {
    "kernel": "weights",
    "bias": "BatchNorm/beta",
    "mean": "BatchNorm/moving_mean",
    "var": "BatchNorm/moving_variance",
    "scale": "BatchNorm/moving_variance",  # slim's has no gamma: 1, as often as there are variances
}
#: kernel and bias of `BasicLSTMCell`, as TensorFlow named them since 1.2, before, and before 1.0
_CELLS = (
    ("lstm/basic_lstm_cell/kernel", "lstm/basic_lstm_cell/bias"),
    ("lstm/basic_lstm_cell/weights", "lstm/basic_lstm_cell/biases"),
    ("lstm/BasicLSTMCell/Linear/Matrix", "lstm/BasicLSTMCell/Linear/Bias"),
)
#: im2txt's scores; there may be more than there are words
SCORES = "logits/biases"


def _slim(path: Keys) -> Entry:
    *block, layer, _, leaf = path
    scope = "/".join([*block, SCOPES[block[0]][layer] if block else layer])
    transform = np.ones_like if leaf == "scale" else _as_it_is
    return Entry(f"InceptionV3/{scope}/{_SLIM[leaf]}", transform)


def _gates(array: np.ndarray) -> np.ndarray:
    """Gates input, candidate, forget, output -> input, forget, candidate, output."""
    i, j, f, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, j, o], axis=-1)


def _gate_biases(array: np.ndarray) -> np.ndarray:
    """The same of the biases, and the 1 that `BasicLSTMCell` adds to the forget gate's."""
    i, f, j, o = np.split(_gates(array), 4)
    return np.concatenate([i, f + 1, j, o])


def _half(number: int) -> Transform:
    """Of the kernel, the rows of the input (0) or of the hidden state (1)."""
    return lambda array: _gates(np.split(array, 2)[number])


def _rows(rows: np.ndarray, axis: int) -> Transform:
    """Of a table with as many rows as these, those rows."""

    def pick(array: np.ndarray) -> np.ndarray:
        if array.shape[axis] != len(rows):
            raise ValueError("rows and words differ in number")
        return array.take(rows, axis)

    return pick


def _im2txt(lexicon: Lexicon, stored: Container[str]) -> Callable[[Keys], Entry]:
    """Name a leaf of `ShowTell(im2txt=True)` in the terms of `ShowAndTellModel`."""
    kernel, bias = next((cell for cell in _CELLS if cell[0] in stored), _CELLS[0])
    table = {
        "img_embed/kernel": Entry("image_embedding/weights", _as_it_is),
        "embed/embedding": Entry("seq_embedding/map", _rows(lexicon.embedded, 0)),
        "core/weight_ih/kernel": Entry(kernel, _half(0)),
        "core/weight_hh/kernel": Entry(kernel, _half(1)),
        "core/weight_ih/bias": Entry(bias, _gate_biases),
        "logit/kernel": Entry("logits/weights", _rows(lexicon.scored, -1)),
        "logit/bias": Entry(SCORES, _rows(lexicon.scored, 0)),
    }
    return lambda path: table["/".join(path)]


# ---------------------------------------------------------------- captioners

#: what checkpoints hold beside the network of a captioner: counters, heads of the classifier, what
#: optimisers remember, running means of weights
UNUSED = re.compile(
    r".*\.num_batches_tracked|fc\.(weight|bias)|AuxLogits\..*|\d\d\.meta"
    r"|global_step|beta[12]_power|OptimizeLoss/.*|InceptionV3/(AuxLogits|Logits)/.*"
    r"|.*/(Momentum|Adam(_1)?|RMSProp(_1)?|Adagrad|ExponentialMovingAverage)"
)


def captioner_table(
    architecture: CaptionerArchitecture, tree: Any, lexicon: Lexicon, stored: Container[str]
) -> dict[Keys, Entry]:
    """Name every leaf of a captioner's variables in its authors' terms.

    Args:
      architecture: what the captioner is made of.
      tree: its variables.
      lexicon: its words.
      stored: the names in the files, where authors renamed what they store.
    """
    parts = {
        "backbone": _slim if architecture.backbone == "inception-v3-slim" else torchvision,
        "decoder": _im2txt(lexicon, stored)
        if architecture.decoder == "im2txt"
        else partial(_ruotianluo, architecture.decoder),
    }
    table = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        keys = tuple(str(part.key) for part in path)
        table[keys] = parts[keys[1]](keys[2:])
    return table


# ---------------------------------------------------------------- classifiers

_HEADS = {"resnet20-cifar": "linear", "resnet32-cifar": "linear", "resnet56-cifar": "linear"}


def head_of(architecture: ClassifierArchitecture) -> str:
    """Name the entry of the biases of a classifier's last layer: it says how many classes."""
    if architecture.backbone == "mobilenet-v2":
        return "52.bias"
    return f"{_HEADS.get(architecture.backbone, 'fc')}.bias"


def classifier_table(architecture: ClassifierArchitecture, tree: Any) -> dict[Keys, Entry]:
    """Name every leaf of a classifier's variables in torchvision's terms, or those of its file.

    CIFAR-10's residual networks are akamaster/pytorch_resnet_cifar10's; MobileNetV2 is a file of
    numbered layers (`nets.mobilenet_v2`).
    """
    numbered = architecture.backbone == "mobilenet-v2"
    head = head_of(architecture).removesuffix(".bias")
    table = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        keys = tuple(str(part.key) for part in path)
        if keys[1] == "fc":
            entry = _torch(head, keys[-1])
            table[keys] = entry._replace(transform=_flat) if keys[-1] == "kernel" else entry
        elif numbered:
            table[keys] = _torch(keys[-2].removeprefix("conv_"), keys[-1])
        else:
            table[keys] = torchvision(keys[2:])
    return table


def _flat(array: np.ndarray) -> np.ndarray:
    """A linear map OI, or a 1x1 convolution that is one, -> IO."""
    return array.reshape(array.shape[:2]).T


def fit(
    arrays: dict[str, np.ndarray], table: Mapping[Keys, Entry], tree: Any, source: str
) -> tuple[Any, list[Mapped]]:
    """Lay a checkpoint's arrays out as the Flax tree.

    Args:
      arrays: what the files hold; what is laid out is taken from it, so that it is held once.
      table: which entry each leaf is.
      tree: the expected variables, as `jax.eval_shape` gives them.
      source: the files, for the error.

    Returns:
      the variables, and what was mapped.

    Raises:
      PortingError: entries are missing, left over, or of another shape; all are named.
    """
    uses = Counter(entry.name for entry in table.values())
    problems = [f"missing {name}" for name in sorted(uses.keys() - arrays.keys())]
    extra = sorted(n for n in arrays.keys() - uses.keys() if not UNUSED.fullmatch(n))
    problems += [f"unexpected {name} {arrays[name].shape}" for name in extra]
    mapped: list[Mapped] = []

    def take(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        keys = tuple(str(part.key) for part in path)
        entry = table[keys]
        if entry.name not in arrays:
            return np.empty(0)
        uses[entry.name] -= 1
        stored = arrays[entry.name] if uses[entry.name] else arrays.pop(entry.name)
        try:
            value = entry.transform(stored)
        except (ValueError, IndexError):
            problems.append(f"{entry.name} {stored.shape} does not become {leaf.shape}")
            return stored
        if value.shape != leaf.shape:
            problems.append(
                f"{entry.name} {stored.shape} is {value.shape} in Flax's layout, "
                f"expected is {leaf.shape}"
            )
        mapped.append(Mapped(entry.name, "/".join(keys), value.shape))
        return np.ascontiguousarray(value, leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(take, tree)
    if problems:
        raise PortingError(f"{source}: {len(problems)} entries do not fit: {'; '.join(problems)}")
    return variables, mapped
