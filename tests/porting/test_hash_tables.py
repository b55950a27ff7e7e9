"""Hashers as their authors' frameworks store them, ported, are the same networks: codes, gradients.

Each comparison is made in single and in double precision, on pictures and on bags of words.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from porting.hash_parity import (
    BITS,
    GRID,
    SIDE,
    UNITS,
    WIDTH,
    WORDS,
    assert_same,
    bags,
    file_of,
    layers_of,
    mean_of,
    pictures,
    shapes,
    torch,
)

from jaxadv.formats.errors import PortingError
from jaxadv.porting import hash_tables
from jaxadv.porting.port import port, save
from jaxadv.porting.readers import read
from jaxadv.victims import architectures, zoo
from jaxadv.victims.architectures import HasherArchitecture
from jaxadv.victims.nets.dcmh import DCMH
from jaxadv.victims.nets.hash_net import PooledFeatures
from jaxadv.victims.nets.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet
from jaxadv.victims.nets.response_norm import PYTORCH_RESPONSE
from jaxadv.victims.nets.ssah import RELEASED_WINDOWS, SSAH
from jaxadv.victims.nets.vgg_f import VggF

# ---------------------------------------------------------------- DCMH


def test_dcmh_of_pytorch(hashers, dtype, tmp_path):
    rng, mean = np.random.default_rng(5), mean_of(dtype)
    seen = hashers.ImgModule(WIDTH, UNITS, GRID, BITS, mean).to(torch.from_numpy(mean).dtype)
    said = hashers.TxtModule(WORDS, 40, BITS).to(seen.mean.dtype)
    files = [tmp_path / "image_model.pth", tmp_path / "text_model.pth"]
    for module, file in zip((seen, said), files, strict=True):
        for key, value in module.state_dict().items():
            draw = hashers.bias if key.endswith("bias") else hashers.kernel
            transposed = draw(rng, tuple(value.shape)[::-1], dtype)
            value.copy_(torch.from_numpy(transposed.T.copy()))
        torch.save(module.state_dict(), file)
    mat_file = file_of(tmp_path, layers_of(hashers, dtype), mean)
    arrays = read(files[0]) | read(files[1])
    arrays |= hash_tables.mean_image(read(mat_file), str(mat_file))

    features = VggF(SIDE, WIDTH, UNITS, response=PYTORCH_RESPONSE)
    net = DCMH(features, BITS, units=40)
    variables, _ = hash_tables.fit_dcmh(arrays, shapes(net, dtype), "files", "pytorch")
    assert_same(
        lambda image: net.apply(variables, image, method="image_code"),
        lambda images: seen(255 * images.permute(0, 3, 2, 1)),
        pictures(dtype),
    )
    assert_same(
        lambda bag: net.apply(variables, bag, method="text_code"),
        lambda bags: said(bags[:, None, :, None]),
        bags(dtype),
    )


def test_dcmh_of_tensorflow(hashers, dtype):
    rng, mean, layers = np.random.default_rng(6), mean_of(dtype), layers_of(hashers, dtype)
    texts = [
        hashers.kernel(rng, (1, WORDS, 1, 40), dtype),
        hashers.bias(rng, (1, 40), dtype),
        hashers.kernel(rng, (1, 1, 40, BITS), dtype),
        hashers.bias(rng, (1, BITS), dtype),
    ]
    stored = hashers.tensorflow_cnn_f(layers)
    stored |= {"w20": hashers.kernel(rng, (UNITS, BITS), dtype)}
    stored |= {"bias20": hashers.bias(rng, (BITS,), dtype)}
    net = DCMH(VggF(SIDE, WIDTH, UNITS), BITS, units=40)
    arrays = stored | hashers.unnamed(texts) | {hash_tables.MEAN_IMAGE: mean}
    variables, _ = hash_tables.fit_dcmh(arrays, shapes(net, dtype), "file", "tensorflow")

    def theirs(images):
        seen = hashers.tensorflow_features(stored, layers, 255 * images - torch.from_numpy(mean))
        return hashers.linear(seen, stored["w20"], stored["bias20"])

    ours = partial(net.apply, variables, method="image_code")
    assert_same(ours, theirs, pictures(dtype))
    assert_same(
        partial(net.apply, variables, method="text_code"),
        lambda bags: hashers.dcmh_texts(texts, bags),
        bags(dtype),
    )


# ---------------------------------------------------------------- SSAH

TOPICS, SEMANTIC, HIDDEN = 7, 24, 48


def ssah_variables(hashers, words, dtype):
    """Variables of the label network and of the text network, in the order of creation."""
    rng = np.random.default_rng(7)

    def network(first):
        sizes = [(first, HIDDEN), ((1, 1, HIDDEN), SEMANTIC)]
        sizes += [((1, 1, SEMANTIC), BITS), ((1, 1, SEMANTIC), TOPICS)]
        for shape, units in sizes:
            yield hashers.kernel(rng, (*shape, units), dtype)
            yield hashers.bias(rng, (1, units), dtype)

    scales = [np.full((1, 1, 1, 1), w, dtype) for w in (1.5, -0.7, 0.4, 2, 0.9)]  # one is dead
    return list(network((1, TOPICS, 1))), [*scales, *network((1, words, 6))]


def ssah_pictures(hashers, layers, dtype):
    rng = np.random.default_rng(8)
    variables = hashers.tensorflow_cnn_f(layers)
    gains = {20: 0.02, 21: 1, 22: 1}  # what comes from CNN-F is large
    for place, shape in ((20, (UNITS, SEMANTIC)), (21, (SEMANTIC, BITS)), (22, (SEMANTIC, TOPICS))):
        variables[f"w{place}"] = hashers.kernel(rng, (1, 1, *shape), dtype, gains[place])
        variables[f"bias{place}"] = hashers.bias(rng, shape[1:], dtype)
    return variables


def useless(dtype):
    """What else is saved: discriminators, twice for want of sharing, and an optimiser's slots."""
    names = [
        f"disnet_{kind}{again}/disnet_{kind}_{layer}/Variable{number}"
        for kind in ("IL", "TL")
        for again in ("", "_1")
        for layer in ("fc1", "fc2", "out")
        for number in ("", "_1")
    ]
    names += ["w0/Adam", "Variable_13/Adam_1", "beta1_power", "beta2_power_3"]
    return {name: np.zeros(2, dtype) for name in names}


