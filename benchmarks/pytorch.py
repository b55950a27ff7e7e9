"""The other side of the bench: the same networks and attacks in PyTorch, one image at a time.

Written after how the papers' released code works, with the networks' weights taken from ours.
Needs torch (extra `parity`); nothing else imports this.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jax import Array

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
Net = Callable[[torch.Tensor], torch.Tensor]


def tensors(tree: Any, frozen: bool = True) -> Any:
    """Turn a tree of arrays into tensors."""
    if isinstance(tree, dict):
        return {name: tensors(branch, frozen) for name, branch in tree.items()}
    return torch.tensor(np.asarray(tree)).requires_grad_(not frozen)


def resnet(
    params: Any,
    blocks: tuple[int, ...],
    *,
    folded: bool = False,
    frozen: bool = True,
    low: bool = False,
    device: str = "cpu",
) -> Net:
    """torchvision's bottleneck ResNet with our weights: images [N, 3, H, W] in [0, 1] to the grid.

    Args:
      params: of a victim whose backbone it is.
      blocks: of each stage.
      folded: batch norm folded into the convolutions, all in channels-last layout.
      frozen: no gradients of the weights (authors' scripts leave them on).
      low: weights and activations in bfloat16; what comes back is float32.
      device: where the weights are.
    """
    kind = torch.bfloat16 if low else torch.float32
    weights, stats = params["params"]["backbone"], params["batch_stats"]["backbone"]

    def layer(at: tuple[str, ...], conv: str, norm: str) -> Callable[..., torch.Tensor]:
        here, there = weights, stats
        for name in at:
            here, there = here[name], there[name]
        kernel = np.asarray(here[conv]["kernel"]).transpose(3, 2, 0, 1)
        scale, bias = (np.asarray(here[norm][name]) for name in ("scale", "bias"))
        mean, var = (np.asarray(there[norm][name]) for name in ("mean", "var"))
        if folded:
            by = scale / np.sqrt(var + 1e-5)
            kernel, bias = kernel * by[:, None, None, None], bias - mean * by
        w, b, s, m, v = (
            torch.tensor(np.ascontiguousarray(x)).to(device, kind)
            for x in (kernel, bias, scale, mean, var)
        )
        if folded:
            w = w.contiguous(memory_format=torch.channels_last)
        for weight in (w, b, s):
            weight.requires_grad_(not frozen)
        pad = kernel.shape[-1] // 2

        def run(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
            if folded:
                return F.conv2d(x, w, b, stride, pad)
            return F.batch_norm(F.conv2d(x, w, None, stride, pad), m, v, s, b)

        return run

    stem = layer((), "conv1", "bn1")
    stages = []
    for stage, number in enumerate(blocks, start=1):
        for index in range(number):
            at = (f"layer{stage}_{index}",)
            three = [layer(at, f"conv{i}", f"bn{i}") for i in (1, 2, 3)]
            shortcut = layer(at, "downsample_conv", "downsample_bn") if index == 0 else None
            stages.append((three, shortcut, 2 if stage > 1 and index == 0 else 1))

    def run(images: torch.Tensor) -> torch.Tensor:
        x = ((images - MEAN.to(device)) / STD.to(device)).to(kind)
        if folded:
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(torch.relu_(stem(x, 2)), 3, 2, 1)
        for (first, second, third), shortcut, stride in stages:
            y = third(torch.relu_(second(torch.relu_(first(x)), stride)))
            y += x if shortcut is None else shortcut(x, stride)
            x = torch.relu_(y)
        return x

    def with_head(images: torch.Tensor) -> torch.Tensor:
        return F.linear(run(images).float().mean((2, 3)), head, bias)

    if "fc" not in params["params"]:
        return run
    fc = tensors(params["params"]["fc"], frozen)
    head, bias = fc["kernel"].T.to(device), fc["bias"].to(device)
    return with_head


def pictures(images: Array) -> torch.Tensor:
    """Turn pictures [N, H, W, 3] into [N, 3, H, W]."""
    return torch.tensor(np.asarray(images).transpose(0, 3, 1, 2).copy())


def bare_steps(
    net: Net, images: Array, steps: int, *, compiled: bool = False, device: str = "cpu"
) -> Callable[[], None]:
    """The loop of `timing.bare_steps` on a tagger."""
    start = pictures(images).to(device)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(net(x)).pow(2).sum()

    forward = torch.compile(loss) if compiled else loss

    def run() -> None:
        x = start
        for _ in range(steps):
            x = x.detach().requires_grad_()
            forward(x).backward()
            x = x - 1e-6 * x.grad
        x.sum().item()  # waits for the device

    return run


def tkmia(
    net: Net, images: Array, relevant: Any, specified: Any, k: int, steps: int
) -> list[torch.Tensor]:
    """TkMIA, image by image, with Algorithm 1's gradient on the multipliers; the perturbations."""
    found = []
    for image, of, out in zip(pictures(images), relevant, specified, strict=True):
        kept, gone = (torch.tensor(np.asarray(x)) for x in (of & ~out, out))
        noise = torch.zeros_like(image).requires_grad_()
        multipliers = torch.zeros(2, requires_grad=True)
        groups = [{"params": [noise], "momentum": 0.9}, {"params": [multipliers]}]
        optimiser = torch.optim.SGD(groups, lr=5e-4)
        for _ in range(steps):
            signed = (2 * image - 1 + noise).clamp(-1, 1)
            f = torch.sigmoid(net((signed + 1)[None] / 2))[0]
            first = (f[gone].max() - f - multipliers[0]).clamp(min=0).sum() / (len(f) - k)
            second = (f - f[kept].min() - multipliers[1]).clamp(min=0).sum() / k
            loss = multipliers.sum() + first + second + 5e-5 * noise.pow(2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                multipliers.clamp_(0, 1)
            f.topk(k)
        found.append(noise.detach() / 2)
    return found


def gem(
    net: Net, decoder: Any, images: Array, tokens: Any, steps: int, *, released: bool
) -> list[torch.Tensor]:
    """GEM on complete captions of Show-and-Tell, image by image; the perturbations.

    Args:
      net: of the backbone.
      decoder: our weights of the decoder.
      images: the pictures.
      tokens: the words wanted of each, 0 where it ends.
      steps: of each.
      released: as the paper's released code has it, where the backbone is run again, and the
        decoder from its beginning, for the probability of every word; before that, without
        gradients, for the posterior of every word but the last, which here are all known.
        Otherwise both are run once a step.
    """
    w, units = tensors(decoder, frozen=False), decoder["img_embed"]["kernel"].shape[1]

    def advance(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        core = w["core"]
        gates = x @ core["weight_ih"]["kernel"] + h @ core["weight_hh"]["kernel"]
        i, f, g, o = gates.split(units, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def surprisal(adversarial: torch.Tensor, words: list[int], first: int) -> torch.Tensor:
        """-log P of the words from `first` on, given the picture and those before."""
        seen = net(adversarial.clamp(0, 1)[None]).mean((2, 3))
        seen = seen @ w["img_embed"]["kernel"] + w["img_embed"]["bias"]
        h, c = advance(seen, *torch.zeros(2, 1, units))
        total = torch.zeros(())
        for place, (before, word) in enumerate(zip([0, *words[:-1]], words, strict=True)):
            h, c = advance(w["embed"]["embedding"][before][None], h, c)
            if place >= first:
                scores = h @ w["logit"]["kernel"] + w["logit"]["bias"]
                total = total + F.cross_entropy(scores, torch.tensor([word]))
        return total

    found = []
    for image, padded in zip(pictures(images), np.asarray(tokens).tolist(), strict=True):
        words = [*padded, 0][: [*padded, 0].index(0) + 1]
        noise = torch.zeros_like(image).requires_grad_()
        optimiser = torch.optim.Adam([noise], lr=1e-3)
        for _ in range(steps):
            loss = 0.1 * noise.pow(2).sum()
            if released:
                with torch.no_grad():
                    for place in range(len(words) - 1):
                        surprisal(image + noise, words[: place + 1], place)
                for place in range(len(words)):
                    loss = loss + surprisal(image + noise, words[: place + 1], place)
            else:
                loss = loss + surprisal(image + noise, words, 0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found.append(noise.detach())
    return found


def cmla(
    net: Net, layer: Any, images: Array, own: Any, other: Any, similar: Any, steps: int
) -> list[torch.Tensor]:
    """CMLA on pictures, image by image (eq. 5); the perturbations."""
    found = []
    hash_layer = tensors(layer, frozen=False)
    codes = [torch.tensor(np.asarray(x)) for x in (own, other)]
    for image, alike in zip(pictures(images), np.asarray(similar), strict=True):
        s = torch.tensor(alike)
        noise = torch.zeros_like(image).requires_grad_()
        optimiser = torch.optim.Adam([noise], lr=0.5 / 255)
        for _ in range(steps):
            features = net((image + noise).clamp(0, 1)[None]).mean((2, 3))
            code = (features @ hash_layer["kernel"] + hash_layer["bias"])[0]
            theta, gamma = (some @ code / 2 for some in codes)
            intra = (F.softplus(theta) - s * theta).sum()
            inter = (F.softplus(-gamma) + s * gamma).sum()
            loss = inter + intra + (255 * noise).pow(2).sum().add(1e-12).sqrt()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                noise.clamp_(-8 / 255, 8 / 255)
        found.append(noise.detach())
    return found
