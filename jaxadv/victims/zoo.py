"""Victims by name: architectures, and trained ones with their weights and their record.

A trained victim is a folder: `weights/` (an Orbax checkpoint) and `record.json` (architecture,
vocabulary, how it was made, what it can do). Names are looked up in `ported_weights/` of the
working folder, then among those shipped with the package; a path to such a folder works too.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

import jaxadv
from jaxadv.data.vocabulary import Vocabulary
from jaxadv.errors import InputError
from jaxadv.victims.captioner import Captioner, Params
from jaxadv.victims.nets import mobilenet_v2, resnet
from jaxadv.victims.nets.att2in import Att2in2
from jaxadv.victims.nets.caption_net import CaptionNet, as_captioner
from jaxadv.victims.nets.inception_v3 import InceptionV3
from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet
from jaxadv.victims.nets.show_attend_tell import ShowAttendTell
from jaxadv.victims.nets.show_tell import ShowTell

Colour = tuple[float, float, float]


class VictimError(InputError):
    """A victim that is missing or whose folder is broken."""


class Backbone(NamedTuple):
    """A network that sees, what its images are normalised with, and its published image side."""

    make: Callable[[], nn.Module]
    side: int
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD


BACKBONES: dict[str, Backbone] = {
    "resnet-small": Backbone(lambda: ResNet((1, 1, 1), False, width=16, stem="small"), 64),
    # two stages more, for decoders that see nothing but the mean of the grid
    "resnet-small-pooled": Backbone(
        lambda: ResNet((1, 1, 1, 1, 1), False, width=16, stem="small"), 64
    ),
    "resnet18": Backbone(resnet.resnet18, 224),
    "resnet50": Backbone(resnet.resnet50, 224),
    "resnet50-caffe": Backbone(partial(resnet.resnet50, caffe=True), 224),
    "resnet101": Backbone(resnet.resnet101, 224),
    "resnet101-caffe": Backbone(partial(resnet.resnet101, caffe=True), 224),
    "inception-v3": Backbone(InceptionV3, 299),
    "mobilenet-v2": Backbone(mobilenet_v2.MobileNetV2, 224, mobilenet_v2.MEAN, mobilenet_v2.STD),
}

DECODERS: dict[str, Callable[..., nn.Module]] = {
    "show-tell": ShowTell,
    "fc": partial(ShowTell, maxout=True),
    "show-attend-tell": ShowAttendTell,
    "att2in2": Att2in2,
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a captioner is made of; everything but its vocabulary and its weights.

    Attributes:
      decoder: a key of `DECODERS`.
      backbone: a key of `BACKBONES`.
      units: of the recurrent net, the embeddings and the attention.
      max_length: most words in a caption.
      side: of the square pictures, in pixels.
      grid: side of the attention grid that the backbone's is pooled to; None leaves it.
      dropout: of the decoder, in training.
    """

    decoder: str
    backbone: str
    units: int = 512
    max_length: int = 16
    side: int = 224
    grid: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _known(self.decoder, DECODERS, "decoder")
        _known(self.backbone, BACKBONES, "backbone")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return (self.side, self.side, 3)

    def network(self, vocabulary_size: int) -> CaptionNet:
        """Build the Linen module."""
        backbone = BACKBONES[self.backbone]
        decoder = DECODERS[self.decoder]
        return CaptionNet(
            backbone=backbone.make(),
            decoder=decoder(vocabulary_size, units=self.units, dropout=self.dropout),
            mean=backbone.mean,
            std=backbone.std,
            grid=None if self.grid is None else (self.grid, self.grid),
        )

    def variables(self, vocabulary_size: int) -> Params:
        """Return the shapes and types of the network's variables."""
        net = self.network(vocabulary_size)
        return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(self.image_shape))

    def captioner(self, vocabulary: Vocabulary) -> Captioner:
        """Build the pure functions."""
        net = self.network(vocabulary.size)
        return as_captioner(net, vocabulary, self.max_length, self.image_shape)


def _known(name: str, table: dict[str, Any], what: str) -> None:
    if name not in table:
        raise VictimError(f"unknown {what} {name!r}: must be one of {', '.join(table)}")


