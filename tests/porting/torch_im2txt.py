"""Google's im2txt in PyTorch, from its TensorFlow sources; variables by TensorFlow's names.

As in TensorFlow 1 a layer makes its variables where it is first called: slim's `inception_v3_base`
(`conv2d` with `batch_norm` without a gamma), `image_embedding`, `BasicLSTMCell` and `logits`.
Kernels are HWIO, pictures NCHW. Rows of the tables of words are numbered as in the file of words.
"""

import math

import numpy as np
import pytest
from porting.torch_captioners import Decoding

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
F = torch.nn.functional


class Variables:
    """Variables by name, random where they are new."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.values = {}

    def __call__(self, name, shape, mean=0.0, deviation=1.0, change=lambda fill: fill):
        if name not in self.values:
            fill = change(mean + deviation * self.rng.standard_normal(shape))
            self.values[name] = torch.from_numpy(fill.astype(np.float32))
        assert self.values[name].shape == shape, name
        return self.values[name]

    def to(self, dtype):
        self.values = {name: value.to(dtype) for name, value in self.values.items()}


class InceptionV3:
    """slim's `inception_v3_base` up to `Mixed_7c`."""

    def __init__(self, variables: Variables):
        self.variables = variables

    def conv(self, x, scope, depth, kernel, stride=1, padding="SAME"):
        """Convolve, normalise by the moving statistics with epsilon 0.001, ReLU."""
        scope = f"InceptionV3/{scope}"
        shape = (*kernel, x.shape[1], depth)
        weights = self.variables(f"{scope}/weights", shape, 0, math.sqrt(2 / math.prod(shape[:3])))
        beta = self.variables(f"{scope}/BatchNorm/beta", (depth,), 0, 0.2)
        mean = self.variables(f"{scope}/BatchNorm/moving_mean", (depth,), 0, 0.2)
        variance = self.variables(f"{scope}/BatchNorm/moving_variance", (depth,), 1, 0.1)
        pads = [k // 2 if padding == "SAME" else 0 for k in kernel]
        x = F.conv2d(x, weights.permute(3, 2, 0, 1), stride=stride, padding=pads)
        return F.relu(F.batch_norm(x, mean, variance, None, beta, eps=0.001))

    def chain(self, x, scope, *layers):
        for name, depth, kernel, *rest in layers:
            x = self.conv(x, f"{scope}/{name}", depth, kernel, *rest)
        return x

    def pooled(self, x, scope, depth):
        """Average pool of 3x3, which counts no padding, then 1x1."""
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self.conv(x, f"{scope}/Branch_3/Conv2d_0b_1x1", depth, (1, 1))

    def __call__(self, x):
        x = self.conv(x, "Conv2d_1a_3x3", 32, (3, 3), 2, "VALID")
        x = self.conv(x, "Conv2d_2a_3x3", 32, (3, 3), 1, "VALID")
        x = self.conv(x, "Conv2d_2b_3x3", 64, (3, 3))
        x = F.max_pool2d(x, 3, 2)
        x = self.conv(x, "Conv2d_3b_1x1", 80, (1, 1), 1, "VALID")
        x = self.conv(x, "Conv2d_4a_3x3", 192, (3, 3), 1, "VALID")
        x = F.max_pool2d(x, 3, 2)
        x = self.of_35(x, "Mixed_5b", 32)
        x = self.of_35(x, "Mixed_5c", 64, "Conv2d_0b_1x1", "Conv_1_0c_5x5")
        x = self.of_35(x, "Mixed_5d", 64)
        x = self.to_17(x, "Mixed_6a")
        x = self.of_17(x, "Mixed_6b", 128)
        x = self.of_17(x, "Mixed_6c", 160)
        x = self.of_17(x, "Mixed_6d", 160)
        x = self.of_17(x, "Mixed_6e", 192)
        x = self.to_8(x, "Mixed_7a")
        x = self.of_8(x, "Mixed_7b", "Conv2d_0b_3x1")
        return self.of_8(x, "Mixed_7c", "Conv2d_0c_3x1")

    def of_35(self, x, scope, depth, one="Conv2d_0a_1x1", five="Conv2d_0b_5x5"):
        branches = [
            self.chain(x, f"{scope}/Branch_0", ("Conv2d_0a_1x1", 64, (1, 1))),
            self.chain(x, f"{scope}/Branch_1", (one, 48, (1, 1)), (five, 64, (5, 5))),
            self.chain(
                x,
                f"{scope}/Branch_2",
                ("Conv2d_0a_1x1", 64, (1, 1)),
                ("Conv2d_0b_3x3", 96, (3, 3)),
                ("Conv2d_0c_3x3", 96, (3, 3)),
            ),
            self.pooled(x, scope, depth),
        ]
        return torch.cat(branches, 1)

    def to_17(self, x, scope):
        branches = [
            self.chain(x, f"{scope}/Branch_0", ("Conv2d_1a_1x1", 384, (3, 3), 2, "VALID")),
            self.chain(
                x,
                f"{scope}/Branch_1",
                ("Conv2d_0a_1x1", 64, (1, 1)),
                ("Conv2d_0b_3x3", 96, (3, 3)),
                ("Conv2d_1a_1x1", 96, (3, 3), 2, "VALID"),
            ),
            F.max_pool2d(x, 3, 2),
        ]
        return torch.cat(branches, 1)

    def of_17(self, x, scope, depth):
        branches = [
            self.chain(x, f"{scope}/Branch_0", ("Conv2d_0a_1x1", 192, (1, 1))),
            self.chain(
                x,
                f"{scope}/Branch_1",
                ("Conv2d_0a_1x1", depth, (1, 1)),
                ("Conv2d_0b_1x7", depth, (1, 7)),
                ("Conv2d_0c_7x1", 192, (7, 1)),
            ),
            self.chain(
                x,
                f"{scope}/Branch_2",
                ("Conv2d_0a_1x1", depth, (1, 1)),
                ("Conv2d_0b_7x1", depth, (7, 1)),
                ("Conv2d_0c_1x7", depth, (1, 7)),
                ("Conv2d_0d_7x1", depth, (7, 1)),
                ("Conv2d_0e_1x7", 192, (1, 7)),
            ),
            self.pooled(x, scope, 192),
        ]
        return torch.cat(branches, 1)

    def to_8(self, x, scope):
        branches = [
            self.chain(
                x,
                f"{scope}/Branch_0",
                ("Conv2d_0a_1x1", 192, (1, 1)),
                ("Conv2d_1a_3x3", 320, (3, 3), 2, "VALID"),
            ),
            self.chain(
                x,
                f"{scope}/Branch_1",
                ("Conv2d_0a_1x1", 192, (1, 1)),
                ("Conv2d_0b_1x7", 192, (1, 7)),
                ("Conv2d_0c_7x1", 192, (7, 1)),
                ("Conv2d_1a_3x3", 192, (3, 3), 2, "VALID"),
            ),
            F.max_pool2d(x, 3, 2),
        ]
        return torch.cat(branches, 1)

    def of_8(self, x, scope, column):
        one = self.conv(x, f"{scope}/Branch_1/Conv2d_0a_1x1", 384, (1, 1))
        two = self.conv(x, f"{scope}/Branch_2/Conv2d_0a_1x1", 448, (1, 1))
        two = self.conv(two, f"{scope}/Branch_2/Conv2d_0b_3x3", 384, (3, 3))
        branches = [
            self.conv(x, f"{scope}/Branch_0/Conv2d_0a_1x1", 320, (1, 1)),
            self.conv(one, f"{scope}/Branch_1/Conv2d_0b_1x3", 384, (1, 3)),
            self.conv(one, f"{scope}/Branch_1/{column}", 384, (3, 1)),
            self.conv(two, f"{scope}/Branch_2/Conv2d_0c_1x3", 384, (1, 3)),
            self.conv(two, f"{scope}/Branch_2/Conv2d_0d_3x1", 384, (3, 1)),
            self.pooled(x, scope, 192),
        ]
        return torch.cat(branches, 1)


class ShowAndTell(Decoding):
    """`ShowAndTellModel` at inference: the picture, then `<S>`, then words until `</S>`.

    Weights are wide where a picture enters, for its caption to depend on it; `</S>` competes with
    the largest of the other scores, for some captions to end early.
    """

    def __init__(self, rows: int, units: int, begin: int, end: int, seed: int):
        self.variables = Variables(seed)
        self.rows, self.units, self.begin, self.end = rows, units, begin, end
        self.inception = InceptionV3(self.variables)

    def embedded(self, image):
        """Embedding f[units] of a picture f[H, W, 3] in [0, 1], which im2txt scales to [-1, 1]."""
        x = (image - 0.5) * 2
        seen = self.inception(x.permute(2, 0, 1)[None]).mean((0, 2, 3))

        def centre(fill):  # features are positive: what differs is what their mean is not
            return fill - fill.mean(0)

        shape = (len(seen), self.units)
        return seen @ self.variables("image_embedding/weights", shape, 0, 0.2, centre)

    def cell(self, x, state):
        """`BasicLSTMCell`: gates input, candidate, forget, output; 1 is added to the forget gate's.

        Biases are multiples of 1/64, to which 1 is added exactly in single precision.
        """
        h, c = state
        name, shape = "lstm/basic_lstm_cell", (2 * self.units, 4 * self.units)
        kernel = self.variables(f"{name}/kernel", shape, 0, 3 / math.sqrt(self.units))
        bias = self.variables(f"{name}/bias", shape[1:], 0, 0.5, lambda b: (b * 64).round() / 64)
        i, j, f, o = (torch.cat([x, h]) @ kernel + bias).chunk(4)
        c = c * torch.sigmoid(f + 1.0) + torch.sigmoid(i) * torch.tanh(j)
        return torch.tanh(c) * torch.sigmoid(o), c

    def start(self, embedded):
        zeros = embedded.new_zeros(self.units)
        return self.cell(embedded, (zeros, zeros))

    def step(self, embedded, state, token):
        word = self.variables("seq_embedding/map", (self.rows, self.units))[token]
        state = self.cell(word, state)
        shape = (self.units, self.rows)
        weights = self.variables("logits/weights", shape, 0, 5 / math.sqrt(self.units))

        def favour_end(fill):
            fill[self.end] += 2 * math.sqrt(2 * math.log(self.rows)) - 3.7
            return fill

        biases = self.variables("logits/biases", shape[1:], 0, 0.2, favour_end)
        return F.log_softmax(state[0] @ weights + biases, dim=0), state
