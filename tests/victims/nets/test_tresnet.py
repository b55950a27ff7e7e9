"""TResNets and ML-Decoder: beside timm, their sizes, and as victims of an attack."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.ported import assert_same_logits

from jaxadv.core.run import run
from jaxadv.labels.judging import label_optimiser
from jaxadv.labels.target import LabelTarget
from jaxadv.labels.tkmia import tkmia
from jaxadv.porting.port import port
from jaxadv.victims import architectures, check
from jaxadv.victims.architectures import ClassifierArchitecture, VictimError
from jaxadv.victims.nets.ml_decoder import FIXED, MLDecoder
from jaxadv.victims.nets.tresnet import TResNet, tresnet_l, tresnet_l_v2, tresnet_m

LAYOUTS = Path(__file__).parents[2] / "porting" / "stored" / "tresnet_layouts.json"
CLASSES = tuple("abcdefg")
BLOCKS, WIDTH = (1, 1, 2, 1), 16  # of "tresnet-small"


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
@pytest.mark.parametrize(
    ("net", "grid", "parameters"),
    [
        # timm's counts without the classifier
        pytest.param(tresnet_m(), (7, 7, 2048), 29_340_032, id="m"),
        pytest.param(tresnet_l(), (7, 7, 2432), 53_556_256, id="l"),
        pytest.param(tresnet_l_v2(), (7, 7, 2048), 44_125_824, id="l-v2"),
    ],
)
def test_grid_and_published_parameter_count(net, grid, parameters, batch):
    images = jax.ShapeDtypeStruct((*batch, 224, 224, 3), jnp.float32)
    features, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert features.shape == (*batch, *grid)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=["one", "batch", "batches"])
@pytest.mark.parametrize(
    ("classes", "pooling"),
    [(5, (5, 768, 1)), (80, (80, 768, 1)), (100, (100, 768, 1)), (250, (100, 768, 3))],
)
def test_sizes_of_ml_decoder(classes, pooling, batch):
    grid = jax.ShapeDtypeStruct((*batch, 3, 5, 2048), jnp.float32)
    logits, variables = jax.eval_shape(MLDecoder(classes).init_with_output, jax.random.key(0), grid)
    assert logits.shape == (*batch, classes)
    assert variables["params"]["pooling"].shape == pooling
    assert variables[FIXED]["queries"].shape == pooling[:2]


def test_sides_are_multiples_of_four():
    with pytest.raises(architectures.InputError, match="multiples of 4"):
        TResNet(BLOCKS, WIDTH).init(jax.random.key(0), jnp.zeros((34, 32, 3)))


def test_an_unknown_head_is_refused():
    with pytest.raises(VictimError, match="unknown head 'mlp': must be one of linear, ml-decoder"):
        ClassifierArchitecture("tresnet-small", 64, "mlp")


# ---------------------------------------------------------------- beside timm


def test_stored_layouts_are_those_of_timm(timm_tresnet, torch):
    """Every tensor of 80 classes, by timm's names."""
    with LAYOUTS.open() as file:
        stored = json.load(file)
    made = {"tresnet-m": "tresnet_m", "tresnet-l": "tresnet_l", "tresnet-l-v2": "tresnet_v2_l"}
    assert stored.keys() == made.keys()
    for name, variant in made.items():
        with torch.device("meta"):
            net = getattr(timm_tresnet, variant)(num_classes=80)
        shapes = {n: list(v.shape) for n, v in net.state_dict().items()}
        counters = {n for n in shapes if n.endswith("num_batches_tracked")}
        assert stored[name] == {n: s for n, s in shapes.items() if n not in counters}


@pytest.mark.parametrize(
    ("second", "side"), [(False, 36), (True, 64)], ids=["first, odd grids", "second, even grids"]
)
def test_logits_and_input_gradients_are_those_of_timm(
    timm_tresnet, reference, torch, tmp_path, monkeypatch, second, side
):
    """With random running statistics."""
    net = timm_tresnet.TResNet(
        list(BLOCKS), num_classes=len(CLASSES), width_factor=WIDTH / 64, v2=second
    )
    with torch.no_grad():
        reference.randomise(net, seed=1)
        net.head.fc.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    small = architectures.BACKBONES["tresnet-small"]
    made = small._replace(make=lambda: TResNet(BLOCKS, WIDTH, second))
    monkeypatch.setitem(architectures.BACKBONES, "tresnet-small", made)
    ported = port([tmp_path / "net.pth"], ClassifierArchitecture("tresnet-small", side))

    pictures = np.random.default_rng(0).uniform(size=(2, side, side, 3))
    assert_same_logits(ported, net, torch, pictures)


# ---------------------------------------------------------------- as victims


@functools.cache
def victim(head):
    """A small tagger with random weights, and running statistics as if it had been trained."""
    made = ClassifierArchitecture("tresnet-small", 32, head)
    net = made.network(len(CLASSES))
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(made.image_shape))
    shown = jnp.asarray(np.random.default_rng(3).uniform(size=(8, *made.image_shape)), jnp.float32)
    see = jax.jit(lambda v: net.apply(v, shown, train=True, mutable=["batch_stats"])[1])
    for _ in range(20):
        variables = {**variables, **see(variables)}
    return made.functions({"classes": CLASSES}), variables


HEADS = pytest.mark.parametrize("head", ["linear", "ml-decoder"])


@HEADS
def test_nothing_keeps_it_from_being_attacked(head):
    assert check(*victim(head)) == []


@HEADS
def test_tkmia_moves_the_first_labels(head):
    tagger, params = victim(head)
    pictures = np.random.default_rng(1).uniform(size=(2, *tagger.image_shape))
    images = jnp.asarray(pictures, jnp.float32)
    first = [np.argsort(-np.asarray(tagger.logits(params, image))) for image in images]
    targets = [
        LabelTarget(
            relevant=jnp.isin(jnp.arange(len(CLASSES)), order[:4]),
            specified=jnp.isin(jnp.arange(len(CLASSES)), order[:1]),
            k=jnp.asarray(1, jnp.int32),
        )
        for order in first
    ]
    attack = tkmia(tagger, optimiser=label_optimiser(10.0))
    result = run(attack, params, images, targets, iterations=20)
    assert all(np.isfinite(x).all() for x in (result.best.image, result.best.output))
    assert result.best.success.all() and (result.best.norm > 0).all()
    assert (np.asarray(result.best.output).argmax(-1) != [order[0] for order in first]).all()
