"""What victims are made of: backbones, and architectures of the three kinds by name.

An architecture is everything about a victim but its weights and the *names* of what it takes and
gives: a captioner's words, a tagger's classes, a hasher's tags and classes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted
from jaxadv.formats.values import ValueFault, as_number, as_whole
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.victims.nets import mobilenet_v2, resnet, tresnet, vit
from jaxadv.victims.nets.att2in import Att2in
from jaxadv.victims.nets.caption_net import CaptionNet, as_captioner
from jaxadv.victims.nets.classifier_net import ClassifierNet, as_classifier
from jaxadv.victims.nets.dcmh import DCMH
from jaxadv.victims.nets.dual_encoder import DualEncoder
from jaxadv.victims.nets.hash_net import HashNet, HiddenLayer, PooledFeatures, as_hasher
from jaxadv.victims.nets.inception_v3 import InceptionV3
from jaxadv.victims.nets.ml_decoder import MLDecoder
from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet
from jaxadv.victims.nets.response_norm import PYTORCH_RESPONSE
from jaxadv.victims.nets.show_attend_tell import ShowAttendTell
from jaxadv.victims.nets.show_tell import ShowTell
from jaxadv.victims.nets.ssah import RELEASED_WINDOWS, SSAH
from jaxadv.victims.nets.transformer import Transformer
from jaxadv.victims.nets.vgg_f import VggF, Window
from jaxadv.vocabulary import Vocabulary

Params = Any
Colour = tuple[float, float, float]
Names = Mapping[str, tuple[str, ...]]
"""What a victim's numbers mean: `vocabulary`, or `classes`, or `tags` and `classes`."""
Functions = Captioner | MultiLabelClassifier | CrossModalHasher

# Metadata of a field that a record lacks where it has its default: older records do not know it.
UNRECORDED = {"unrecorded": True}

# The largest sizes that are accepted: a record is a file that somebody may have damaged.
MOST_SIDE = 4096  # pixels
MOST_FEATURES = 1_000_000
MOST_UNITS = 65_536
MOST_WORDS = 1_000  # of a caption
MOST_WINDOWS = 32

HALF: Colour = (0.5, 0.5, 0.5)  # takes [0, 1] to [-1, 1]


class VictimError(InputError):
    """A victim that is missing or whose folder is broken."""


class Architecture(Protocol):
    """What the kinds of victims share."""

    @property
    def kind(self) -> str:
        """The record's word for it."""

    @property
    def named(self) -> tuple[str, ...]:
        """The names it needs."""

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, 3); a hasher's may be (d,)."""

    def shapes(self, names: Names) -> Params:
        """Shapes and types of its variables."""

    def functions(self, names: Names) -> Functions:
        """Its pure functions."""


class Backbone(NamedTuple):
    """A network that sees, what its images are normalised with, and its published image side."""

    make: Callable[[], nn.Module]
    side: int
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD


