"""What a captioner's network does between backbone and decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import initial_variables


@pytest.mark.parametrize(
    ("decoder", "grid", "repeats"),
    [
        ("show-attend-tell", 16, 4),
        ("att2in", 16, 4),
        ("att2in2", 16, 4),
        ("att2in2", 12, 1),  # pooling mixes cells
        ("transformer", 16, 1),  # knows where a cell is
    ],
)
def test_repeated_cells_are_attended_to_once(decoder, grid, repeats):
    """Scores along a caption and their gradient are those over all cells of the pooled grid."""
    made = CaptionerArchitecture(decoder, "resnet-small", units=16, side=64, grid=grid)
    net = made.network(11)

    def over_some(net, image):
        return net.encode(image)

    def over_all(net, image):
        return net.prepare(net.see(image))

    def loss(params, image, encode):
        def along(net):
            features = encode(net, image)
            state, said = net.begin(features), []
            for token in (3, 7):
                said.append(net.logits(state))
                state = net.advance(features, state, jnp.array(token))
            return jnp.stack(said), features[0].shape[-2]

        said, cells = net.apply(params, method=along)
        return (said**2).sum(), (said, jnp.array(cells))

    with jax.enable_x64(True):
        image = jnp.asarray(np.random.default_rng(0).random(made.image_shape))
        drawn = initial_variables(net, image.shape, jax.random.key(0))
        params = jax.tree.map(lambda x: x.astype(jnp.float64), drawn)
        run = jax.jit(jax.value_and_grad(loss, argnums=1, has_aux=True), static_argnums=2)
        (_, (got, some)), gradient = run(params, image, over_some)
        (_, (wanted, cells)), whole = run(params, image, over_all)
        assert int(cells) == repeats * int(some)
        for a, b in ((got, wanted), (gradient, whole)):
            np.testing.assert_allclose(a, b, atol=1e-12 * float(jnp.abs(b).max()))
