"""What PyTorch's definitions make of two pictures, stored for machines without PyTorch.

`python tests/porting/make_references.py` rewrites `references/`. Checkpoints: a tiny Caffe-style
ResNet with a classifier's head, every decoder over it, im2txt with a thin Inception-v3, a small
CNN-F and hashers over it. Of every network: the pictures and what comes of them.
"""

import sys
from pathlib import Path

import numpy as np

from jaxadv.victims.nets.ssah import RELEASED_WINDOWS

FOLDER = Path(__file__).parent / "references"
STAGES, WIDTH, CHANNELS = (1, 1, 1, 1), 2, 64
WORDS, UNITS, LENGTH = 12, 8, 6
SIDE, BLOCK = 64, 8  # pixels of a picture, and of its squares of one colour
CLASSES = 7

#: Decoder: side of the grid that it attends to, where it does.
GRIDS = {
    "show-tell": None,
    "show-attend-tell": 3,
    "att2in": 3,
    "att2in2": 3,
    "fc": None,
    "newfc": None,
    "im2txt": None,
}
#: Decoders of the days of PyTorch 0.2, saved as it did: under random keys, so again each time.
LEGACY = ("show-tell", "show-attend-tell")

#: im2txt's pictures, and the rows of `<S>` and `</S>`.
IM2TXT_SIDE, BEGIN, END = 107, 2, 5
BUNDLE = "im2txt.ckpt-1"

#: The hashers' CNN-F, and what is over it.
HASH_SIDE, HASH_WIDTH, HASH_UNITS, HASH_GRID = 96, 4, 12, 2
TAGS, BITS, HIDDEN, SEMANTIC = 63, 16, 16, 12
#: Hasher: the files that its authors' programs would leave; each needs CNN-F's for its mean image.
CNN_F = "imagenet-vgg-f.mat"
HASHERS = {
    "dcmh-pytorch": ("dcmh-image.pth", "dcmh-text.pth"),
    "dcmh-tensorflow": ("dcmh-variables.npz",),
    "ssah-tensorflow": ("ssah-variables.npz",),
}


