"""Public checkpoints that are known to fit an architecture: where their owners offer them."""

from typing import NamedTuple


class Checkpoint(NamedTuple):
    """A file to download, and what it is ported to.

    Attributes:
      name: by which it stands where a victim's name does, OWNER://NAME.
      file: its name.
      architecture: a key of `architectures.PUBLISHED`; several, where it is a part of each.
      where: the folder in which its owner offers it, or the page that leads to it.
      sha256: what it begins with, in hexadecimal; empty where its owner does not say.
      part: which part of a victim it is; empty where it is a whole one.
      is_fetched: whether it can be downloaded directly.
    """

    name: str
    file: str
    architecture: str
    where: str
    sha256: str = ""
    part: str = ""
    is_fetched: bool = True

    @property
    def address(self) -> str:
        """Where it is fetched from, or got by hand."""
        return f"{self.where}/{self.file}" if self.is_fetched else self.where


_PYTORCH = "https://download.pytorch.org/models"
_CIFAR = (
    "https://github.com/akamaster/pytorch_resnet_cifar10/raw/refs/heads/master/pretrained_models"
)
_MATCONVNET = "https://www.vlfeat.org/matconvnet/models"
_RUOTIANLUO = "https://github.com/ruotianluo/ImageCaptioning.pytorch (pretrained models)"
_MIIL = "https://miil-public-eu.oss-eu-central-1.aliyuncs.com/model-zoo"
_ASL, _ML_DECODER = f"{_MIIL}/ASL", f"{_MIIL}/ML_Decoder"
_EAGEM = "https://github.com/wubaoyuan/adversarial-attack-to-caption (pretrained models)"
_KRANTHIGV = "https://github.com/KranthiGV/Pretrained-Show-and-Tell-model"


def _by_hand(name: str, file: str, architecture: str, page: str, part: str = "") -> Checkpoint:
    return Checkpoint(name, file, architecture, page, part=part, is_fetched=False)


CHECKPOINTS = (
    # named as torchvision names its models and, behind @, their newer weights
    Checkpoint("torchvision://resnet18", "resnet18-f37072fd.pth", "resnet18", _PYTORCH, "f37072fd"),
    Checkpoint("torchvision://resnet34", "resnet34-b627a593.pth", "resnet34", _PYTORCH, "b627a593"),
    Checkpoint("torchvision://resnet50", "resnet50-0676ba61.pth", "resnet50", _PYTORCH, "0676ba61"),
    Checkpoint(
        "torchvision://resnet101", "resnet101-63fe2227.pth", "resnet101", _PYTORCH, "63fe2227"
    ),
    Checkpoint(
        "torchvision://resnet152", "resnet152-394f9c45.pth", "resnet152", _PYTORCH, "394f9c45"
    ),
    Checkpoint(
        "torchvision://inception_v3",
        "inception_v3_google-0cc3c7bd.pth",
        "inception-v3-imagenet",
        _PYTORCH,
        "0cc3c7bd",
    ),
    Checkpoint(
        "torchvision://mobilenet_v2",
        "mobilenet_v2-b0353104.pth",
        "mobilenet-v2-torchvision",
        _PYTORCH,
        "b0353104",
    ),
    Checkpoint(
        "torchvision://mobilenet_v2@IMAGENET1K_V2",
        "mobilenet_v2-7ebf99e0.pth",
        "mobilenet-v2-torchvision",
        _PYTORCH,
        "7ebf99e0",
    ),
    Checkpoint("torchvision://vit_b_16", "vit_b_16-c867db91.pth", "vit-b16", _PYTORCH, "c867db91"),
    Checkpoint(
        "akamaster://resnet20", "resnet20-12fca82f.th", "resnet20-cifar", _CIFAR, "12fca82f"
    ),
    Checkpoint(
        "akamaster://resnet32", "resnet32-d509ac18.th", "resnet32-cifar", _CIFAR, "d509ac18"
    ),
    Checkpoint(
        "akamaster://resnet56", "resnet56-4bfd9763.th", "resnet56-cifar", _CIFAR, "4bfd9763"
    ),
    Checkpoint("miil://tresnet-m", "MS_COCO_TRresNet_M_224_81.8.pth", "tresnet-m-224", _ASL),
    Checkpoint("miil://tresnet-l", "MS_COCO_TRresNet_L_448_86.6.pth", "tresnet-l", _ASL),
    Checkpoint(
        "miil://ml-decoder-tresnet-m",
        "tresnet_m_COCO_224_84_2.pth",
        "ml-decoder-tresnet-m",
        _ML_DECODER,
    ),
    Checkpoint(
        "miil://ml-decoder-tresnet-l",
        "tresnet_l_COCO__448_90_0.pth",
        "ml-decoder-tresnet-l",
        _ML_DECODER,
    ),
    Checkpoint(
        "matconvnet://imagenet-vgg-f",
        "imagenet-vgg-f.mat",
        "dcmh, ssah",
        _MATCONVNET,
        part="mean image",
    ),
    _by_hand(
        "ruotianluo://resnet101", "resnet101.pth", "att2in2-resnet101", _RUOTIANLUO, "backbone"
    ),
    _by_hand("ruotianluo://att2in2", "model-best.pth", "att2in2-resnet101", _RUOTIANLUO, "decoder"),
    _by_hand(
        "eagem://show-attend-tell",
        "model-best.pth",
        "show-attend-tell-resnet101",
        _EAGEM,
        "decoder",
    ),
    _by_hand("eagem://show-tell", "model-best.pth", "show-tell-inception-v3", _EAGEM, "decoder"),
    _by_hand("kranthigv://im2txt", "model.ckpt-2000000", "show-tell-im2txt", _KRANTHIGV),
)
