import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.victims.nets.response_norm import Response, local_response_norm
from jaxadv.victims.nets.vgg_f import MEAN_COLOUR, VggF, Window

SMALL = VggF(side=64, width=16, units=256, stem=Window(5, 2))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("axes", [(), (2,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("response", [Response(), Response(2, 1.0, 0.3, 0.5), Response(7, 1, 2, 3)])
def test_response_normalisation_is_that_of_pytorch(torch, response, axes):
    values, up = np.random.default_rng(0).normal(0, 30, (2, *axes, 9))
    x = torch.from_numpy(values).requires_grad_()
    channels, kappa, alpha, beta = response
    expected = torch.nn.functional.local_response_norm(
        x.reshape(-1, 9, 1), channels, channels * alpha, beta, kappa
    ).reshape(x.shape)
    expected.backward(torch.from_numpy(up))
    found, pull = jax.vjp(lambda v: local_response_norm(v, response), values)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(pull(up)[0], x.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_response_normalisation_by_hand():
    found = local_response_norm(jnp.array([1.0, 2, 3, 4]), Response(3, 1.0, 0.5, 1.0))
    np.testing.assert_allclose(found, [1 / 3.5, 2 / 8, 3 / 15.5, 4 / 13.5], rtol=1e-6)


def test_windows_of_the_published_network():
    side, sides = 224, []
    for window in VggF().windows.values():
        side = window.count(side)
        sides.append(side)
    assert sides == [54, 27, 27, 13, 13, 13, 13, 6]


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
@pytest.mark.parametrize(
    ("net", "method", "outputs", "parameters"),
    [
        pytest.param(VggF(), "logits", 1000, 60_834_536, id="published"),
        pytest.param(VggF(), "__call__", 4096, 60_834_536 - 4097 * 1000, id="features"),
        pytest.param(SMALL, "__call__", 256, 351_168, id="small"),
    ],
)
def test_shapes_and_parameter_counts(net, method, outputs, parameters, batch):
    images = jax.ShapeDtypeStruct((*batch, net.side, net.side, 3), jnp.float32)
    found, variables = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, method=method), images
    )
    assert found.shape == (*batch, outputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    assert variables["constants"]["mean_image"].shape == (net.side, net.side, 3)


def test_mean_image_is_taken_off_and_is_no_parameter():
    mean = jnp.broadcast_to(jnp.asarray(MEAN_COLOUR), (64, 64, 3))
    variables = jax.jit(SMALL.init)(jax.random.key(0), mean / 255)
    np.testing.assert_allclose(variables["constants"]["mean_image"], mean)
    apply = jax.jit(SMALL.apply)
    assert np.abs(apply(variables, mean / 255)).max() < 1e-4  # zero, where the biases are
    other = {**variables, "constants": {"mean_image": mean / 2}}
    assert np.abs(apply(other, mean / 255)).max() > 1e-2


def test_pictures_too_small_are_refused():
    with pytest.raises(ValueError, match="32 pixels are too small"):
        VggF(side=32).init(jax.random.key(0), jnp.zeros((32, 32, 3)))
