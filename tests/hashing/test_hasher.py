import jax.numpy as jnp
import numpy as np

from jaxadv.hashing.hasher import CrossModalHasher, binary_code


def test_binary_code():
    code = jnp.array([[0.3, -0.2, 0.0], [-0.0, -7.0, 1e-30]])
    bits = binary_code(code)
    np.testing.assert_array_equal(bits, [[1, -1, 1], [1, -1, 1]])
    assert bits.dtype == code.dtype


def test_any_pair_of_functions_is_a_hasher():
    hasher = CrossModalHasher(
        image_code=lambda params, image: params["see"] @ image.reshape(-1),
        text_code=lambda params, bag: params["read"] @ bag,
        bits=2,
        image_shape=(1, 1, 3),
        tags=("red", "big"),
        classes=("circle",),
    )
    params = {"see": jnp.ones((2, 3)), "read": -jnp.eye(2)}
    image = binary_code(hasher.image_code(params, jnp.ones(hasher.image_shape)))
    text = binary_code(hasher.text_code(params, jnp.array([1.0, 0])))
    np.testing.assert_array_equal(image, [1, 1])
    np.testing.assert_array_equal(text, [-1, 1])
