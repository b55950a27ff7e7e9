"""Public checkpoints that are known to fit an architecture: where their owners offer them."""

from typing import NamedTuple


class Checkpoint(NamedTuple):
    """A file to download, and what it is ported to.

    Attributes:
      file: its name.
      architecture: a key of `architectures.PUBLISHED`.
      where: where its owner offers it.
      sha256: what it begins with, in hexadecimal; empty where its owner does not say.
    """

    file: str
    architecture: str
    where: str
    sha256: str = ""


_PYTORCH = "https://download.pytorch.org/models"
_CIFAR = (
    "https://github.com/akamaster/pytorch_resnet_cifar10/raw/refs/heads/master/pretrained_models"
)
_RUOTIANLUO = "https://github.com/ruotianluo/ImageCaptioning.pytorch (pretrained models)"
_MIIL = "https://miil-public-eu.oss-eu-central-1.aliyuncs.com/model-zoo"
_EAGEM = "https://github.com/wubaoyuan/adversarial-attack-to-caption (pretrained models)"

CHECKPOINTS = (
    Checkpoint("resnet18-f37072fd.pth", "resnet18", _PYTORCH, "f37072fd"),
    Checkpoint("resnet34-b627a593.pth", "resnet34", _PYTORCH, "b627a593"),
    Checkpoint("resnet50-0676ba61.pth", "resnet50", _PYTORCH, "0676ba61"),
    Checkpoint("resnet101-63fe2227.pth", "resnet101", _PYTORCH, "63fe2227"),
    Checkpoint("resnet152-394f9c45.pth", "resnet152", _PYTORCH, "394f9c45"),
    Checkpoint("inception_v3_google-0cc3c7bd.pth", "inception-v3-imagenet", _PYTORCH, "0cc3c7bd"),
    Checkpoint("mobilenet_v2-b0353104.pth", "mobilenet-v2-torchvision", _PYTORCH, "b0353104"),
    Checkpoint("mobilenet_v2-7ebf99e0.pth", "mobilenet-v2-torchvision", _PYTORCH, "7ebf99e0"),
    Checkpoint("vit_b_16-c867db91.pth", "vit-b16", _PYTORCH, "c867db91"),
    Checkpoint("resnet20-12fca82f.th", "resnet20-cifar", _CIFAR, "12fca82f"),
    Checkpoint("resnet32-d509ac18.th", "resnet32-cifar", _CIFAR, "d509ac18"),
    Checkpoint("resnet56-4bfd9763.th", "resnet56-cifar", _CIFAR, "4bfd9763"),
    Checkpoint("MS_COCO_TRresNet_M_224_81.8.pth", "tresnet-m-224", f"{_MIIL}/ASL"),
    Checkpoint("MS_COCO_TRresNet_L_448_86.6.pth", "tresnet-l", f"{_MIIL}/ASL"),
    Checkpoint("tresnet_m_COCO_224_84_2.pth", "ml-decoder-tresnet-m", f"{_MIIL}/ML_Decoder"),
    Checkpoint("tresnet_l_COCO__448_90_0.pth", "ml-decoder-tresnet-l", f"{_MIIL}/ML_Decoder"),
    Checkpoint("resnet101.pth", "att2in2-resnet101 (backbone)", _RUOTIANLUO),
    Checkpoint("model-best.pth", "att2in2-resnet101 (decoder)", _RUOTIANLUO),
    Checkpoint("model-best.pth", "show-attend-tell-resnet101 (decoder)", _EAGEM),
    Checkpoint("model-best.pth", "show-tell-inception-v3 (decoder)", _EAGEM),
    Checkpoint(
        "model.ckpt-2000000",
        "show-tell-im2txt",
        "https://github.com/KranthiGV/Pretrained-Show-and-Tell-model",
    ),
    Checkpoint(
        "imagenet-vgg-f.mat",
        "dcmh, ssah (mean image)",
        "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-f.mat",
    ),
)
