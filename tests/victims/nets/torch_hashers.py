"""The hashers' networks in PyTorch, each over what its own framework stores.

CNN-F is run layer by layer as MatConvNet would, from the settings in the file. DCMH is a pair of
modules with the names of WendellGul/DCMH. The authors' TensorFlow networks are functions of their
variables, in TensorFlow's layouts.
"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
nn = torch.nn
F = torch.nn.functional

Array = np.ndarray


# ---------------------------------------------------------------- MatConvNet


def cnn_f_layers(width: int, units: int, grid: int, classes: int, rng, dtype) -> list[dict]:
    """All layers of CNN-F with random parameters, as in `imagenet-vgg-f.mat`."""
    wide = 4 * width
    return [
        _conv("conv1", (11, 11, 3, width), 4, 0, rng, dtype),
        _relu("relu1"),
        _lrn("norm1"),
        _pool("pool1"),
        _conv("conv2", (5, 5, width, wide), 1, 2, rng, dtype),
        _relu("relu2"),
        _lrn("norm2"),
        _pool("pool2"),
        _conv("conv3", (3, 3, wide, wide), 1, 1, rng, dtype),
        _relu("relu3"),
        _conv("conv4", (3, 3, wide, wide), 1, 1, rng, dtype),
        _relu("relu4"),
        _conv("conv5", (3, 3, wide, wide), 1, 1, rng, dtype),
        _relu("relu5"),
        _pool("pool5"),
        _conv("fc6", (grid, grid, wide, units), 1, 0, rng, dtype),
        _relu("relu6"),
        _conv("fc7", (1, 1, units, units), 1, 0, rng, dtype),
        _relu("relu7"),
        _conv("fc8", (1, 1, units, classes), 1, 0, rng, dtype),
        {"type": "softmax", "name": "prob"},
    ]


def _conv(name: str, shape: tuple[int, ...], stride: int, pad: int, rng, dtype) -> dict:
    return {
        "weights": [kernel(rng, shape, dtype), bias(rng, (1, shape[-1]), dtype)],
        "pad": np.full((1, 4), pad, np.uint8),
        "type": "conv",
        "name": name,
        "stride": np.full((1, 2), stride, np.uint8),
    }


def _relu(name: str) -> dict:
    return {"type": "relu", "name": name}


def _lrn(name: str) -> dict:
    return {"type": "lrn", "name": name, "param": np.array([[5, 2, 1e-4, 0.75]])}


def _pool(name: str) -> dict:
    return {
        "name": name,
        "stride": np.array([[2, 2]], np.uint8),
        "pad": np.array([[0, 1, 0, 1]], np.uint8),
        "type": "pool",
        "method": "max",
        "pool": np.array([[3.0, 3.0]]),
    }


def kernel(rng, shape: tuple[int, ...], dtype, gain: float = 1.0) -> Array:
    """Weights that keep the size of what passes through them and a ReLU; outputs come last."""
    return (rng.standard_normal(shape) * gain * math.sqrt(2 / math.prod(shape[:-1]))).astype(dtype)


def bias(rng, shape: tuple[int, ...], dtype) -> Array:
    return rng.normal(0, 0.2, shape).astype(dtype)


def simplenn(layers: list[dict], x):
    """Run a SimpleNN network on f[N, H, W, C], to the last layer before the softmax."""
    x = x.permute(0, 3, 1, 2)
    for layer in layers:
        if layer["type"] == "conv":
            weight, added = (torch.from_numpy(part) for part in layer["weights"])
            x = F.pad(x, _sides(layer))
            strides = tuple(layer["stride"].reshape(-1).tolist())
            x = F.conv2d(x, weight.permute(3, 2, 0, 1), added.reshape(-1), strides)
        elif layer["type"] == "relu":
            x = F.relu(x)
        elif layer["type"] == "lrn":
            channels, kappa, alpha, beta = layer["param"].reshape(-1).tolist()
            x = F.local_response_norm(x, int(channels), alpha * channels, beta, kappa)
        elif layer["type"] == "pool":
            x = F.pad(x, _sides(layer), value=-math.inf)
            strides = tuple(layer["stride"].reshape(-1).tolist())
            x = F.max_pool2d(x, tuple(layer["pool"].astype(int).reshape(-1).tolist()), strides)
    return x[:, :, 0, 0]


def _sides(layer: dict) -> tuple[int, int, int, int]:
    top, bottom, left, right = layer["pad"].reshape(-1).tolist()
    return left, right, top, bottom


# ---------------------------------------------------------------- WendellGul/DCMH


class ImgModule(nn.Module):
    """DCMH's image network on f[N, 3, W, H] from 0 to 255, the axes as h5py reads them."""

    def __init__(self, width: int, units: int, grid: int, bits: int, mean: Array):
        super().__init__()
        wide = 4 * width
        self.features = nn.Sequential()
        self._convolution(3, width, 11, stride=4)
        self.features.extend([nn.LocalResponseNorm(2, k=2), nn.ZeroPad2d((0, 1, 0, 1))])
        self.features.append(nn.MaxPool2d(3, 2))
        self._convolution(width, wide, 5, padding=2)
        self.features.extend([nn.LocalResponseNorm(2, k=2), nn.MaxPool2d(3, 2)])
        for _ in range(3):
            self._convolution(wide, wide, 3, padding=1)
        self.features.append(nn.MaxPool2d(3, 2))
        self._convolution(wide, units, grid)
        self._convolution(units, units, 1)
        self.classifier = nn.Linear(units, bits)
        self.mean = torch.from_numpy(mean.T.copy())  # no buffer: not among what is saved

    def _convolution(self, *sizes: int, **options: int) -> None:
        self.features.extend([nn.Conv2d(*sizes, **options), nn.ReLU()])

    def forward(self, images):
        return self.classifier(self.features(images - self.mean).flatten(1))


