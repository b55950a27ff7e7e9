"""Victims whose reverse pass computes its blocks again instead of keeping what is in them.

A third more work, so that more examples fit at once. Of use on accelerators: XLA's CPU compiler
merges what is computed twice.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import flax.linen as nn
import jax

from jaxadv.core.precision import Victim, changed_in, functions_of
from jaxadv.victims.nets import clip_encoder, llama, vision_tower
from jaxadv.victims.nets.inception_v3 import (
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)
from jaxadv.victims.nets.resnet import ResidualBlock
from jaxadv.victims.nets.tresnet import TResidualBlock
from jaxadv.victims.nets.vit import Block

#: what a network is a chain of
BLOCKS: tuple[type[nn.Module], ...] = (
    ResidualBlock,
    InceptionA,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
    Block,
    TResidualBlock,
    vision_tower.Block,
    clip_encoder.Block,
    llama.Block,
)
#: of a block, what maps pictures on their way: of a decoder's, what reads a prompt with a picture
METHODS = ("__call__", "read")


def rematerialised(victim: Victim) -> Victim:
    """Return the victim with every block of its networks computed again in the reverse pass.

    Values and gradients are the same. Of networks that are not the project's own nothing changes.

    >>> from jaxadv.victims import zoo
    >>> small = rematerialised(zoo.load("scenes-tagger").classifier)
    """
    return changed_in(victim, functions_of(victim), _again)


def _again(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def lean(*arguments: Any) -> Any:
        with nn.intercept_methods(_compute_again):
            return function(*arguments)

    return lean


def _compute_again(
    call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
    block = context.module
    if not isinstance(block, BLOCKS) or context.method_name not in METHODS or not block.name:
        return call(*args, **kwargs)
    alone = block.clone(parent=None, name=None)
    first, *fixed = args  # what is fixed may be no array

    @jax.checkpoint
    def run(variables: Any, first: Any) -> Any:
        return alone.apply(variables, first, *fixed, **kwargs, method=context.method_name)

    return run(block.variables, first)
