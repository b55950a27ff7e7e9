"""The same networks in PyTorch, with torchvision's names, to compare features with."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as linen
import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
nn = torch.nn
F = torch.nn.functional

Array = np.ndarray


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, caffe: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, caffe: bool):
        super().__init__()
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(inputs, planes, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _downsample(inputs, 4 * planes, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _downsample(inputs: int, outputs: int, stride: int):
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    def __init__(
        self,
        blocks: Sequence[int],
        bottleneck: bool,
        caffe: bool = False,
        small: bool = False,
        width: int = 64,
    ):
        super().__init__()
        kernel = 3 if small else 7
        self.conv1 = nn.Conv2d(3, width, kernel, 2, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        if small:
            self.maxpool = nn.Identity()
        elif caffe:
            self.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
        else:
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        block = Bottleneck if bottleneck else BasicBlock
        inputs = width
        for stage, number in enumerate(blocks):
            planes = width << stage
            layers = []
            for index in range(number):
                stride = 2 if stage and not index else 1
                layers.append(block(inputs, planes, stride, caffe))
                inputs = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class BasicConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, **kwargs: Any):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def _mean(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1)


class InceptionA(nn.Module):
    def __init__(self, inputs: int, pool_features: int):
        super().__init__()
        self.branch1x1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(inputs, 48, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)
        self.branch_pool = BasicConv2d(inputs, pool_features, kernel_size=1)

    def forward(self, x):
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_mean(x))], 1)


class InceptionB(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3 = BasicConv2d(inputs, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(inputs, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, stride=2)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionC(nn.Module):
    def __init__(self, inputs: int, c7: int):
        super().__init__()
        row = {"kernel_size": (1, 7), "padding": (0, 3)}
        column = {"kernel_size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch7x7_1 = BasicConv2d(inputs, c7, kernel_size=1)
        self.branch7x7_2 = BasicConv2d(c7, c7, **row)
        self.branch7x7_3 = BasicConv2d(c7, 192, **column)
        self.branch7x7dbl_1 = BasicConv2d(inputs, c7, kernel_size=1)
        self.branch7x7dbl_2 = BasicConv2d(c7, c7, **column)
        self.branch7x7dbl_3 = BasicConv2d(c7, c7, **row)
        self.branch7x7dbl_4 = BasicConv2d(c7, c7, **column)
        self.branch7x7dbl_5 = BasicConv2d(c7, 192, **row)
        self.branch_pool = BasicConv2d(inputs, 192, kernel_size=1)

    def forward(self, x):
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_mean(x))], 1)


class InceptionD(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3_1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch3x3_2 = BasicConv2d(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(inputs, 192, kernel_size=1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(192, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(192, 192, kernel_size=3, stride=2)

    def forward(self, x):
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        three = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, stride=2)], 1)


class InceptionE(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        row = {"kernel_size": (1, 3), "padding": (0, 1)}
        column = {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = BasicConv2d(inputs, 320, kernel_size=1)
        self.branch3x3_1 = BasicConv2d(inputs, 384, kernel_size=1)
        self.branch3x3_2a = BasicConv2d(384, 384, **row)
        self.branch3x3_2b = BasicConv2d(384, 384, **column)
        self.branch3x3dbl_1 = BasicConv2d(inputs, 448, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, **row)
        self.branch3x3dbl_3b = BasicConv2d(384, 384, **column)
        self.branch_pool = BasicConv2d(inputs, 192, kernel_size=1)

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        wide += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(_mean(x))], 1)


class InceptionV3(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)

    def forward(self, x):
        for layer in self.children():  # in the order of definition
            x = layer(x)
        return x


def mobilenet_v2(entries: dict[str, Array], images: Array) -> list[Array]:
    """Outputs of all 53 convolutions before ReLU6, NHWC, from the npz's own description."""
    outputs = []
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    begin = None
    for index in range(53):
        weight, bias, meta = (entries[f"{index:02d}.{part}"] for part in ("weight", "bias", "meta"))
        stride, groups = int(meta[0]), int(meta[1])
        if index == 52:
            x = x.mean((2, 3), keepdim=True)
        pads = []
        for size, kernel in zip(x.shape[:1:-1], weight.shape[:1:-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        x = F.pad(x, pads)
        x = F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), stride, groups=groups)
        outputs.append(x.permute(0, 2, 3, 1).numpy())
        if meta[2] == 0:  # the quantised network clips at 0 and about 6 after a ReLU6
            x = F.relu6(x)
        else:
            x = x + begin if begin is not None and begin.shape == x.shape else x
            begin = x
    return outputs


