"""Local response normalisation across channels (Krizhevsky et al., 2012, section 3.3)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Response(NamedTuple):
    """Parameters of the normalisation, in MatConvNet's order: `PARAM = [N KAPPA ALPHA BETA]`.

    TensorFlow says `depth_radius=(N - 1) / 2`, `bias=KAPPA`, and the same alpha and beta. Caffe
    and PyTorch divide the sum of squares by N first, so that their alpha is `N * ALPHA`.

    Attributes:
      channels: N, how many neighbouring channels a sum is over.
      kappa: what is added to it.
      alpha: what the sum is multiplied with.
      beta: the exponent.
    """

    channels: int = 5
    kappa: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


#: WendellGul/DCMH's `nn.LocalResponseNorm(size=2, k=2)`.
PYTORCH_RESPONSE = Response(channels=2, kappa=2.0, alpha=1e-4 / 2, beta=0.75)


def local_response_norm(values: jax.Array, response: Response) -> jax.Array:
    """Divide each channel by a power of the squares around it; `f32[..., C]` to the same shape.

    `y[c] = x[c] / (kappa + alpha * sum(x[c']**2 for c' in window(c)))**beta`, the window of an odd
    N reaching `(N - 1) / 2` channels to either side, as far as there are any. That of an even N
    has one more before than after, as in PyTorch (MatConvNet has it the other way round).
    """
    before, after = response.channels // 2, (response.channels - 1) // 2
    channels = values.shape[-1]
    pads = [(0, 0)] * (values.ndim - 1) + [(before, after)]
    squares = jnp.pad(values**2, pads)
    total = sum(squares[..., i : i + channels] for i in range(response.channels))
    return values * (response.kappa + response.alpha * total) ** -response.beta
