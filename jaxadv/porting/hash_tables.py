"""What the parameters of the hashers' networks are called in published checkpoints.

Each `fit_...` lays the arrays of a file out as variables, as `tables.fit` does; what it lays out or
has no use for is taken from the arrays. Code lengths, classes and words are those of the tree,
which `jax.eval_shape` of the network's `init` gives.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from jaxadv.formats.errors import PortingError, quoted
from jaxadv.porting.fitting import Entry, Mapped, fit, keys_of
from jaxadv.porting.tables import torchvision
from jaxadv.victims.nets.vgg_f import VggF

Arrays = dict[str, np.ndarray]
Table = dict[tuple[str, ...], Entry]
Names = Mapping[str, tuple[str, str]]  # module here: kernel and bias there
Fitted = tuple[Any, list[Mapped]]

#: The mean image of CNN-F, as `read_mat` names it in `imagenet-vgg-f.mat`. No other checkpoint of
#: these networks holds one: they all read it from that file.
MEAN_IMAGE = "normalization.averageImage"

# ---------------------------------------------------------------- layouts


def _matrix(array: np.ndarray) -> np.ndarray:
    """The kernel of a convolution over its whole input, `[h, w, in, out]`, as that of a `Dense`."""
    array = np.atleast_1d(array)
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _reversed(array: np.ndarray) -> np.ndarray:
    return array.T


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def _vector(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)


def _mean(shape: tuple[int, ...], array: np.ndarray) -> np.ndarray:
    """A mean colour is the same everywhere."""
    return np.broadcast_to(array.reshape(3), shape) if array.size == 3 else array


def _weight_and_bias(module: str) -> tuple[str, str]:
    return f"{module}.weight", f"{module}.bias"


def _leaves(tree: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield keys_of(path), leaf


def _table(
    tree: Any, names: Names, layout: Callable[[np.ndarray], np.ndarray] = _as_it_is
) -> Table:
    """Name every leaf; `layout` brings a kernel's axes into the order of `[h, w, in, out]`."""
    table: Table = {}
    for keys, leaf in _leaves(tree):
        module = "/".join(keys[1:-1])
        if keys[0] == "constants":
            table[keys] = Entry(MEAN_IMAGE, partial(_mean, leaf.shape))
        elif module not in names:
            raise PortingError(f"checkpoints of this kind hold no {'/'.join(keys)}")
        elif keys[-1] == "bias":
            table[keys] = Entry(names[module][1], _vector)
        elif leaf.ndim == 4:
            table[keys] = Entry(names[module][0], layout)
        else:
            table[keys] = Entry(names[module][0], lambda array: _matrix(layout(array)))
    return table


def _drop(arrays: Arrays, table: Table, unused: re.Pattern[str]) -> None:
    """Take from the arrays what no leaf wants and what is known to be of no use."""
    wanted = {entry.name for entry in table.values()}
    for name in [name for name in arrays if name not in wanted and unused.fullmatch(name)]:
        del arrays[name]


# ---------------------------------------------------------------- features

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")

# What is no parameter or mean image: settings of layers, the classifier, names of classes.
_MATCONVNET_UNUSED = re.compile(
    r"fc8\.(weight|bias)|(net\.)?(meta|classes|normalization)\..*|"
    r"\w+\.(pad|stride|pool|param|dilate|leak|size|opts|precious|learningRate|weightDecay|"
    r"momentum|rememberOutput)(\.\d+)*"
)


def fit_vgg_f(arrays: Arrays, net: VggF, tree: Any, source: str) -> Fitted:
    """Lay `imagenet-vgg-f.mat` of MatConvNet, as `read_mat` reads it, out for `VggF`.

    Its kernels are `[height, width, in, out]` already. The file also says how wide its windows are
    and how its responses are normalised, and both are held against the network's.

    Raises:
      PortingError: it is another network, or entries do not fit; all are named.
    """
    problems = [*_other_windows(arrays, net), *_other_settings(arrays, net)]
    if problems:
        raise PortingError(f"{source}: not this network: {'; '.join(problems)}")
    table = _table(tree, {layer: _weight_and_bias(layer) for layer in _LAYERS})
    _drop(arrays, table, _MATCONVNET_UNUSED)
    return fit(arrays, table, tree, source)


