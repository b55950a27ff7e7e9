"""JPEG as libjpeg makes it (baseline, 4:2:0), with rounding that lets gradients pass.

Colours to luma and chroma, chroma at half the sides, a cosine transform of blocks of 8 x 8, and
division by a table that the quality scales. Only the roundings lose gradients; each has the slope
of the identity here ("straight through"), its value stays what a decoder gives.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from jaxadv import checks
from jaxadv.core.transformations import Transformation

# ITU-T T.81, annex K
LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# JFIF: Y, Cb, Cr of R, G, B
YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
)
COSINES = np.array(
    [
        [np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else np.sqrt(0.125)) for x in range(8)]
        for u in range(8)
    ]
)


def jpeg(least: int, most: int) -> Transformation:
    """Compress with a quality drawn from `least` to `most` (1 to 100), and decompress.

    Raises:
      InputError: a quality outside 1 to 100, or `least` above `most`.
    """
    checks.whole("most", most, 1, 100)
    checks.whole("least", least, 1, int(most))

    def compress(key: PRNGKeyArray, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
        return compressed(image, jax.random.randint(key, (), least, most + 1))

    return compress


def compressed(
    image: Float[Array, "H W 3"], quality: Int[Array, ""] | int
) -> Float[Array, "H W 3"]:
    """Return what is left of a picture f32[H, W, 3] in [0, 1] after JPEG of a quality.

    The gradient to the picture is that of the cosine transform and the chroma's averages.

    Raises:
      InputError: a quality outside 1 to 100.
    """
    checks.whole("quality", quality, 1, 100)
    height, width = image.shape[:2]
    wide = ((0, -height % 16), (0, -width % 16), (0, 0))
    pixels = _round(255 * jnp.pad(image, wide, mode="edge"))
    luma, *chroma = jnp.moveaxis(pixels @ YCC.T.astype(image.dtype), -1, 0)
    planes = [_quantised(luma - 128, LUMA, quality) + 128]
    for plane in chroma:
        small = plane.reshape(plane.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
        planes.append(_enlarged(_quantised(small, CHROMA, quality)))
    rgb = jnp.stack(planes, axis=-1) @ np.linalg.inv(YCC).T.astype(image.dtype)
    return jnp.clip(_round(rgb[:height, :width]), 0.0, 255.0) / 255


def _round(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Round, with the slope of the identity."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def _quantised(
    plane: Float[Array, "h w"], table: Int[np.ndarray, "8 8"], quality: Int[Array, ""] | int
) -> Float[Array, "h w"]:
    """Round the cosine coefficients of each block to multiples of the quality's table."""
    scale = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    steps = jnp.clip((table * scale + 50) // 100, 1, 255).astype(plane.dtype)
    cosines = jnp.asarray(COSINES, plane.dtype)
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = _round(plane).reshape(rows, 8, columns, 8).swapaxes(1, 2)
    kept = steps * _round(cosines @ blocks @ cosines.T / steps)
    whole = (cosines.T @ kept @ cosines).swapaxes(1, 2)
    return jnp.clip(_round(whole.reshape(plane.shape)), -128, 127)


def _enlarged(plane: Float[Array, "h w"]) -> Float[Array, "2*h 2*w"]:
    """Double the sides; each new pixel takes 3/4 of the nearest old one and 1/4 of the next."""
    for axis in (0, 1):
        wide = jnp.pad(plane, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        size = plane.shape[axis]
        before, after = (jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in (0, 2))
        pair = jnp.stack([(3 * plane + before) / 4, (3 * plane + after) / 4], axis=axis + 1)
        shape = [2 * n if a == axis else n for a, n in enumerate(plane.shape)]
        plane = pair.reshape(shape)
    return plane