BACKBONES: dict[str, Backbone] = {
    "resnet-small": Backbone(lambda: ResNet((1, 1, 1), False, width=16, stem="small"), 64),
    "resnet-small-crowd": Backbone(
        lambda: ResNet((1, 1, 1, 1), False, width=16, stem="small"), 128
    ),
    # two stages more, for decoders that see nothing but the mean of the grid
    "resnet-small-pooled": Backbone(
        lambda: ResNet((1, 1, 1, 1, 1), False, width=16, stem="small"), 64
    ),
    "resnet20-cifar": Backbone(partial(resnet.cifar_resnet, 20), 32),
    "resnet32-cifar": Backbone(partial(resnet.cifar_resnet, 32), 32),
    "resnet56-cifar": Backbone(partial(resnet.cifar_resnet, 56), 32),
    "resnet18": Backbone(resnet.resnet18, 224),
    "resnet34": Backbone(resnet.resnet34, 224),
    "resnet50": Backbone(resnet.resnet50, 224),
    "resnet50-caffe": Backbone(partial(resnet.resnet50, caffe=True), 224),
    "resnet101": Backbone(resnet.resnet101, 224),
    "resnet101-caffe": Backbone(partial(resnet.resnet101, caffe=True), 224),
    "resnet152": Backbone(resnet.resnet152, 224),
    "resnet152-caffe": Backbone(partial(resnet.resnet152, caffe=True), 224),
    "inception-v3": Backbone(InceptionV3, 299),
    # torchvision's own weights were trained on [-1, 1] (its `transform_input`)
    "inception-v3-half": Backbone(InceptionV3, 299, HALF, HALF),
    "inception-v3-slim": Backbone(partial(InceptionV3, count_border=False), 299, HALF, HALF),
    "mobilenet-v2": Backbone(mobilenet_v2.MobileNetV2, 224, mobilenet_v2.MEAN, mobilenet_v2.STD),
    "vit-small": Backbone(lambda: vit.ViT(patch=8, width=64, layers=4, heads=4), 64),
    "mobilenet-v2-torchvision": Backbone(partial(mobilenet_v2.MobileNetV2, torchvision=True), 224),
    "vit-b16": Backbone(vit.vit_b16, 224),
    "vit-b16-token": Backbone(partial(vit.vit_b16, token=True), 224),
    "tresnet-small": Backbone(
        lambda: tresnet.TResNet((1, 1, 2, 1), width=16), 64, tresnet.MEAN, tresnet.STD
    ),
    "tresnet-m": Backbone(tresnet.tresnet_m, 224, tresnet.MEAN, tresnet.STD),
    "tresnet-l": Backbone(tresnet.tresnet_l, 224, tresnet.MEAN, tresnet.STD),
    "tresnet-l-v2": Backbone(tresnet.tresnet_l_v2, 224, tresnet.MEAN, tresnet.STD),
}

HEADS: dict[str, Callable[[int], nn.Module] | None] = {  # of taggers, by their number of classes
    "linear": None,  # of the grid's mean, which `ClassifierNet` has itself
    "ml-decoder": MLDecoder,
}

DECODERS: dict[str, Callable[..., nn.Module]] = {
    "show-tell": ShowTell,
    "fc": partial(ShowTell, maxout=True),
    "newfc": partial(ShowTell, maxout=True),  # only its checkpoints name things otherwise
    "im2txt": partial(ShowTell, im2txt=True),
    "show-attend-tell": ShowAttendTell,
    "att2in": Att2in,
    "att2in2": partial(Att2in, embedded=True),
    "transformer": partial(Transformer, layers=2),
    "transformer-base": Transformer,  # the size of its paper: 6 layers
}


@dataclasses.dataclass(frozen=True)
class CaptionerArchitecture:
    """What a captioner is made of; everything but its vocabulary and its weights.

    Attributes:
      decoder: a key of `DECODERS`.
      backbone: a key of `BACKBONES`.
      units: of the recurrent net or the Transformer, the embeddings and the attention.
      max_length: most words in a caption.
      side: of the square pictures, in pixels.
      grid: side of the attention grid that the backbone's is pooled to; None leaves it.
      dropout: of the decoder, in training.
    """

    kind: ClassVar[str] = "captioner"
    named: ClassVar[tuple[str, ...]] = ("vocabulary",)

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
        check_sizes(self, units=MOST_UNITS, max_length=MOST_WORDS, side=MOST_SIDE)
        if self.grid is not None:
            check_sizes(self, grid=MOST_SIDE)
        if not 0 <= _checked(as_number, self.dropout, "dropout") < 1:
            raise VictimError(f"dropout: must be at least 0 and below 1, not {self.dropout}")

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        return f"{self.decoder} over {self.backbone}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return (self.side, self.side, 3)

    def network(self, vocabulary_size: int) -> CaptionNet:
        """Build the Linen module."""
        backbone = BACKBONES[self.backbone]
        decoder = DECODERS[self.decoder](vocabulary_size, units=self.units, dropout=self.dropout)
        if isinstance(decoder, Transformer):  # its state holds as many words as a caption may have
            decoder = decoder.clone(max_length=self.max_length)
        return CaptionNet(
            backbone=backbone.make(),
            decoder=decoder,
            mean=backbone.mean,
            std=backbone.std,
            grid=None if self.grid is None else (self.grid, self.grid),
        )

    def variables(self, vocabulary_size: int) -> Params:
        """Return the shapes and types of the network's variables."""
        return shapes_of(self.network(vocabulary_size), self.image_shape)

    def captioner(self, vocabulary: Vocabulary) -> Captioner:
        """Build the pure functions."""
        net = self.network(vocabulary.size)
        return as_captioner(net, vocabulary, self.max_length, self.image_shape)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        return self.variables(Vocabulary(names["vocabulary"]).size)

    def functions(self, names: Names) -> Captioner:
        """Its pure functions."""
        return self.captioner(Vocabulary(names["vocabulary"]))