def _setting(arrays: Arrays, name: str, default: list[float], length: int) -> list[float]:
    """A setting of a layer, where one number may stand for all; NaNs where it has another length.

    Settings that are left out have the defaults of `vl_simplenn_tidy`.
    """
    values = arrays[name].reshape(-1).tolist() if name in arrays else default
    if len(values) == 1:
        return values * length
    return values if len(values) == length else [math.nan] * length


def _other_windows(arrays: Arrays, net: VggF) -> Iterator[str]:
    """Tell which of the file's windows see something else than the network's.

    Padding behind the last window is never seen, so that only the number of windows counts.
    """
    side = net.side
    for name, window in net.windows.items():
        sizes = [float(window.size)] * 2  # a convolution's are its kernel's, which `fit` checks
        if name.startswith("pool"):
            sizes = _setting(arrays, f"{name}.pool", [], 2)
        strides = _setting(arrays, f"{name}.stride", [1], 2)
        pads = _setting(arrays, f"{name}.pad", [0], 4)  # top, bottom, left, right
        same = sizes == [window.size] * 2 and strides == [window.stride] * 2
        count = window.count(side)
        for before, after in (pads[:2], pads[2:]):
            there = (side + before + after - window.size) // window.stride + 1
            same = same and before == window.pad[0] and there == count
        if not same:
            yield f"{name} has windows of {sizes}, stride {strides}, pad {pads}"
        side = count


def _other_settings(arrays: Arrays, net: VggF) -> Iterator[str]:
    """Tell which other settings differ."""
    for name in ("norm1", "norm2"):
        found = _setting(arrays, f"{name}.param", [5, 1, 0.0001 / 5, 0.75], 4)
        if not np.allclose(found, net.response, rtol=1e-6):
            yield f"{name} has parameters {found}, not {list(net.response)}"
    for name, values in arrays.items():
        for setting, usual in ((".dilate", 1), (".leak", 0)):
            if name.endswith(setting) and (values != usual).any():
                yield f"{quoted(name)} is {quoted(values.reshape(-1)[:8].tolist())}, not {usual}"


def sizes_of_dcmh(arrays: Arrays, units: int) -> tuple[int, int]:
    """Bits and tags of a checkpoint of DCMH, 0 where it does not say."""
    bits, text = (
        ("bias20", "Variable") if "bias20" in arrays else ("classifier.bias", "conv1.weight")
    )
    return _size(arrays, bits), _size(arrays, text) // units


def sizes_of_ssah(arrays: Arrays, units: int, scales: int) -> tuple[int, int, int]:
    """Bits, tags and classes of a checkpoint of SSAH, 0 where it does not say."""
    text = _size(arrays, _variable(8 + scales)) // units // (1 + scales)
    return _size(arrays, "bias21"), text, _size(arrays, "bias22")


def _size(arrays: Arrays, name: str) -> int:
    return arrays[name].size if name in arrays else 0


def fit_pooled(arrays: Arrays, tree: Any, source: str) -> Fitted:
    """Lay a torchvision ResNet out for `PooledFeatures`; its classifier is left out."""
    table = {keys: torchvision(keys[2:]) for keys, _ in _leaves(tree)}
    return fit(arrays, table, tree, source)


def mean_image(arrays: Arrays, source: str) -> Arrays:
    """Return the mean image alone of `imagenet-vgg-f.mat`, to go with a hasher's checkpoint.

    Raises:
      PortingError: there is none.
    """
    if MEAN_IMAGE not in arrays:
        raise PortingError(f"{source}: no mean image ({MEAN_IMAGE}); imagenet-vgg-f.mat has one")
    return {MEAN_IMAGE: arrays[MEAN_IMAGE]}


# ---------------------------------------------------------------- hashers


