from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxadv.victims.nets.mobilenet_v2 import LAYERS, MEAN, STD, MobileNetV2, load_mobilenet_v2

DATA = Path(__file__).parents[4] / "shared" / "data"
WEIGHTS = DATA / "mobilenet_v2" / "mobilenet_v2_1.0_224.npz"
PICTURES = DATA / "labelled_pictures"
needs_data = pytest.mark.skipif(
    not (WEIGHTS.exists() and PICTURES.exists()),
    reason="needs the weights and the pictures of ../shared/data",
)


@needs_data
def test_photographs_are_recognised():
    variables = load_mobilenet_v2(WEIGHTS)
    paths = sorted(PICTURES.glob("imagenet_*.jpg"))
    images = [Image.open(p).resize((224, 224), Image.Resampling.BILINEAR) for p in paths]
    batch = (np.stack([np.asarray(i, np.float32) / 255 for i in images]) - MEAN) / STD
    scores = MobileNetV2().apply(variables, jnp.asarray(batch, jnp.float32), method="logits")
    labels = np.array([int(path.stem.split("_")[-1]) for path in paths])
    assert scores.shape == (10, 1001)
    assert (np.asarray(scores).argmax(-1) == labels + 1).sum() >= 8


@needs_data
@pytest.mark.parametrize("shape", [(64, 64), (97, 75)], ids=str)
def test_every_layer_is_that_of_pytorch(reference, shape):
    images = np.random.default_rng(0).uniform(-1, 1, (1, *shape, 3)).astype(np.float32)
    with np.load(WEIGHTS, allow_pickle=False) as archive:
        expected = reference.mobilenet_v2(dict(archive), images)
    with jax.default_matmul_precision("highest"):
        scores, state = MobileNetV2().apply(
            load_mobilenet_v2(WEIGHTS), images, method="logits", capture_intermediates=True
        )
    found = state["intermediates"]
    for index, output in enumerate(expected):
        (layer,) = found[f"conv_{index:02d}"]["__call__"]
        assert reference.largest_difference(np.asarray(layer), output) < 1e-4, index
    assert reference.largest_difference(np.asarray(scores), expected[52][:, 0, 0]) < 1e-4
    (grid,) = found["__call__"]
    assert reference.largest_difference(np.asarray(grid), expected[51].clip(0, 6)) < 1e-4


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
def test_shapes(batch):
    images = jax.ShapeDtypeStruct((*batch, 224, 224, 3), jnp.float32)
    key = jax.random.key(0)
    net = MobileNetV2()
    grid, _ = jax.eval_shape(net.init_with_output, key, images)
    scores, variables = jax.eval_shape(
        lambda x: net.init_with_output(key, x, method="logits"), images
    )
    assert grid.shape == (*batch, 7, 7, 1280)
    assert scores.shape == (*batch, 1001)
    assert list(variables["params"]) == [f"conv_{index:02d}" for index in range(53)]
    for layer, params in zip(LAYERS, variables["params"].values(), strict=True):
        assert params["kernel"].shape == layer.kernel_shape


def test_normalisation_is_tensorflows():
    np.testing.assert_allclose(
        (np.array([[0.0], [128 / 255], [1.0]]) - MEAN) / STD, [[-1] * 3, [0] * 3, [127 / 128] * 3]
    )


def _entries() -> dict[str, np.ndarray]:
    entries = {}
    for index, layer in enumerate(LAYERS):
        height, width, inputs, features = layer.kernel_shape
        entries[f"{index:02d}.weight"] = np.zeros((features, inputs, height, width), np.float32)
        entries[f"{index:02d}.bias"] = np.zeros(features, np.float32)
        entries[f"{index:02d}.meta"] = np.array([layer.stride, layer.groups, 0, 6], np.float32)
    return entries


def _delete(entries):
    del entries["03.weight"], entries["51.meta"]


def _add(entries):
    entries["53.weight"] = np.zeros(1)


def _reshape(entries):
    entries["01.weight"] = entries["01.weight"].transpose(1, 0, 2, 3)
    entries["10.meta"] = np.zeros(2)


def _restride(entries):
    entries["04.meta"][0] = 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_delete, ["03.weight is missing", "51.meta is missing"]),
        (_add, ["53.weight is unknown"]),
        (_reshape, ["01.weight has shape (1, 32, 3, 3), not (32, 1, 3, 3)", "10.meta has shape"]),
        (_restride, ["04.meta has stride and groups (1.0, 96.0), not (2, 96)"]),
    ],
)
def test_malformed_weights_are_refused_by_name(tmp_path, change, named):
    entries = _entries()
    change(entries)
    np.savez(tmp_path / "weights.npz", **entries)
    with pytest.raises(ValueError, match="is not MobileNetV2") as error:
        load_mobilenet_v2(tmp_path / "weights.npz")
    assert all(text in str(error.value) for text in named)
    assert str(error.value).count(";") == len(named) - 1