@dataclasses.dataclass(frozen=True)
class ClassifierArchitecture:
    """What a multi-label classifier is made of: a backbone and a head.

    Attributes:
      backbone: a key of `BACKBONES`.
      side: of the square pictures, in pixels (the papers: 224, 300, 448).
      head: a key of `HEADS`; the linear map of the grid's mean is left out of records.
    """

    kind: ClassVar[str] = "classifier"
    named: ClassVar[tuple[str, ...]] = ("classes",)

    backbone: str
    side: int
    head: str = dataclasses.field(default="linear", metadata=UNRECORDED)

    def __post_init__(self) -> None:
        _known(self.backbone, BACKBONES, "backbone")
        _known(self.head, HEADS, "head")
        check_sizes(self, side=MOST_SIDE)

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        return self.backbone if self.head == "linear" else f"{self.head} over {self.backbone}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return (self.side, self.side, 3)

    def network(self, classes: int) -> ClassifierNet:
        """Build the Linen module."""
        backbone, make_head = BACKBONES[self.backbone], HEADS[self.head]
        head = None if make_head is None else make_head(classes)
        return ClassifierNet(backbone.make(), classes, backbone.mean, backbone.std, head)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        return shapes_of(self.network(len(names["classes"])), self.image_shape)

    def functions(self, names: Names) -> MultiLabelClassifier:
        """Its pure functions."""
        net = self.network(len(names["classes"]))
        return as_classifier(net, names["classes"], self.image_shape)