def _places(layers: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """Names in the image networks of both authors' releases, by the place of a layer in them."""
    return {module: (f"w{number}", f"bias{number}") for module, number in layers.items()}


def _variable(number: int) -> str:
    """The name that TensorFlow gives to the unnamed variable of that number."""
    return f"Variable_{number}" if number else "Variable"


def _variables(first: int, modules: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Kernels and biases in the order in which they are created."""
    return {
        module: (_variable(first + 2 * i), _variable(first + 2 * i + 1))
        for i, module in enumerate(modules)
    }


# The places of CNN-F's layers, without the classifier, among all layers of its image networks.
_VGG_F_PYTORCH = dict(zip(_LAYERS[:-1], (0, 5, 9, 11, 13, 16, 18), strict=True))
_VGG_F_TENSORFLOW = dict(zip(_LAYERS[:-1], (0, 4, 8, 10, 12, 15, 17), strict=True))

_DCMH: dict[str, Names] = {
    "pytorch": {
        **{f"features/{m}": _weight_and_bias(f"features.{n}") for m, n in _VGG_F_PYTORCH.items()},
        "image_hash": _weight_and_bias("classifier"),
        "text_hidden": _weight_and_bias("conv1"),
        "text_hash": _weight_and_bias("conv2"),
    },
    "tensorflow": {
        **_places({f"features/{m}": n for m, n in _VGG_F_TENSORFLOW.items()}),
        **_places({"image_hash": 20}),
        **_variables(0, ("text_hidden", "text_hash")),
    },
}

# Slots of TensorFlow's optimisers, and the discriminators of SSAH.
_TENSORFLOW_UNUSED = re.compile(r".*/Adam(_\d+)?|beta[12]_power(_\d+)?|disnet_[IT]L(_\d+)?/.*")


def fit_dcmh(
    arrays: Arrays, tree: Any, source: str, naming: Literal["pytorch", "tensorflow"]
) -> Fitted:
    """Lay a checkpoint of DCMH with CNN-F out for `DCMH`; the mean image goes with it.

    `pytorch` is WendellGul/DCMH up to its change to VGG-19: the image network's file
    (`features.0` ... `features.18`, `classifier`) and the text network's (`conv1`, `conv2`)
    together. It takes pictures as h5py reads them from a `.mat`, the axes reversed, so that its
    kernels are `[out, in, width, height]`.

    `tensorflow` is jiangqy/DCMH-CVPR2017, as `tf.train.Saver` names its variables: `w0`, `bias0`
    ... `w20`, `bias20` for pictures, by the place in the network, and `Variable` ... `Variable_3`
    for texts, in the order of creation.
    """
    layout = _reversed if naming == "pytorch" else _as_it_is
    table = _table(tree, _DCMH[naming], layout)
    _drop(arrays, table, _TENSORFLOW_UNUSED)
    return fit(arrays, table, tree, source)


def fit_ssah(arrays: Arrays, tree: Any, source: str) -> Fitted:
    """Lay a checkpoint of lelan-li/SSAH out for `SSAH` with CNN-F; the mean image goes with it.

    The image network's variables are named by their place, `w0` ... `w22`; those of the label
    network (8) and of the text network, which comes after, are `Variable` ... `Variable_20`, in the
    order of creation. The scales of the fusion are created from the widest to the narrowest. The
    discriminators are left out.
    """
    windows = {int(keys[2][6:]) for keys, _ in _leaves(tree) if keys[2].startswith("scale_")}
    layers = ("hidden", "semantic", "hash", "label")
    heads = {"image/semantic": 20, "image/hash": 21, "image/label": 22}
    features = {f"features/{m}": n for m, n in _VGG_F_TENSORFLOW.items()}
    scales = {
        f"text/scale_{window}": (_variable(8 + i), "")  # no bias
        for i, window in enumerate(sorted(windows, reverse=True))
    }
    names = {
        **_places({**features, **heads}),
        **_variables(0, tuple(f"label/{layer}" for layer in layers)),
        **scales,
        **_variables(8 + len(scales), tuple(f"text/{layer}" for layer in layers)),
    }
    table = _table(tree, names)
    _drop(arrays, table, _TENSORFLOW_UNUSED)
    return fit(arrays, table, tree, source)
