"""A victim's forward pass and input gradient, over plain convolutions and over PyTorch."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from benchmarks.setting import Setting, tagger
from benchmarks.timing import Figure, bare_steps, compare
from jaxadv.core.attack import Params


def victim_passes(setting: Setting) -> Iterator[Figure]:
    """Our forms of the convolutions over plain `lax` ones, over PyTorch eager and folded."""
    made = tagger(setting)
    images = setting.pictures()

    def loss(params: Params, image: Array) -> Array:
        return jnp.sum(made.functions.scores(params, image) ** 2)

    def plain(params: Params, image: Array) -> Array:
        with nn.intercept_methods(_plainly):
            return loss(params, image)

    sides: dict[str, Callable[[], Any]] = {}
    for name, of in {"jaxadv": loss, "plain lax": plain}.items():
        sides[name] = partial(bare_steps(of, setting.steps), made.params, images)
    aims = {"plain lax": 0.65}
    if find_spec("torch") and setting.backbone in ("resnet50", "resnet101"):
        from benchmarks import pytorch

        blocks = pytorch.BLOCKS[setting.backbone]
        for name, folded in (("PyTorch, eager", False), ("PyTorch, folded NHWC", True)):
            net = pytorch.resnet(made.params, blocks, folded=folded)
            sides[name] = pytorch.bare_steps(net, images, setting.steps)
        aims |= {"PyTorch, eager": 0.8, "PyTorch, folded NHWC": 1.1}
    what = f"forward and input gradient, {setting.backbone} at {setting.side}"
    for figure in compare(what, sides, each=setting.steps):
        yield figure._replace(aim=aims[figure.over])


def _plainly(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    """Run Linen's convolutions as `lax` has them; everything else as it is."""
    conv = context.module
    if not isinstance(conv, nn.Conv) or context.method_name != "__call__":
        return call(*args, **kwargs)
    images = args[0][None] if args[0].ndim == 3 else args[0]
    padding: Any = conv.padding
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    strides: Any = conv.strides or 1
    weights = conv.variables["params"]
    out = lax.conv_general_dilated(
        images,
        weights["kernel"],
        (strides, strides) if isinstance(strides, int) else strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=conv.feature_group_count,
    )
    out = out + weights["bias"] if conv.use_bias else out
    return out[0] if args[0].ndim == 3 else out


def peak_memory(setting: Setting, batches: tuple[int, ...] = (1, 2, 4, 8)) -> dict[int, int]:
    """Bytes that XLA sets aside beyond parameters and pictures for one pass, by batch."""
    made = tagger(setting._replace(batch=1))

    def loss(params: Params, image: Array) -> Array:
        return jnp.sum(made.functions.scores(params, image) ** 2)

    def bytes_at(batch: int) -> int:
        images = jax.ShapeDtypeStruct((batch, setting.side, setting.side, 3), jnp.float32)
        compiled = bare_steps(loss, 1).lower(made.params, images).compile()
        needs: Any = compiled.memory_analysis()
        return int(needs.temp_size_in_bytes)

    return {batch: bytes_at(batch) for batch in batches}
