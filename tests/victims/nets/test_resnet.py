import jax
import jax.numpy as jnp
import pytest

from jaxadv.victims.nets.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152

SIZES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
SMALL_18 = ResNet(SIZES[18], bottleneck=False, stem="small")


@pytest.mark.parametrize(
    ("net", "depth", "options", "shape"),
    [
        pytest.param(resnet18(), 18, {}, (2, 97, 97, 3), id="resnet18"),
        pytest.param(SMALL_18, 18, {"small": True}, (2, 33, 33, 3), id="resnet18-small"),
        pytest.param(resnet34(), 34, {}, (1, 64, 64, 3), id="resnet34"),
        pytest.param(resnet50(), 50, {}, (2, 64, 97, 3), id="resnet50"),
        # The stem's 7x7 makes grids of 32 rows (ceil_mode rounds up) and 49 columns (it does not).
        pytest.param(resnet50(caffe=True), 50, {"caffe": True}, (64, 97, 3), id="resnet50-caffe"),
        pytest.param(resnet101(), 101, {}, (1, 64, 64, 3), id="resnet101"),
        pytest.param(
            resnet101(caffe=True), 101, {"caffe": True}, (1, 96, 97, 3), id="resnet101-caffe"
        ),
        pytest.param(resnet152(), 152, {}, (1, 64, 64, 3), id="resnet152"),
    ],
)
def test_features_are_those_of_pytorch(reference, net, depth, options, shape):
    def make():
        return reference.ResNet(SIZES[depth], bottleneck=depth > 34, **options)

    reference.assert_same_features(net, make, shape)


def test_training_updates_the_statistics_as_pytorch_does(reference):
    def make():
        return reference.ResNet(SIZES[18], bottleneck=False)

    reference.assert_same_features(resnet18(), make, (4, 64, 64, 3), train=True)


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
@pytest.mark.parametrize(
    ("net", "side", "grid", "parameters"),
    [
        pytest.param(resnet18(), 224, (7, 7, 512), 11_176_512, id="resnet18"),
        pytest.param(resnet34(), 224, (7, 7, 512), 21_284_672, id="resnet34"),
        pytest.param(resnet50(), 224, (7, 7, 2048), 23_508_032, id="resnet50"),
        pytest.param(resnet101(), 224, (7, 7, 2048), 42_500_160, id="resnet101"),
        pytest.param(resnet101(caffe=True), 224, (7, 7, 2048), 42_500_160, id="resnet101-caffe"),
        pytest.param(resnet152(), 224, (7, 7, 2048), 58_143_808, id="resnet152"),
        pytest.param(resnet152(caffe=True), 224, (7, 7, 2048), 58_143_808, id="resnet152-caffe"),
        # A 3x3 stem in place of the 7x7 one.
        pytest.param(SMALL_18, 64, (4, 4, 512), 11_176_512 - 40 * 3 * 64, id="resnet18-small"),
    ],
)
def test_grid_and_published_parameter_count(net, side, grid, parameters, batch):
    images = jax.ShapeDtypeStruct((*batch, side, side, 3), jnp.float32)
    features, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert features.shape == (*batch, *grid)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


def test_unknown_stem_is_refused():
    net = ResNet((1,), bottleneck=False, stem="mnist")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cifar"):
        net.init(jax.random.key(0), jnp.zeros((8, 8, 3)))