def thin(channels: int) -> int:
    """How many of a layer's channels are left in the thin Inception-v3."""
    return max(4, channels // 32)


def write(folder: Path) -> None:
    """Write the checkpoints, and per network an archive.

    Of all, `pictures` u8[2, H, W, 3] and the `gradient` by one pixel of each square
    f[2, h, w, 3] and its norm by all, `gradient_norm` f[2].

    Captioners: of each picture its `cells` f[cells, C]; over three captions `tokens` i[3, T] the
    `log_probabilities` f[2, 3, T, V]; the `greedy` caption i[2, T]. The gradient is that of the
    first caption's log-probability.

    The others: their `outputs` f[2, K], logits or codes, of whose sum the gradient is. Hashers:
    of the `bags` f[2, tags] their `text_codes` f[2, K], and the `text_gradient` f[2, tags].
    """
    import torch
    from victims.nets import torch_definitions

    backbone = torch_definitions.ResNet(STAGES, bottleneck=True, caffe=True, width=WIDTH).eval()
    with torch.no_grad():
        torch_definitions.randomise(backbone, seed=0)
    rng = np.random.default_rng(0)
    pictures = _pictures(rng, SIDE)
    _write_captioners(folder, backbone, pictures, rng)
    _write_classifier(folder, backbone, pictures)
    _write_im2txt(folder)
    _write_hashers(folder)


def _pictures(rng, side, count=2, low=0, high=256):
    """Pictures of squares of one colour, the last of which may be cut."""
    squares = rng.integers(low, high, (count, -(-side // BLOCK), -(-side // BLOCK), 3), np.uint8)
    return squares.repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :side, :side]


def _write_captioners(folder, backbone, pictures, rng):
    import torch
    from porting.torch_captioners import MODELS, randomise, see

    tokens = rng.integers(0, WORDS + 1, (3, LENGTH))
    for name, model in MODELS.items():
        decoder = model(WORDS + 1, UNITS, CHANNELS).eval()
        randomise(decoder, seed=0, feature_size=8)
        zipped = name not in LEGACY
        file = folder / f"{name}.pth"
        torch.save(decoder.state_dict(), file, _use_new_zipfile_serialization=zipped)

        def look(image, grid=GRIDS[name]):
            cells = see(backbone, image, grid)
            return cells, cells

        _write_captions(folder / f"{name}.npz", look, decoder, pictures, tokens)


def _write_im2txt(folder):
    import torch
    from porting.test_im2txt import write_bundle
    from porting.torch_im2txt import ShowAndTell

    rng = np.random.default_rng(2)
    pictures = _pictures(rng, IM2TXT_SIDE)
    tokens = rng.integers(1, WORDS + 1, (3, LENGTH))  # none of them the end
    net = ShowAndTell(WORDS + 1, UNITS, BEGIN, END, seed=1)
    wide = net.inception.conv
    net.inception.conv = lambda x, scope, depth, *rest: wide(x, scope, thin(depth), *rest)
    net.embedded(torch.zeros(IM2TXT_SIDE, IM2TXT_SIDE, 3))  # makes the variables
    for name, value in net.variables.values.items():
        if name.startswith("InceptionV3/") and name.endswith("/weights"):
            value *= 1.2  # so few channels lose contrast
    net.variables.values["image_embedding/weights"] *= 2

    def look(image):
        grid = net.inception(((image - 0.5) * 2).permute(2, 0, 1)[None])[0]
        return grid.flatten(1).T, net.embedded(image)

    rows = [END, *(row for row in range(WORDS + 1) if row != END)]
    _write_captions(folder / "im2txt.npz", look, net, pictures, tokens, rows)
    arrays = {name: value.numpy() for name, value in net.variables.values.items()}
    write_bundle(folder / BUNDLE, arrays | {"global_step": np.array(1)})


def _write_captions(file, look, decoder, pictures, tokens, rows=range(WORDS + 1)):
    """Write what comes of pictures; `rows` are the decoder's numbers of ours.

    `look` gives an image's cells, and what the decoder takes.
    """
    import torch

    found = []
    for picture in pictures:
        image = torch.from_numpy(picture.astype(np.float32) / 255).requires_grad_()
        cells, seen = look(image)
        captions = torch.tensor(rows)[tokens]
        scores = torch.stack([decoder.log_probabilities(seen, caption) for caption in captions])
        scores = scores[..., list(rows)]
        scores[0][torch.arange(LENGTH), torch.from_numpy(tokens[0])].sum().backward()
        said = [rows.index(row) for row in decoder.greedy(seen, LENGTH)]
        found.append(
            {
                "cells": cells.detach().numpy(),
                "log_probabilities": scores.detach().numpy(),
                "greedy": np.array(said + [0] * (LENGTH - len(said))),
                "gradient": image.grad[::BLOCK, ::BLOCK].numpy(),
                "gradient_norm": image.grad.norm().numpy(),
            }
        )
    arrays = {key: np.stack([one[key] for one in found]) for key in found[0]}
    np.savez_compressed(file, pictures=pictures, tokens=tokens, **arrays)


def _write_classifier(folder, backbone, pictures):
    """Write the backbone with its head, which captioners leave out, as torchvision saves both."""
    import torch
    from porting.torch_captioners import see

    head = torch.nn.Linear(CHANNELS, CLASSES)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for value in head.parameters():
            value.copy_(torch.from_numpy(rng.normal(0, 0.2, tuple(value.shape))))
    entries = {f"fc.{name}": value for name, value in head.state_dict().items()}
    torch.save({**backbone.state_dict(), **entries}, folder / "backbone.pth")

    def logits(images):
        return head(torch.stack([see(backbone, image).mean(0) for image in images]))

    np.savez_compressed(folder / "classifier.npz", **_seen(logits, pictures))


def _differentiate(function, inputs):
    """Outputs f[2, K], and the gradient of their sum."""
    import torch

    x = torch.from_numpy(inputs).requires_grad_()
    outputs = function(x)
    outputs.sum().backward()
    return outputs.detach().numpy(), x.grad.numpy()


def _seen(function, pictures):
    outputs, gradient = _differentiate(function, pictures.astype(np.float32) / 255)
    return {
        "pictures": pictures,
        "outputs": outputs,
        "gradient": gradient[:, ::BLOCK, ::BLOCK],
        "gradient_norm": np.linalg.norm(gradient.reshape(len(pictures), -1), axis=1),
    }


def _write_hashers(folder):
    import torch
    from porting.hash_parity import mat
    from victims.nets import torch_hashers as hashers

    rng, dtype = np.random.default_rng(3), np.float32
    pictures = _pictures(rng, HASH_SIDE)
    bags = rng.integers(0, 2, (2, TAGS)).astype(dtype)
    mean = _pictures(rng, HASH_SIDE, 1, 80, 150)[0].astype(dtype)

    def cnn_f():
        return hashers.cnn_f_layers(HASH_WIDTH, HASH_UNITS, HASH_GRID, CLASSES, rng, dtype)

    def save(name, see, read):
        found = _seen(lambda images: see(255 * images), pictures)
        codes, gradient = _differentiate(read, bags)
        texts = {"bags": bags, "text_codes": codes, "text_gradient": gradient}
        np.savez_compressed(folder / f"{name}.npz", **found, **texts)

    layers = cnn_f()
    (folder / CNN_F).write_bytes(mat(layers, mean, old=False, do_compression=True))
    centre = torch.from_numpy(mean)
    found = _seen(lambda images: hashers.simplenn(layers, 255 * images - centre), pictures)
    np.savez_compressed(folder / "vgg-f.npz", **found)

    image = hashers.ImgModule(HASH_WIDTH, HASH_UNITS, HASH_GRID, BITS, mean)
    text = hashers.TxtModule(TAGS, HIDDEN, BITS)
    for module, file in zip((image, text), HASHERS["dcmh-pytorch"], strict=True):
        for key, value in module.state_dict().items():
            draw = hashers.bias if key.endswith("bias") else hashers.kernel
            transposed = draw(rng, tuple(value.shape)[::-1], dtype)
            value.copy_(torch.from_numpy(transposed.T.copy()))
        torch.save(module.state_dict(), folder / file)
    save(
        "dcmh-pytorch", lambda x: image(x.permute(0, 3, 2, 1)), lambda x: text(x[:, None, :, None])
    )

    def network(*shapes):
        """Kernels and biases in turn."""
        return [
            array
            for shape in shapes
            for array in (
                hashers.kernel(rng, shape, dtype),
                hashers.bias(rng, (1, shape[-1]), dtype),
            )
        ]

    def head(place, units, outputs, gain=1.0):
        weights = hashers.kernel(rng, (1, 1, units, outputs), dtype, gain)
        return {f"w{place}": weights, f"bias{place}": hashers.bias(rng, (outputs,), dtype)}

    layers = cnn_f()
    images = hashers.tensorflow_cnn_f(layers) | head(20, HASH_UNITS, BITS)
    texts = network((1, TAGS, 1, HIDDEN), (1, 1, HIDDEN, BITS))
    np.savez(folder / HASHERS["dcmh-tensorflow"][0], **images, **hashers.unnamed(texts))

    def code(x):
        features = hashers.tensorflow_features(images, layers, x - centre)
        return hashers.linear(features, images["w20"], images["bias20"])

    save("dcmh-tensorflow", code, lambda bags: hashers.dcmh_texts(texts, bags))

    layers = cnn_f()
    images = hashers.tensorflow_cnn_f(layers) | head(20, HASH_UNITS, SEMANTIC, 0.02)  # is large
    images |= head(21, SEMANTIC, BITS) | head(22, SEMANTIC, CLASSES)
    heads = (1, 1, HIDDEN, SEMANTIC), (1, 1, SEMANTIC, BITS), (1, 1, SEMANTIC, CLASSES)
    labels = network((1, CLASSES, 1, HIDDEN), *heads)
    scales = [np.full((1, 1, 1, 1), scale, dtype) for scale in (1.5, -0.7, 0.4, 2, 0.9)]
    texts = [*scales, *network((1, TAGS, 1 + len(scales), HIDDEN), *heads)]
    variables = images | hashers.unnamed([*labels, *texts])
    np.savez(folder / HASHERS["ssah-tensorflow"][0], **variables)
    save(
        "ssah-tensorflow",
        lambda x: hashers.ssah_images(images, layers, x - centre)[1],
        lambda bags: hashers.ssah_texts(texts, bags, RELEASED_WINDOWS[::-1])[1],
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER)