@dataclasses.dataclass(frozen=True)
class HasherArchitecture:
    """What a cross-modal hasher is made of.

    Attributes:
      method: "dcmh" or "ssah"; or "dual", a dual encoder.
      backbone: a key of `FEATURES`.
      bits: K, the length of the codes, or of a dual encoder's embeddings.
      side: of the square pictures, in pixels; for the backbone "features", how many there are.
      units: of the text's hidden layer (and the labels', for SSAH).
      semantic: SSAH's semantic features.
      windows: SSAH's scales of texts, in words.
    """

    kind: ClassVar[str] = "hasher"
    named: ClassVar[tuple[str, ...]] = ("tags", "classes")

    method: str
    backbone: str
    bits: int = 32
    side: int = 224
    units: int = 4096
    semantic: int = 512
    windows: tuple[int, ...] = (1, 2, 3, 5, 10)

    def __post_init__(self) -> None:
        _known(self.method, METHODS, "method")
        _known(self.backbone, FEATURES, "backbone")
        most = MOST_FEATURES if self.backbone == "features" else MOST_SIDE
        check_sizes(self, side=most, bits=MOST_UNITS, units=MOST_UNITS, semantic=MOST_UNITS)
        if not isinstance(self.windows, tuple | list) or len(self.windows) > MOST_WINDOWS:
            raise VictimError(f"windows: must be a list of at most {MOST_WINDOWS} sizes")
        for size in self.windows:
            _checked(as_whole, size, "windows", 1, MOST_WORDS)
        object.__setattr__(self, "windows", tuple(self.windows))  # JSON has lists

    @property
    def parts(self) -> str:
        """What it is made of, in a few words."""
        return f"{self.method} over {self.backbone}"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, 3), or (d,) for published features."""
        return (self.side,) if self.backbone == "features" else (self.side, self.side, 3)

    def features(self) -> nn.Module:
        """Build the Linen module that sees the pictures."""
        return FEATURES[self.backbone](self.side)

    def network(self, classes: int) -> HashNet:
        """Build the Linen module."""
        return METHODS[self.method](self.features(), classes, self)

    def shapes(self, names: Names) -> Params:
        """Shapes and types of the variables."""
        net = self.network(len(names["classes"]))
        return shapes_of(net, self.image_shape, (len(names["tags"]),))

    def functions(self, names: Names) -> CrossModalHasher:
        """Its pure functions."""
        net = self.network(len(names["classes"]))
        return as_hasher(net, self.image_shape, names["tags"], names["classes"])


def _pooled(backbone: str) -> Callable[[int], nn.Module]:
    made = BACKBONES[backbone]
    return lambda side: PooledFeatures(made.make(), made.mean, made.std)


FEATURES: dict[str, Callable[[int], nn.Module]] = {  # of a hasher's pictures, by their side
    "vgg-f": lambda side: VggF(side),
    "vgg-f-pytorch": lambda side: VggF(side, response=PYTORCH_RESPONSE),
    "vgg-f-small": lambda side: VggF(side, width=8, units=256, stem=Window(5, 2)),
    "resnet-small": _pooled("resnet-small"),
    "resnet50": _pooled("resnet50"),
    "mobilenet-v2": _pooled("mobilenet-v2"),
    "features": lambda side: HiddenLayer(),
}


def _dcmh(features: nn.Module, classes: int, made: HasherArchitecture) -> HashNet:
    return DCMH(features, made.bits, made.units)


def _ssah(features: nn.Module, classes: int, made: HasherArchitecture) -> HashNet:
    return SSAH(features, made.bits, classes, made.semantic, made.units, made.windows)


def _dual(features: nn.Module, classes: int, made: HasherArchitecture) -> HashNet:
    return DualEncoder(features, made.bits, made.units)


METHODS: dict[str, Callable[[nn.Module, int, HasherArchitecture], HashNet]] = {
    "dcmh": _dcmh,
    "ssah": _ssah,
    "dual": _dual,
}


def recorded(architecture: Architecture) -> dict[str, Any]:
    """Return the values of an architecture that a victim's record has.

    >>> recorded(ClassifierArchitecture("resnet-small", 64))
    {'backbone': 'resnet-small', 'side': 64}
    """
    values = dataclasses.asdict(architecture)  # type: ignore[call-overload]
    return {
        field.name: values[field.name]
        for field in dataclasses.fields(architecture)  # type: ignore[arg-type]
        if not (field.metadata.get("unrecorded") and values[field.name] == field.default)
    }


def shapes_of(net: nn.Module, *inputs: tuple[int, ...]) -> Params:
    """Shapes and types of a network's variables, given inputs of these shapes; nothing is made."""
    given = [jax.ShapeDtypeStruct(shape, jnp.zeros(()).dtype) for shape in inputs]
    return jax.eval_shape(net.init, jax.random.key(0), *given)


def _known(name: str, table: dict[str, Any], what: str) -> None:
    if not isinstance(name, str) or name not in table:
        raise VictimError(f"unknown {what} {quoted(name)}: must be one of {', '.join(table)}")


def check_sizes(made: Any, **most: int) -> None:
    """Check that attributes are whole numbers from 1 to the largest that is accepted."""
    for name, largest in most.items():
        _checked(as_whole, getattr(made, name), name, 1, largest)


def _checked(check: Callable[..., Any], value: Any, *what: Any) -> Any:
    try:
        return check(value, *what)
    except ValueFault as fault:
        raise VictimError(str(fault)) from None


