"""The captioners of ImageCaptioning.pytorch in PyTorch, with their published parameter names.

One picture at a time and without dropout, which is off at evaluation. Token 0 is the begin token,
the end token and the padding; a picture is `att`, the grid of its backbone, flattened.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest

from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
nn = torch.nn
F = torch.nn.functional

State = tuple  # (h, c): f[units] each


def see(backbone, image, grid: int | None = None):
    """Return the cells f[cells, C] that a backbone sees in f[H, W, 3] in [0, 1].

    `grid` is the side of the square that they are pooled to.
    """
    normalised = (image - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    features = backbone(normalised.permute(2, 0, 1)[None])[0]
    features = features if grid is None else F.adaptive_avg_pool2d(features, grid)
    return features.flatten(1).T


class Hypothesis(NamedTuple):
    tokens: list[int]  # without the end token
    score: float  # with the end token's log-probability
    ended: bool
    state: State


class Decoding:
    """What follows from `start` and `step`."""

    begin = end = 0

    def start(self, att) -> State:
        """Return the state that precedes the begin token."""
        raise NotImplementedError

    def step(self, att, state: State, token: int):
        """Return log P f[V] of the token after this one, and the state after this one."""
        raise NotImplementedError

    def log_probabilities(self, att, tokens):
        """Log P f[T, V] of every place given the tokens i64[T] before it, also after an end."""
        state, before, rows = self.start(att), self.begin, []
        for token in tokens.tolist():
            row, state = self.step(att, state, before)
            rows.append(row)
            before = token
        return torch.stack(rows)

    @torch.no_grad()
    def greedy(self, att, max_length: int) -> list[int]:
        """Take the most likely token at each place, until it is the end token."""
        state, tokens = self.start(att), []
        while len(tokens) < max_length:
            row, state = self.step(att, state, tokens[-1] if tokens else self.begin)
            token = int(row.argmax())
            if token == self.end:
                break
            tokens.append(token)
        return tokens

    @torch.no_grad()
    def beam(self, att, size: int, max_length: int) -> list[tuple[list[int], float]]:
        """Search captions by total log-probability, best first; no length normalisation.

        An ended hypothesis stays a candidate at its final score, among the extensions of the rest.
        Of equal scores the earlier hypothesis goes first, then the lower token.
        """
        beam = [Hypothesis([], 0.0, False, self.start(att))]
        for _ in range(max_length):
            candidates = []
            for hypothesis in beam:
                tokens, score, ended, state = hypothesis
                if ended:
                    candidates.append(hypothesis)
                    continue
                row, after = self.step(att, state, tokens[-1] if tokens else self.begin)
                for token, log_probability in enumerate(row.tolist()):
                    total = score + log_probability
                    if token == self.end:
                        candidates.append(Hypothesis(tokens, total, True, after))
                    else:
                        candidates.append(Hypothesis([*tokens, token], total, False, after))
            candidates.sort(key=lambda candidate: -candidate.score)  # stable
            beam = candidates[:size]
        return [(hypothesis.tokens, hypothesis.score) for hypothesis in beam]


class Captioner(Decoding, nn.Module):
    """What ruotianluo's share, given `start`, the state before the begin token, and `cell`.

    `seeing` are the weights that take the features of a picture.
    """

    seeing: tuple[str, ...]

    def __init__(self, vocabulary_size: int, units: int):
        super().__init__()
        self.units = units
        self.logit = nn.Linear(units, vocabulary_size)

    def cell(self, word, att, state: State) -> State:
        """Return the state after an embedded word f[units]."""
        raise NotImplementedError

    def zeros(self) -> State:
        zeros = self.logit.weight.new_zeros(self.units)
        return zeros, zeros

    def step(self, att, state: State, token: int):
        word = self.embed(torch.tensor(token))
        state = self.cell(word, att, state)
        return F.log_softmax(self.logit(state[0]), dim=0), state


class ShowTellModel(Captioner):
    """A plain LSTM that sees the mean feature once, as its first input."""

    seeing = ("img_embed.weight",)

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.img_embed = nn.Linear(features, units)
        self.core = nn.LSTM(units, units, bias=False)
        self.embed = nn.Embedding(vocabulary_size, units)

    def start(self, att) -> State:
        return self.cell(self.img_embed(att.mean(0)), att, self.zeros())

    def cell(self, word, att, state: State) -> State:
        return _lstm(self.core, word, state)


class ShowAttendTellModel(Captioner):
    """The simplified one of OldModel.py: h and c start at the mean feature, attention feeds in."""

    seeing = ("linear.weight", "core.ctx2att.weight")

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.linear = nn.Linear(features, units)
        self.embed = nn.Embedding(vocabulary_size, units)
        self.core = nn.Module()
        self.core.rnn = nn.LSTM(units + features, units, bias=False)
        self.core.ctx2att = nn.Linear(features, units)
        self.core.h2att = nn.Linear(units, units)
        self.core.alpha_net = nn.Linear(units, 1)

    def start(self, att) -> State:
        h = self.linear(att.mean(0))
        return h, h

    def cell(self, word, att, state: State) -> State:
        seen = _attend(self.core, att, self.core.ctx2att(att), state[0])
        return _lstm(self.core.rnn, torch.cat([word, seen]), state)


class MaxoutLSTM(nn.Module):
    """An LSTM whose candidate is the larger of two linear ones, without a tanh."""

    def __init__(self, units: int):
        super().__init__()
        self.i2h = nn.Linear(units, 5 * units)
        self.h2h = nn.Linear(units, 5 * units)

    def forward(self, word, state: State, seen=0.0) -> State:
        h, c = state
        sums = self.i2h(word) + self.h2h(h)
        units = len(h)
        enter, forget, out = torch.sigmoid(sums[: 3 * units]).chunk(3)
        first, second = (sums[3 * units :] + seen).chunk(2)
        c = forget * c + enter * torch.maximum(first, second)
        return out * torch.tanh(c), c


class Att2inModel(Captioner):
    """Attention over the picture's own features joins the candidates of a maxout LSTM."""

    seeing = ("ctx2att.weight", "core.a2c.weight")

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.embed = nn.Embedding(vocabulary_size, units)
        self.ctx2att = nn.Linear(features, units)
        self.core = MaxoutLSTM(units)
        self.core.a2c = nn.Linear(features, 2 * units)
        self.core.attention = nn.Module()
        self.core.attention.h2att = nn.Linear(units, units)
        self.core.attention.alpha_net = nn.Linear(units, 1)

    def start(self, att) -> State:
        return self.zeros()

    def cell(self, word, att, state: State) -> State:
        seen = _attend(self.core.attention, att, self.ctx2att(att), state[0])
        return self.core(word, state, self.core.a2c(seen))


