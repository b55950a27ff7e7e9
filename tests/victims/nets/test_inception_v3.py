import jax
import jax.numpy as jnp
import pytest

from jaxadv.victims.nets.inception_v3 import InceptionV3


@pytest.mark.parametrize(
    ("shape", "train"),
    [
        pytest.param((139, 107, 3), False, id="inference"),
        pytest.param((3, 75, 75, 3), True, id="training"),
    ],
)
def test_features_are_those_of_pytorch(reference, shape, train):
    reference.assert_same_features(InceptionV3(), reference.InceptionV3, shape, train)


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
def test_grid_and_published_parameter_count(batch):
    images = jax.ShapeDtypeStruct((*batch, 299, 299, 3), jnp.float32)
    features, variables = jax.eval_shape(InceptionV3().init_with_output, jax.random.key(0), images)
    assert features.shape == (*batch, 8, 8, 2048)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 21_785_568