class TxtModule(nn.Module):
    """DCMH's text network on f[N, 1, T, 1]."""

    def __init__(self, words: int, units: int, bits: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, units, (words, 1))
        self.conv2 = nn.Conv2d(units, bits, 1)

    def forward(self, bags):
        return self.conv2(F.relu(self.conv1(bags))).flatten(1)


# ---------------------------------------------------------------- the authors' TensorFlow networks

CNN_F_PLACES = {0: "conv1", 4: "conv2", 8: "conv3", 10: "conv4", 12: "conv5", 15: "fc6", 17: "fc7"}


def tensorflow_cnn_f(layers: list[dict]) -> dict[str, Array]:
    """Variables `w0` to `bias17` of an image network that begins as this one."""
    variables = {}
    for place in CNN_F_PLACES:
        weight, added = layers[place]["weights"]
        variables |= {f"w{place}": weight, f"bias{place}": added.reshape(-1)}
    return variables


def tensorflow_features(variables: dict, layers: list[dict], x):
    """`relu7` of CNN-F, whose settings are read from the `.mat` as in the releases."""
    now = [dict(layer) for layer in layers[:19]]
    for place in CNN_F_PLACES:
        now[place]["weights"] = [variables[f"w{place}"], variables[f"bias{place}"]]
    return simplenn(now, x)


def unnamed(arrays: list[Array]) -> dict[str, Array]:
    """Names that TensorFlow gives to variables without one, in the order of creation."""
    return {f"Variable_{i}" if i else "Variable": array for i, array in enumerate(arrays)}


def linear(x, weight: Array, added: Array):
    """A convolution over all of its input, as it is written in the releases."""
    flat = torch.from_numpy(weight).reshape(-1, weight.shape[-1])
    return x.flatten(1) @ flat + torch.from_numpy(added).reshape(-1)


def dcmh_texts(variables: list[Array], bags):
    w1, b1, w2, b2 = variables
    return linear(F.relu(linear(bags, w1, b1)), w2, b2)


def lrn(x):
    """`tf.nn.local_response_normalization(x, 2, 2.0, 1e-4, 0.75)` of f[N, C], by its definition."""
    columns = []
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - 2) : channel + 3]
        columns.append(x[:, channel] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75)
    return torch.stack(columns, 1)


def resize(x, length: int):
    """`tf.image.resize_images` of TensorFlow 1, bilinear, of f[N, n]: corners are not aligned."""
    size = x.shape[1]
    columns = []
    for place in range(length):
        source = place * size / length
        low = math.floor(source)
        high = min(low + 1, size - 1)
        columns.append(x[:, low] + (x[:, high] - x[:, low]) * (source - low))
    return torch.stack(columns, 1)


def ssah_images(variables: dict, layers: list[dict], x):
    """Features, code and labels."""
    seen = tensorflow_features(variables, layers, x)
    features = F.relu(linear(seen, variables["w20"], variables["bias20"]))
    code = torch.tanh(linear(features, variables["w21"], variables["bias21"]))
    labels = torch.sigmoid(linear(features, variables["w22"], variables["bias22"]))
    return features, code, labels


def ssah_labels(variables: list[Array], x):
    """Features, code and labels."""
    w1, b1, w2, b2, w3, b3, w4, b4 = variables
    features = F.relu(linear(lrn(F.relu(linear(x, w1, b1))), w2, b2))
    return (
        features,
        torch.tanh(linear(features, w3, b3)),
        torch.sigmoid(linear(features, w4, b4)),
    )


def ssah_texts(variables: list[Array], x, widths: tuple[int, ...]):
    """Features, code and labels; the scales' weights come first, from the widest on."""
    words, many = x.shape[1], len(widths)
    blocks = []
    for weight, width in zip(variables[:many], widths, strict=True):
        averages = F.avg_pool1d(x[:, None], width, width)[:, 0]
        blocks.append(resize(F.relu(averages * weight.item()), words))
    fused = torch.stack([x, *reversed(blocks)], -1)
    w1, b1, w2, b2, w3, b3, w4, b4 = variables[many:]
    features = F.relu(linear(lrn(F.relu(linear(fused, w1, b1))), w2, b2))
    normal = lrn(features)
    return (
        features,
        torch.tanh(linear(normal, w3, b3)),
        torch.sigmoid(linear(normal, w4, b4)),
    )