def randomise(net, seed: int) -> None:
    """Fill weights and batch-norm statistics so that activations stay of a moderate size."""
    rng = np.random.default_rng(seed)
    for key, value in net.state_dict().items():
        if value.ndim == 4:
            fill = rng.standard_normal(value.shape) * (2 / value[0].numel()) ** 0.5
        elif key.endswith(("weight", "running_var")):
            fill = rng.uniform(0.5, 1.5, value.shape)
        else:
            fill = rng.normal(0, 0.2, value.shape)
        value.copy_(torch.from_numpy(np.asarray(fill)))


def to_flax(net, shapes: Any) -> Any:
    """Copy a PyTorch network into a Flax tree by name; every name must find its match."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    leaves = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}

    def take(path: tuple, shape: jax.ShapeDtypeStruct) -> Array:
        _, *modules, leaf = (entry.key for entry in path)
        key = ".".join([*modules, leaves.get(leaf, leaf)])
        key = re.sub(r"(layer\d)_", r"\1.", key)
        key = key.replace("downsample_conv", "downsample.0").replace(
            "downsample_bn", "downsample.1"
        )
        value = state.pop(key).numpy()
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.copy()
        assert value.shape == shape.shape, key
        return value

    variables = jax.tree_util.tree_map_with_path(take, shapes)
    assert not state
    return variables


def largest_difference(found: Array, expected: Array) -> float:
    """Largest difference in units of the expected values' standard deviation."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / expected.std())


def assert_same_features(
    flax_net: linen.Module, make: Callable[[], Any], shape: tuple[int, ...], train: bool = False
) -> None:
    """Compare features, pooled too, and in training the running means, at random weights.

    Training is compared in double precision: statistics over a few values amplify rounding so
    much that PyTorch in single precision is 2e-3 away from itself in double.
    """
    dtype, tolerance = (np.float64, 1e-7) if train else (np.float32, 1e-4)
    images = np.random.default_rng(1).standard_normal(shape, dtype=dtype)
    with torch.no_grad(), jax.enable_x64(train), jax.default_matmul_precision("highest"):
        shapes = jax.eval_shape(flax_net.init, jax.random.key(0), images)
        net = make().train(train).to(torch.from_numpy(images).dtype)
        randomise(net, seed=0)
        variables = to_flax(net, shapes)
        batch = torch.from_numpy(images.reshape(-1, *shape[-3:]))
        expected = net(batch.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        apply = jax.jit(lambda v, x: flax_net.apply(v, x, train=train, mutable=["batch_stats"]))
        found, updates = apply(variables, images)
        found = np.asarray(found).reshape(-1, *found.shape[-3:])
    assert largest_difference(found, expected) < tolerance
    assert largest_difference(found.mean((1, 2)), expected.mean((1, 2))) < tolerance
    if train:  # not the variances, whose running mean PyTorch takes of the unbiased estimate
        after = to_flax(net, shapes)["batch_stats"]
        for path, mean in jax.tree.leaves_with_path(updates["batch_stats"]):
            if path[-1].key == "mean":
                want = after
                for entry in path:
                    want = want[entry.key]
                assert largest_difference(np.asarray(mean), want) < tolerance


class _Layer(nn.Sequential):
    """A convolution, its batch norm and ReLU6, as torchvision names them: 0, 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        wide = expansion * inputs
        expand = [_Layer(inputs, wide, 1)] if expansion > 1 else []
        project = [nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*expand, _Layer(wide, wide, 3, stride, wide), *project)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        return self.conv(x) + x if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """With the paper's table 2, padding and names of torchvision."""

    def __init__(self, classes: int):
        super().__init__()
        layers, inputs = [_Layer(3, 32, 3, 2)], 32
        table = "1 16 1 1, 6 24 2 2, 6 32 3 2, 6 64 4 2, 6 96 3 1, 6 160 3 2, 6 320 1 1"
        for row in table.split(", "):
            expansion, outputs, blocks, stride = map(int, row.split())
            for number in range(blocks):
                first = stride if number == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, first, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, _Layer(320, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(4 * width, width),
            nn.Dropout(0.0),
        )

    def forward(self, z):
        normed = self.ln_1(z)
        z = z + self.self_attention(normed, normed, normed, need_weights=False)[0]
        return z + self.mlp(self.ln_2(z))


class _Encoder(nn.Module):
    def __init__(self, tokens: int, width: int, layers: int, heads: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))
        made = {f"encoder_layer_{n}": _EncoderLayer(width, heads) for n in range(layers)}
        self.layers = nn.Sequential()
        for name, layer in made.items():
            self.layers.add_module(name, layer)
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, z):
        return self.ln(self.layers(z + self.pos_embedding))


