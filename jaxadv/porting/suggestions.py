"""Which published architecture a checkpoint is of, where it was ported to another."""

import re

import numpy as np

from jaxadv.porting.fitting import Arrays, misfits
from jaxadv.porting.tables import DECODERS, SCORES, classifier_table, head_of
from jaxadv.victims.architectures import (
    BACKBONES,
    PUBLISHED,
    CaptionerArchitecture,
    ClassifierArchitecture,
)
from jaxadv.victims.nets.resnet import ResNet
from jaxadv.victims.nets.tresnet import TResNet

MOST_CLASSES = 1_000_000

# An entry that a network which is no residual one has, and no other one.
_SIGNS = {
    "inception-v3": "Mixed_7c.branch_pool.conv.weight",
    "mobilenet-v2": "51.weight",
    "mobilenet-v2-torchvision": "features.18.1.running_var",
    "vit-b16-token": "encoder.layers.encoder_layer_11.ln_2.weight",
}


def fitting(arrays: Arrays) -> str:
    """Name what the entries of a checkpoint are of; nothing where that is not known.

    Classifiers are held against their tables, names and shapes; parts of captioners and hashers are
    told by names alone.
    """
    found = [name for name, made in PUBLISHED.items() if _is_classifier(made, arrays)]
    if found:
        return f"--architecture {_one_of(found)}"
    decoders = [name for name, modules in DECODERS.items() if _holds(modules, arrays)]
    if SCORES in arrays:
        decoders = ["im2txt"]
    made_with = [
        name
        for name, made in PUBLISHED.items()
        if isinstance(made, CaptionerArchitecture) and made.decoder in decoders
    ]
    if made_with:
        return f"the decoder of --architecture {_one_of(made_with)}, which wants its backbone, too"
    if "bias20" in arrays:
        return f"--architecture {'ssah' if 'bias22' in arrays else 'dcmh'} (TensorFlow)"
    if "classifier.weight" in arrays and "features.0.weight" in arrays:
        return "the image network of --architecture dcmh-pytorch"
    return ""


def _one_of(names: list[str]) -> str:
    return " or ".join(names)


def _holds(modules: dict[str, str], arrays: Arrays) -> bool:
    """Whether there are entries of all modules of a decoder."""
    return all(
        any(name == module or name.startswith(f"{module}.") for name in arrays)
        for module in modules.values()
    )


def _is_classifier(made: object, arrays: Arrays) -> bool:
    """Whether all entries are those of a classifier; its sign is looked at first, being cheap."""
    if not isinstance(made, ClassifierArchitecture) or not _has_sign(made.backbone, arrays):
        return False
    head = arrays.get(head_of(made))
    if head is None or not 0 < head.size <= MOST_CLASSES:
        return False
    tree = made.shapes({"classes": ("",) * head.size})
    return not misfits(arrays, classifier_table(made, tree, arrays), tree)


def _has_sign(backbone: str, arrays: Arrays) -> bool:
    net = BACKBONES[backbone].make()
    if not isinstance(net, ResNet | TResNet):
        sign = _SIGNS.get(backbone.removesuffix("-half"))
        return sign in arrays
    first, bottleneck = ("body.", net.second) if isinstance(net, TResNet) else ("", net.bottleneck)
    blocks = np.zeros(len(net.stage_sizes) + 1, int)
    for name in arrays:
        if match := re.match(rf"{first}layer(\d)\.(\d{{1,3}})\.", name):
            stage = int(match[1]) - 1
            if stage < len(blocks):
                blocks[stage] = max(blocks[stage], int(match[2]) + 1)
    found = any(name.startswith(f"{first}layer1.0.conv3.") for name in arrays)
    return blocks.tolist() == [*net.stage_sizes, 0] and found == bottleneck