PUBLISHED: dict[str, Architecture] = {
    # the sizes of the exact-caption paper's victims (9,487 words and the end token)
    "show-tell-inception-v3": CaptionerArchitecture("show-tell", "inception-v3", side=299),
    "show-tell-resnet101": CaptionerArchitecture("show-tell", "resnet101-caffe"),
    "show-attend-tell-resnet101": CaptionerArchitecture(
        "show-attend-tell", "resnet101-caffe", grid=14
    ),
    "att2in-resnet101": CaptionerArchitecture("att2in", "resnet101-caffe", grid=14),
    "att2in2-resnet101": CaptionerArchitecture("att2in2", "resnet101-caffe", grid=14),
    "fc-resnet101": CaptionerArchitecture("fc", "resnet101-caffe"),
    "newfc-resnet101": CaptionerArchitecture("newfc", "resnet101-caffe"),
    # Google's im2txt stops after 20 tokens, of which `<S>` is the first. It sees the middle 299
    # pixels of a picture resized to 346; here a picture is resized to 299.
    "show-tell-im2txt": CaptionerArchitecture(
        "im2txt", "inception-v3-slim", max_length=19, side=299
    ),
    # Transformers; there are no checkpoints of these that `jaxadv port` reads
    "transformer-resnet101": CaptionerArchitecture("transformer-base", "resnet101-caffe", grid=14),
    "transformer-vit-b16": CaptionerArchitecture("transformer-base", "vit-b16"),
    # taggers, with any number of classes: the sides are torchvision's and the TkMIA paper's
    "resnet18": ClassifierArchitecture("resnet18", 224),
    "resnet34": ClassifierArchitecture("resnet34", 224),
    "resnet50": ClassifierArchitecture("resnet50", 224),
    "resnet50-300": ClassifierArchitecture("resnet50", 300),
    "resnet101": ClassifierArchitecture("resnet101", 224),
    "resnet101-448": ClassifierArchitecture("resnet101", 448),
    "resnet152": ClassifierArchitecture("resnet152", 224),
    "inception-v3": ClassifierArchitecture("inception-v3", 299),
    "inception-v3-300": ClassifierArchitecture("inception-v3", 300),
    "inception-v3-imagenet": ClassifierArchitecture("inception-v3-half", 299),
    "mobilenet-v2": ClassifierArchitecture("mobilenet-v2", 224),
    "mobilenet-v2-torchvision": ClassifierArchitecture("mobilenet-v2-torchvision", 224),
    "vit-b16": ClassifierArchitecture("vit-b16-token", 224),
    # ASL's for MS-COCO, and those of the same backbones with an ML-Decoder
    "tresnet-m": ClassifierArchitecture("tresnet-m", 448),
    "tresnet-m-224": ClassifierArchitecture("tresnet-m", 224),
    "tresnet-l": ClassifierArchitecture("tresnet-l", 448),
    "ml-decoder-tresnet-m": ClassifierArchitecture("tresnet-m", 224, "ml-decoder"),
    "ml-decoder-tresnet-l": ClassifierArchitecture("tresnet-l-v2", 448, "ml-decoder"),
    "resnet20-cifar": ClassifierArchitecture("resnet20-cifar", 32),
    "resnet32-cifar": ClassifierArchitecture("resnet32-cifar", 32),
    "resnet56-cifar": ClassifierArchitecture("resnet56-cifar", 32),
    # hashers; a checkpoint says how many bits it has
    "dcmh": HasherArchitecture("dcmh", "vgg-f", units=8192),
    "dcmh-pytorch": HasherArchitecture("dcmh", "vgg-f-pytorch", units=8192),
    "dcmh-resnet50": HasherArchitecture("dcmh", "resnet50", units=8192),
    "ssah": HasherArchitecture("ssah", "vgg-f"),
    "ssah-released": HasherArchitecture("ssah", "vgg-f", windows=RELEASED_WINDOWS),
    "ssah-resnet50": HasherArchitecture("ssah", "resnet50"),
}


def published(name: str) -> Architecture:
    """Return a published architecture by name.

    Raises:
      VictimError: there is none of that name.
    """
    _known(name, PUBLISHED, "architecture")
    return PUBLISHED[name]
