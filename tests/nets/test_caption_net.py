"""What a captioner's network does between backbone and decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.victims.architectures import CaptionerArchitecture
from jaxadv.victims.nets.caption_net import initial_variables


@pytest.mark.parametrize("decoder", ["show-attend-tell", "att2in", "att2in2", "transformer"])
@pytest.mark.parametrize("grid", [None, 16, 12])
def test_repeated_cells_are_attended_to_once(decoder, grid):
    """Scores along a caption and their gradient are those over all cells of the pooled grid."""
    made = CaptionerArchitecture(decoder, "resnet-small", units=16, side=64, grid=grid)
    net = made.network(11)
    with jax.enable_x64(True):
        image = jnp.asarray(np.random.default_rng(0).random(made.image_shape))
        params = jax.tree.map(
            lambda x: x.astype(jnp.float64), initial_variables(net, image.shape, jax.random.key(0))
        )

        def scores(image, encode):
            def along(net):
                features = encode(net, image)
                state, said = net.begin(features), []
                for token in (3, 7, 0):
                    said.append(net.logits(state))
                    state = net.advance(features, state, jnp.array(token))
                return jnp.stack(said)

            return net.apply(params, method=along)

        def encode(net, image):
            return net.encode(image)

        def over_all(net, image):
            return net.prepare(net.see(image))

        shapes = [
            jax.eval_shape(lambda how=how: net.apply(params, method=lambda net: how(net, image)))
            for how in (encode, over_all)
        ]
        few, cells = (shape[0].shape[-2] for shape in shapes)
        once = decoder != "transformer" and grid == 16
        assert cells == few * (4 if once else 1)
        for some in (scores, jax.grad(lambda x, how: (scores(x, how) ** 2).sum())):
            got, wanted = some(image, encode), some(image, over_all)
            np.testing.assert_allclose(got, wanted, atol=1e-12 * float(jnp.abs(wanted).max()))