class Att2in2Model(Captioner):
    """The victim of self-critical training: as Att2in, of words and features behind a ReLU."""

    seeing = ("att_embed.0.weight",)

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.embed = nn.Sequential(nn.Embedding(vocabulary_size, units), nn.ReLU())
        self.att_embed = nn.Sequential(nn.Linear(features, units), nn.ReLU())
        self.ctx2att = nn.Linear(units, units)
        self.core = MaxoutLSTM(units)
        self.core.a2c = nn.Linear(units, 2 * units)
        self.core.attention = nn.Module()
        self.core.attention.h2att = nn.Linear(units, units)
        self.core.attention.alpha_net = nn.Linear(units, 1)

    def start(self, att) -> State:
        return self.zeros()

    def cell(self, word, att, state: State) -> State:
        att = self.att_embed(att)
        seen = _attend(self.core.attention, att, self.ctx2att(att), state[0])
        return self.core(word, state, self.core.a2c(seen))


class FCModel(Captioner):
    """A maxout LSTM that sees the mean feature once, as its first input."""

    seeing = ("img_embed.weight",)

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.img_embed = nn.Linear(features, units)
        self.core = MaxoutLSTM(units)
        self.embed = nn.Embedding(vocabulary_size, units)

    def start(self, att) -> State:
        return self.cell(self.img_embed(att.mean(0)), att, self.zeros())

    def cell(self, word, att, state: State) -> State:
        return self.core(word, state)


class NewFCModel(Captioner):
    """FC as AttModel.py has it: the mean feature goes in before a word where there is no state."""

    seeing = ("fc_embed.weight",)

    def __init__(self, vocabulary_size: int, units: int, features: int):
        super().__init__(vocabulary_size, units)
        self.fc_embed = nn.Linear(features, units)
        self.embed = nn.Embedding(vocabulary_size, units)
        self._core = MaxoutLSTM(units)

    def start(self, att) -> State:
        return self.zeros()

    def cell(self, word, att, state: State) -> State:
        if not state[0].any():
            state = self._core(self.fc_embed(att.mean(0)), state)
        return self._core(word, state)


#: by the names of `zoo.DECODERS`
MODELS: dict[str, type[Captioner]] = {
    "show-tell": ShowTellModel,
    "show-attend-tell": ShowAttendTellModel,
    "att2in": Att2inModel,
    "att2in2": Att2in2Model,
    "fc": FCModel,
    "newfc": NewFCModel,
}


def _lstm(lstm, x, state: State) -> State:
    _, (h, c) = lstm(x[None], (state[0][None], state[1][None]))
    return h[0], c[0]


def _attend(net, att, keys, h):
    """Average the cells by additive attention: keys f[cells, units], h f[units]."""
    scores = net.alpha_net(torch.tanh(keys + net.h2att(h)))[:, 0]
    return F.softmax(scores, dim=0) @ att


# Standard deviation of the weights, times the root of their inputs: wide where a picture enters,
# for its caption to depend on it, and in the scores of attention, for it to choose between cells.
GAINS = {
    "img_embed.weight": 8,
    "fc_embed.weight": 8,
    "linear.weight": 8,
    "att_embed.0.weight": 4,
    "ih_l0": 4,
    "hh_l0": 3,
    "i2h.weight": 2,
    "h2h.weight": 2.5,
    "core.a2c.weight": 3,
    "alpha_net.weight": 4,
    "logit.weight": 5,
}


@torch.no_grad()
def randomise(module: Captioner, seed: int, feature_size: float = 1) -> None:
    """Fill the parameters so that logits spread by about 2 and captions vary, some ending early.

    `feature_size` is the usual size of the pictures' features. Were it much too low, the gates
    would saturate, captions vary little and single precision lose digits.
    """
    rng = np.random.default_rng(seed)
    for name, value in module.named_parameters():
        fill = rng.standard_normal(tuple(value.shape))
        if name.endswith("bias"):
            fill *= 0.2
        elif not name.startswith("embed"):
            gain = next((g for suffix, g in GAINS.items() if name.endswith(suffix)), 1.5)
            if (
                name in module.seeing
            ):  # features are positive: what differs is what their mean is not
                fill -= fill.mean(1, keepdims=True)
                gain /= feature_size
            fill *= gain / math.sqrt(value.shape[1])
        if name == "core.rnn.weight_ih_l0":
            fill[:, module.units :] /= feature_size
        value.copy_(torch.from_numpy(fill))
    # The largest of V logits is about sqrt(2 log V) deviations above their mean: have the end
    # token compete with it.
    module.logit.bias[0] += 2 * math.sqrt(2 * math.log(len(module.logit.bias))) - 3.7
