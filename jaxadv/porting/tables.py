"""What the parameters of each network are called in the checkpoints of its authors.

A table says for every leaf of the Flax tree which foreign entry it is and how that is laid out;
what a network has no use for is listed as well. `fit` holds a file against a table: a missing,
extra or misshapen entry is an error that names them all.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.porting.errors import PortingError
from jaxadv.victims.zoo import Architecture

Transform = Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """The foreign entry of one leaf: its name, and what brings it into Flax's layout."""

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


def _torchvision(path: tuple[str, ...]) -> Entry:
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

#: module of the Flax decoder: module of the PyTorch one (`ShowTellModel`, `FCModel`,
#: `ShowAttendTellModel`, `Att2in2Model`)
DECODERS: dict[str, dict[str, str]] = {
    "show-tell": {**_WORDS, **_LSTM, "img_embed": "img_embed"},
    "fc": {**_WORDS, **_MAXOUT, "img_embed": "img_embed"},
    "show-attend-tell": {
        **_WORDS,
        "linear": "linear",
        "rnn/weight_ih": "core.rnn.weight_ih_l0",
        "rnn/weight_hh": "core.rnn.weight_hh_l0",
        "ctx2att": "core.ctx2att",
        "attention/h2att": "core.h2att",
        "attention/alpha_net": "core.alpha_net",
    },
    "att2in2": {
        **_MAXOUT,
        **_ATTENTION,
        "embed": "embed.0",
        "att_embed": "att_embed.0",
        "logit": "logit",
    },
}
# `nn.LSTM` names a weight itself, without `.weight`
_BARE = re.compile(r"(weight_[ih]h_l0)\.weight$")


def _decoder(architecture: Architecture, path: tuple[str, ...]) -> Entry:
    entry = _torch(DECODERS[architecture.decoder]["/".join(path[:-1])], path[-1])
    return entry._replace(name=_BARE.sub(r"\1", entry.name))


# ---------------------------------------------------------------- captioners

#: what checkpoints hold beside the network of a captioner: counters, and the classifier's head
UNUSED = re.compile(r".*\.num_batches_tracked|fc\.(weight|bias)|AuxLogits\..*")


def captioner_table(architecture: Architecture, tree: Any) -> dict[tuple[str, ...], Entry]:
    """Name every leaf of a captioner's variables `tree` in ruotianluo's and torchvision's terms."""
    table = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        keys = tuple(str(part.key) for part in path)
        _, part, *rest = keys
        table[keys] = (
            _torchvision(tuple(rest)) if part == "backbone" else _decoder(architecture, tuple(rest))
        )
    return table


def fit(
    arrays: dict[str, np.ndarray], table: Mapping[tuple[str, ...], Entry], tree: Any, source: str
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
    wanted = {entry.name for entry in table.values()}
    problems = [f"missing {name}" for name in sorted(wanted - arrays.keys())]
    extra = sorted(n for n in arrays.keys() - wanted if not UNUSED.fullmatch(n))
    problems += [f"unexpected {name} {arrays[name].shape}" for name in extra]
    mapped: list[Mapped] = []

    def take(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        keys = tuple(str(part.key) for part in path)
        entry = table[keys]
        if entry.name not in arrays:
            return np.empty(0)
        stored = arrays.pop(entry.name)
        value = entry.transform(stored)
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
