"""What the parameters of each network are called in the checkpoints of its authors.

A table says for every leaf of the Flax tree which foreign entry it is and how that is laid out;
`fitting.fit` holds a file against it.
"""

import re
from collections.abc import Callable, Container
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxadv.data.lexicon import Lexicon
from jaxadv.porting.fitting import Entry, Keys, Transform, keys_of
from jaxadv.porting.slim import SCOPES
from jaxadv.victims.architectures import (
    BACKBONES,
    CaptionerArchitecture,
    ClassifierArchitecture,
)
from jaxadv.victims.nets.mobilenet_v2 import LAYERS
from jaxadv.victims.nets.tresnet import TResNet

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


def _mobilenet_modules() -> list[tuple[str, str]]:
    """The convolution and the batch norm of each layer in torchvision's MobileNetV2, in order."""
    modules = [("features.0.0", "features.0.1")]
    block, inside = 1, 0
    for layer in LAYERS[1:-2]:
        within = f"features.{block}.conv.{inside}"
        if layer.bounded:
            modules.append((f"{within}.0", f"{within}.1"))
            inside += 1
        else:  # a projection, which ends its block
            modules.append((within, f"features.{block}.conv.{inside + 1}"))
            block, inside = block + 1, 0
    return [*modules, (f"features.{block}.0", f"features.{block}.1")]


_MOBILENET = _mobilenet_modules()


def torchvision_mobilenet(path: Keys) -> Entry:
    """Name a leaf of `MobileNetV2(torchvision=True)` in the terms of torchvision."""
    kind, number = path[0].split("_")
    return _torch(_MOBILENET[int(number)][kind == "norm"], path[-1])


_VIT = {
    "embed": "conv_proj",
    "norm": "encoder.ln",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "out": "self_attention.out_proj",
}
_VIT_MLP = {"widen": ("mlp.0", "mlp.linear_1"), "narrow": ("mlp.3", "mlp.linear_2")}
_QUERY_KEY_VALUE = ("query", "key", "value")


def torchvision_vit(path: Keys, shape: tuple[int, ...], stored: Container[str]) -> Entry:
    """Name a leaf of a `ViT` of that shape in the terms of torchvision.

    `stored` are the names in the file: torchvision 0.12 called the two linear maps otherwise.
    """
    if path == ("class_token",):
        return Entry("class_token", lambda array: array[0, 0])
    if path == ("positions",):
        return Entry("encoder.pos_embedding", lambda array: array[0])
    module, leaf = path[-2], path[-1]
    layer = ""
    if path[0].startswith("block"):
        layer = f"encoder.layers.encoder_layer_{path[0].removeprefix('block')}."
    if module in _QUERY_KEY_VALUE:
        return _third(f"{layer}self_attention", module, leaf, shape)
    if module in _VIT_MLP:
        now, before = (f"{layer}{name}" for name in _VIT_MLP[module])
        return _torch(before if f"{before}.{_LEAVES[leaf]}" in stored else now, leaf)
    entry = _torch(f"{layer}{_VIT[module]}", leaf)
    if leaf == "kernel" and module == "embed":  # a patch is flattened row by row, colours last
        return entry._replace(transform=lambda array: array.transpose(2, 3, 1, 0).reshape(shape))
    if leaf == "kernel" and module == "out":
        return entry._replace(transform=lambda array: array.T.reshape(shape))
    return entry


def _third(attention: str, module: str, leaf: str, shape: tuple[int, ...]) -> Entry:
    """Name the query, key or value of PyTorch's attention, where they are one linear map."""
    third = _QUERY_KEY_VALUE.index(module)
    name = f"{attention}.in_proj_{_LEAVES[leaf]}"
    return Entry(name, lambda array: np.split(array, 3)[third].T.reshape(shape))


_BLOCK = re.compile(r"layer(\d)_(\d+)")
_TIMM_STEM = "body.conv1.conv.weight"


def tresnet(net: TResNet, path: Keys, stored: Container[str]) -> Entry:
    """Name a leaf of a TResNet in the terms of Alibaba-MIIL, or in timm's.

    Alibaba-MIIL's layers are lists: a convolution and its norm are 0 and 1, and with a blur behind
    them they are a list in a list. Its norms, InPlaceABN, multiply by `|weight| + 1e-5`; timm's are
    batch norms, whose weights are that already.

    Args:
      net: the network.
      path: keys of the leaf.
      stored: the names in the file.
    """
    *block, layer, leaf = path
    module, halves, blurred = "body.", False, 0
    if block and (named := _BLOCK.fullmatch(block[0])):
        stage, index = map(int, named.groups())
        module += f"layer{stage}.{index}."
        halves = stage > 1 and index == 0
        blurred = 2 if net.second or stage > 2 else 1
    if layer in ("fc1", "fc2"):
        return _torch(f"{module}se.{layer}", leaf)
    normalises = "bn" in layer
    if layer.startswith("downsample"):
        module += f"downsample.{int(halves)}"
    else:
        module += f"conv{layer[-1]}"
    if _TIMM_STEM in stored:
        return _torch(f"{module}.{'bn' if normalises else 'conv'}", leaf)
    if halves and layer in (f"conv{blurred}", f"bn{blurred}"):
        module += ".0"
    entry = _torch(f"{module}.{int(normalises)}", leaf)
    return entry._replace(transform=_in_place) if leaf == "scale" else entry