class VisionTransformer(nn.Module):
    """The classifier of Dosovitskiy et al. with torchvision's names."""

    def __init__(self, side: int, patch: int, width: int, layers: int, heads: int, classes: int):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = _Encoder(1 + (side // patch) ** 2, width, layers, heads)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, classes))

    def forward(self, x):
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(x), 1, -1)
        return self.heads(self.encoder(torch.cat([first, patches], 1))[:, 0])


class InPlaceABN(nn.Module):
    """Batch norm by `|weight| + eps` and a leaky ReLU behind it, of slope 1 where there is none."""

    def __init__(self, channels: int, slope: float = 1.0):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(channels)) for _ in range(2))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.slope = slope

    def forward(self, x):
        moments = (self.running_mean, self.running_var)
        x = F.batch_norm(x, *moments, self.weight.abs() + 1e-5, self.bias, eps=1e-5)
        return torch.where(x > 0, x, self.slope * x)


class _Blur(nn.Module):
    """Weights 1, 2, 1 in both directions at every other place, reflected at the border."""

    def forward(self, x):
        row = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=x.shape[1])


def _abn(inputs: int, outputs: int, kernel: int, slope: float = 1.0, halves: bool = False):
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    layer = nn.Sequential(conv, InPlaceABN(outputs, slope))
    return nn.Sequential(layer, _Blur()) if halves else layer


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class _TBlock(nn.Module):
    def __init__(self, inputs: int, planes: int, halves: bool, bottleneck: bool, excited: bool):
        super().__init__()
        outputs = 4 * planes if bottleneck else planes
        if bottleneck:
            self.conv1 = _abn(inputs, planes, 1, 1e-3)
            self.conv2 = _abn(planes, planes, 3, 1e-3, halves)
            self.conv3 = _abn(planes, outputs, 1)
            self.se = _SqueezeExcite(planes, max(planes // 2, 64)) if excited else nn.Identity()
            self.order = (self.conv1, self.conv2, self.se, self.conv3)
        else:
            self.conv1 = _abn(inputs, planes, 3, 1e-3, halves)
            self.conv2 = _abn(planes, planes, 3)
            self.se = _SqueezeExcite(planes, max(planes // 4, 64)) if excited else nn.Identity()
            self.order = (self.conv1, self.conv2, self.se)
        self.downsample = nn.Identity()
        if halves or inputs != outputs:
            mean = [nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)] if halves else []
            self.downsample = nn.Sequential(*mean, _abn(inputs, outputs, 1))

    def forward(self, x):
        out = x
        for layer in self.order:
            out = layer(out)
        return F.relu(out + self.downsample(x))


class TResNet(nn.Module):
    """Alibaba-MIIL's TResNet with the names of its released checkpoints, and any head."""

    def __init__(self, blocks: Sequence[int], width: int, head: Any, second: bool = False):
        super().__init__()
        self.body = nn.Sequential()
        self.body.add_module("conv1", _abn(48, width, 3, 1e-2))
        inputs = width
        for stage, number in enumerate(blocks):
            layers, bottleneck = [], second or stage > 1
            for index in range(number):
                first = stage > 0 and index == 0
                layers.append(_TBlock(inputs, width << stage, first, bottleneck, stage < 3))
                inputs = (width << stage) * (4 if bottleneck else 1)
            self.body.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.head = head(inputs)

    def forward(self, x):
        cut = [x[:, :, row::4, column::4] for row in range(4) for column in range(4)]
        return self.head(self.body(torch.cat(cut, 1)))


class LinearHead(nn.Module):
    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, wide: int):
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, 8, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, wide), nn.Linear(wide, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, z, cells):
        z = self.norm1(z + z)
        z = self.norm2(z + self.multihead_attn(z, cells, cells, need_weights=False)[0])
        return self.norm3(z + self.linear2(F.relu(self.linear1(z))))


class MLDecoder(nn.Module):
    """The head of Ridnik et al. (2021), class by class, with its released names."""

    def __init__(self, inputs: int, classes: int, width: int = 768, wide: int = 2048):
        super().__init__()
        groups = min(100, classes)
        self.each = -(-classes // groups)
        self.decoder = nn.Module()
        self.decoder.embed_standart = nn.Linear(inputs, width)
        self.decoder.query_embed = nn.Embedding(groups, width)
        self.decoder.layers = nn.ModuleList([_DecoderLayer(width, wide)])
        pooling = torch.zeros(groups, width, self.each)
        self.decoder.duplicate_pooling = nn.Parameter(pooling)
        self.decoder.duplicate_pooling_bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        decoder, cells = self.decoder, x.flatten(2).transpose(1, 2)
        queries = decoder.query_embed.weight.expand(len(x), -1, -1)
        z = decoder.layers[0](queries, F.relu(decoder.embed_standart(cells)))
        logits = []
        for number, bias in enumerate(decoder.duplicate_pooling_bias):
            group, place = divmod(number, self.each)
            logits.append(z[:, group] @ decoder.duplicate_pooling[group, :, place] + bias)
        return torch.stack(logits, 1)
