"""Networks as attacks run them: batch norm folded into the convolution before it.

At inference batch norm is a fixed affine map of each channel. Written into the kernel it costs an
attack nothing: the products below are the same in every step, and XLA takes them out of its loop.
Neither the networks' definitions nor their parameters change.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


def normalised(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Return `(images - mean) / std` a channel, in the type of the images.

    Constants in float32 would turn images in bfloat16, and every product after them, to float32.
    """
    return (images - jnp.asarray(mean, images.dtype)) / jnp.asarray(std, images.dtype)


class _Convolved(NamedTuple):
    """What a convolution was given; `out` is kept so that its number stays its own."""

    conv: nn.Conv
    images: Array
    out: Array


def folding() -> AbstractContextManager[None]:
    """Fold every `BatchNorm` with running averages that follows a `Conv`, in this context.

    With kernel w, scale γ, shift β, mean μ and variance σ², `γ (w * x - μ) / sqrt(σ² + ϵ) + β` is
    `(g w) * x + (β - g μ)`, where `g = γ / sqrt(σ² + ϵ)`.

    >>> import jax, jax.numpy as jnp, flax.linen as nn
    >>> net = nn.Sequential([nn.Conv(2, (3, 3)), nn.BatchNorm(use_running_average=True)])
    >>> image = jnp.ones((1, 4, 4, 3))
    >>> variables = net.init(jax.random.key(0), image)
    >>> with folding():
    ...     folded = net.apply(variables, image)
    >>> bool(jnp.allclose(folded, net.apply(variables, image), atol=1e-6))
    True
    """
    made: dict[int, _Convolved] = {}

    def intercept(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, nn.Conv):
            out = call(*args, **kwargs)
            made[id(out)] = _Convolved(module, args[0], out)
            return out
        if isinstance(module, nn.BatchNorm) and module.use_running_average and id(args[0]) in made:
            return _fold(made[id(args[0])], module)
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def _fold(convolved: _Convolved, norm: nn.BatchNorm) -> Array:
    """Convolve again with the folded kernel; what was there is read by nobody and costs nothing."""
    weights, moments = norm.variables.get("params", {}), norm.variables["batch_stats"]
    gain = weights.get("scale", 1.0) * jax.lax.rsqrt(moments["var"] + norm.epsilon)
    given = convolved.conv.variables["params"]
    shift = weights.get("bias", 0.0) + (given.get("bias", 0.0) - moments["mean"]) * gain
    bare = convolved.conv.clone(parent=None, name=None, use_bias=False)
    out = bare.apply({"params": {"kernel": given["kernel"] * gain}}, convolved.images)
    return jnp.asarray(out) + shift