# 157 words leave a remainder at every width of the release.
@pytest.mark.parametrize(
    ("words", "windows"),
    [(157, RELEASED_WINDOWS), (WORDS, (1, 2, 3, 5, 10))],
    ids=["release", "paper"],
)
def test_ssah_of_tensorflow(hashers, dtype, words, windows):
    mean, layers = mean_of(dtype), layers_of(hashers, dtype)
    labels, texts = ssah_variables(hashers, words, dtype)
    images = ssah_pictures(hashers, layers, dtype)
    net = SSAH(VggF(SIDE, WIDTH, UNITS), BITS, TOPICS, SEMANTIC, HIDDEN, windows)
    arrays = images | hashers.unnamed([*labels, *texts]) | useless(dtype)
    arrays[hash_tables.MEAN_IMAGE] = mean
    variables, _ = hash_tables.fit_ssah(arrays, shapes(net, dtype, words=words), "file")
    assert not arrays

    def ours(method):
        return lambda example: jnp.concatenate(net.apply(variables, example, method=method))

    assert_same(
        ours("image_semantics"),
        lambda x: torch.cat(
            hashers.ssah_images(images, layers, 255 * x - torch.from_numpy(mean)), 1
        ),
        pictures(dtype),
    )
    assert_same(
        ours("text_semantics"),
        lambda x: torch.cat(hashers.ssah_texts(texts, x, windows[::-1]), 1),
        bags(dtype, words=words),
    )
    assert_same(
        ours("label_semantics"),
        lambda x: torch.cat(hashers.ssah_labels(labels, x), 1),
        bags(dtype, words=TOPICS),
    )
    code = net.apply(variables, pictures(dtype)[0], method="image_code")
    assert np.median(np.abs(code)) < 0.9  # its tanh lets gradients through


def test_what_does_not_fit_is_named(hashers):
    layers = layers_of(hashers, np.float32)
    labels, texts = ssah_variables(hashers, WORDS, np.float32)
    net = SSAH(VggF(SIDE, WIDTH, UNITS), BITS, TOPICS, SEMANTIC, HIDDEN)
    arrays = ssah_pictures(hashers, layers, np.float32) | hashers.unnamed([*labels, *texts])
    arrays |= {"w20": np.zeros(()), "surplus": np.zeros(2)}
    del arrays["Variable_8"]
    with pytest.raises(PortingError) as caught:
        hash_tables.fit_ssah(arrays, shapes(net, np.float32), "model.ckpt")
    line = str(caught.value)
    missing = f"2 missing: 'Variable_8', '{hash_tables.MEAN_IMAGE}'"
    for part in (missing, "1 unexpected: 'surplus' (2,)", "'w20' () is (1, 1)"):
        assert part in line


# ---------------------------------------------------------------- DCMH+ and SSAH+