def _in_place(weights: np.ndarray) -> np.ndarray:
    """What an InPlaceABN of these weights multiplies by."""
    return np.abs(weights) + 1e-5


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
        keys = keys_of(path)
        table[keys] = parts[keys[1]](keys[2:])
    return table


# ---------------------------------------------------------------- classifiers

#: backbone: its classifier's last layer, where that is not `fc`
_HEADS = {
    "resnet20-cifar": "linear",
    "resnet32-cifar": "linear",
    "resnet56-cifar": "linear",
    "mobilenet-v2": "52",
    "mobilenet-v2-torchvision": "classifier.1",
    "vit-b16-token": "heads.head",
}

#: module of an `MLDecoder`: that of the released one
_ML_DECODER = {
    "embed": "embed_standart",
    "norm1": "layers.0.norm1",
    "norm2": "layers.0.norm2",
    "norm3": "layers.0.norm3",
    "out": "layers.0.multihead_attn.out_proj",
    "widen": "layers.0.linear1",
    "narrow": "layers.0.linear2",
}
_ML_DECODER_LEAVES = {
    "queries": "query_embed.weight",
    "pooling": "duplicate_pooling",
    "bias": "duplicate_pooling_bias",
}


def ml_decoder(head: str, path: Keys, shape: tuple[int, ...]) -> Entry:
    """Name a leaf of an `MLDecoder` of that shape, whose released names begin with `head`."""
    *module, leaf = path
    if not module:
        return Entry(f"{head}.{_ML_DECODER_LEAVES[leaf]}", _as_it_is)
    if module[-1] in _QUERY_KEY_VALUE:
        return _third(f"{head}.layers.0.multihead_attn", module[-1], leaf, shape)
    entry = _torch(f"{head}.{_ML_DECODER[module[-1]]}", leaf)
    if leaf == "kernel" and module[-1] == "out":
        return entry._replace(transform=lambda array: array.T.reshape(shape))
    return entry


def head_of(architecture: ClassifierArchitecture) -> str:
    """Name the entry of the biases of a classifier's last layer: it says how many classes."""
    alibaba = isinstance(BACKBONES[architecture.backbone].make(), TResNet)
    if architecture.head == "ml-decoder":
        return f"{'head' if alibaba else 'fc'}.decoder.{_ML_DECODER_LEAVES['bias']}"
    return f"{_HEADS.get(architecture.backbone, 'head.fc' if alibaba else 'fc')}.bias"


def classifier_table(
    architecture: ClassifierArchitecture, tree: Any, stored: Container[str]
) -> dict[Keys, Entry]:
    """Name every leaf of a classifier's variables in its authors' terms, or those of its file.

    They are torchvision's for most. CIFAR-10's residual networks are
    akamaster/pytorch_resnet_cifar10's; TensorFlow's MobileNetV2 is a file of numbered layers
    (`nets.mobilenet_v2`); TResNets and ML-Decoders are Alibaba-MIIL's.

    Args:
      architecture: what the classifier is made of.
      tree: its variables.
      stored: the names in the files, where authors renamed what they store.
    """
    net = BACKBONES[architecture.backbone].make()
    head = head_of(architecture).rpartition(".")[0]
    table = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = keys_of(path)
        if keys[1] == "fc":
            entry = _torch(head, keys[-1])
            table[keys] = entry._replace(transform=_flat) if keys[-1] == "kernel" else entry
        elif keys[1] == "head":
            table[keys] = ml_decoder(head, keys[2:], leaf.shape)
        elif isinstance(net, TResNet):
            table[keys] = tresnet(net, keys[2:], stored)
        elif architecture.backbone == "mobilenet-v2":
            table[keys] = _torch(keys[-2].removeprefix("conv_"), keys[-1])
        elif architecture.backbone == "mobilenet-v2-torchvision":
            table[keys] = torchvision_mobilenet(keys[2:])
        elif architecture.backbone == "vit-b16-token":
            table[keys] = torchvision_vit(keys[2:], leaf.shape, stored)
        else:
            table[keys] = torchvision(keys[2:])
    return table


def _flat(array: np.ndarray) -> np.ndarray:
    """A linear map OI, or a 1x1 convolution that is one, -> IO."""
    return array.reshape(array.shape[:2]).T