PUBLISHED: dict[str, Architecture] = {
    # the sizes of the exact-caption paper's victims (9,487 words and the end token)
    "show-tell-inception-v3": Architecture("show-tell", "inception-v3", side=299),
    "show-tell-resnet101": Architecture("show-tell", "resnet101-caffe"),
    "show-attend-tell-resnet101": Architecture("show-attend-tell", "resnet101-caffe", grid=14),
    "att2in2-resnet101": Architecture("att2in2", "resnet101-caffe", grid=14),
    "fc-resnet101": Architecture("fc", "resnet101-caffe"),
}


class Victim(NamedTuple):
    """A captioner with its weights.

    Attributes:
      name: as it was looked up.
      captioner: its pure functions.
      params: what they take.
      architecture: what it is made of.
      record: how it was made and what it can do.
    """

    name: str
    captioner: Captioner
    params: Params
    architecture: Architecture
    record: dict[str, Any]


def folders() -> list[Path]:
    """Where victims are looked up, in order."""
    package = Path(jaxadv.__file__).parent
    places = [Path("ported_weights"), package / "ported_weights", package.parent / "ported_weights"]
    return [place for place in places if place.is_dir()]


def installed() -> dict[str, Path]:
    """Return every victim found, by name."""
    found: dict[str, Path] = {}
    for place in folders():
        for record in sorted(place.glob("*/record.json")):
            found.setdefault(record.parent.name, record.parent)
    return found


def load(name: str) -> Victim:
    """Load a victim by name, or from the path of its folder.

    Raises:
      VictimError: there is none of that name (the message lists those there are), or its record
        and its weights do not fit.
    """
    folder = Path(name)
    if not (folder / "record.json").is_file():
        known = installed()
        if name not in known:
            raise VictimError(
                f"no victim {name!r}: installed are {', '.join(known) or 'none'}; a folder with "
                "record.json works too"
            )
        folder = known[name]
    architecture, vocabulary, record = read_record(folder)
    params = _restore(folder / "weights", architecture.variables(vocabulary.size))
    if digest(params) != record.get("weights_sha256"):
        raise VictimError(f"{folder / 'weights'}: changed since record.json was written (SHA-256)")
    return Victim(folder.name, architecture.captioner(vocabulary), params, architecture, record)


def read_record(folder: Path) -> tuple[Architecture, Vocabulary, dict[str, Any]]:
    """Read what a victim is made of, its words, and the whole record.

    Raises:
      VictimError: the record cannot be read.
    """
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        architecture = Architecture(**record["architecture"])
        vocabulary = Vocabulary(tuple(record["vocabulary"]))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as problem:
        raise VictimError(f"{folder / 'record.json'}: not a victim's record ({problem})") from None
    return architecture, vocabulary, record


def digest(params: Params) -> str:
    """SHA-256 of the names, types, shapes and values of all arrays, in hexadecimal."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.data)
    return total.hexdigest()


def _restore(path: Path, expected: Any) -> Params:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), expected
    )
    try:
        return ocp.load(path.absolute(), abstract)
    except (ValueError, FileNotFoundError, KeyError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise VictimError(f"{path}: weights do not fit the record ({reason})") from None


def save(
    folder: Path, architecture: Architecture, vocabulary: Vocabulary, params: Params, **record: Any
) -> None:
    """Write a victim's folder, whole or not at all; one of that name is replaced.

    Args:
      folder: where; its name is the victim's.
      architecture: what it is made of.
      vocabulary: its words.
      params: its Flax variables.
      **record: what else to remember (source, training, measures); must be JSON.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = list(vocabulary.words)
    written = {
        "kind": "captioner",
        "architecture": dataclasses.asdict(architecture),
        **record,
        "jaxadv": jaxadv.__version__,
        "weights_sha256": digest(params),
        "vocabulary_sha256": hashlib.sha256("\n".join(words).encode()).hexdigest(),
        "vocabulary": words,
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        ocp.save((fresh / "weights").absolute(), params)
        (fresh / "record.json").write_text(json.dumps(written, indent=1) + "\n")
        if folder.exists():
            shutil.move(folder, Path(scratch) / "old")
        os.replace(fresh, folder)