@pytest.fixture
def resnet():
    """A small ResNet with batch statistics that matter, and its pooled features."""
    from victims.nets import torch_definitions

    with torch.no_grad():
        net = torch_definitions.ResNet((1, 1, 1, 1), bottleneck=False).eval()
        torch_definitions.randomise(net, seed=9)
    net.fc = torch.nn.Linear(512, 1000)  # saved with the rest, and of no use

    def features(images):
        mean, std = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
        return net(((images - mean) / std).permute(0, 3, 1, 2)).mean((2, 3))

    return net, features


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("DCMH+", "float32"), ("DCMH+", "float64"), ("SSAH+", "float64")],
    indirect=["dtype"],
)
def test_resnet_in_place_of_cnn_f(hashers, resnet, dtype, kind, tmp_path):
    module, features = resnet
    module.to(torch.from_numpy(np.zeros(1, dtype)).dtype)
    torch.save(module.state_dict(), tmp_path / "resnet50.pth")
    pooled = PooledFeatures(ResNet((1, 1, 1, 1), bottleneck=False))
    net = DCMH(pooled, BITS, 40) if kind == "DCMH+" else SSAH(pooled, BITS, TOPICS, SEMANTIC)
    tree = shapes(net, dtype)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    part = {collection: tree[collection]["features"] for collection in ("params", "batch_stats")}
    fitted, _ = hash_tables.fit_pooled(read(tmp_path / "resnet50.pth"), part, "resnet50.pth")
    for collection in part:
        variables[collection]["features"] = fitted[collection]
    rng = np.random.default_rng(10)
    if kind == "DCMH+":
        weight, added = hashers.kernel(rng, (512, BITS), dtype), hashers.bias(rng, (BITS,), dtype)
        variables["params"]["image_hash"] = {"kernel": weight, "bias": added}

        def code(seen):
            return hashers.linear(seen, weight, added)
    else:
        sizes = {"semantic": (512, SEMANTIC), "hash": (SEMANTIC, BITS)}
        heads = {
            name: {
                "kernel": hashers.kernel(rng, shape, dtype, 0.2),
                "bias": hashers.bias(rng, shape[1:], dtype),
            }
            for name, shape in sizes.items()
        }
        variables["params"]["image"] |= heads

        def code(seen):
            for name, activate in (("semantic", torch.relu), ("hash", torch.tanh)):
                seen = activate(hashers.linear(seen, heads[name]["kernel"], heads[name]["bias"]))
            return seen

    assert_same(
        partial(net.apply, variables, method="image_code"),
        lambda images: code(features(images)),
        pictures(dtype),
    )


def test_tables_are_for_cnn_f_alone():
    net = DCMH(PooledFeatures(ResNet((1,), bottleneck=False)), BITS, 40)
    with pytest.raises(PortingError, match=r"hold no .*features/backbone/bn1"):
        hash_tables.fit_dcmh({}, shapes(net, np.float32), "file", "pytorch")


# ---------------------------------------------------------------- whole files


def test_files_of_a_hasher_port_together(hashers, tmp_path, monkeypatch):
    """Bits, tags and classes are read off the files; the mean image comes from CNN-F's own."""
    small = {"vgg-f": lambda side: VggF(SIDE, WIDTH, UNITS)}
    monkeypatch.setattr(architectures, "FEATURES", {**architectures.FEATURES, **small})
    dtype = np.dtype("float32")
    mean, layers = mean_of(dtype), layers_of(hashers, dtype)
    labels, texts = ssah_variables(hashers, WORDS, dtype)
    stored = ssah_pictures(hashers, layers, dtype) | hashers.unnamed([*labels, *texts])
    np.savez(tmp_path / "ssah.npz", **stored)
    files = [tmp_path / "ssah.npz", file_of(tmp_path, layers, mean)]
    sizes = {"units": HIDDEN, "semantic": SEMANTIC, "side": SIDE}
    architecture = HasherArchitecture("ssah", "vgg-f", **sizes)
    names = {"classes": tuple("abcdefg")}
    ported = port(files, architecture, names)
    assert ported.architecture.bits == BITS
    assert ported.names["classes"] == names["classes"] and len(ported.names["tags"]) == WORDS

    save(tmp_path / "mine", ported)
    loaded = zoo.load(str(tmp_path / "mine"))
    net = SSAH(VggF(SIDE, WIDTH, UNITS), BITS, TOPICS, SEMANTIC, HIDDEN)
    arrays = {**stored, hash_tables.MEAN_IMAGE: mean}
    tree = ported.architecture.shapes(ported.names)
    variables, _ = hash_tables.fit_ssah(arrays, tree, "file")
    bag, picture = jnp.asarray(bags(dtype)[0]), jnp.asarray(pictures(dtype)[0])
    found = loaded.hasher.text_code(loaded.params, bag)
    np.testing.assert_allclose(found, net.apply(variables, bag, method="text_code"), atol=1e-6)
    found = loaded.hasher.image_code(loaded.params, picture)
    np.testing.assert_allclose(found, net.apply(variables, picture, method="image_code"), atol=1e-6)
    with pytest.raises(PortingError, match="not a checkpoint of dcmh"):
        port(files[1:], HasherArchitecture("dcmh", "vgg-f", **sizes))
