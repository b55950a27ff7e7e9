"""A victim's networks at lower precision; perturbation, loss and optimiser stay in float32.

bfloat16 halves what activations take and is what accelerators multiply fastest. Between float32 and
TF32, on devices that have both, JAX itself chooses: `jax.default_matmul_precision("float32")`
around a whole attack, or `"tensorfloat32"`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxadv.victims.captioner import Captioner
from jaxadv.victims.classifier import MultiLabelClassifier
from jaxadv.victims.hasher import CrossModalHasher

Victim = TypeVar("Victim", Captioner, MultiLabelClassifier, CrossModalHasher)

_NETWORKS: dict[
    type, tuple[str, ...]
] = {  # of each kind, the functions that a network's many layers are behind
    Captioner: ("encode",),
    MultiLabelClassifier: ("logits",),
    CrossModalHasher: ("image_code", "text_code"),
}


def in_bfloat16(victim: Victim) -> Victim:
    """Return the victim with its networks in bfloat16: a captioner's encoder, the others whole.

    Parameters and pictures stay in float32 outside, and so does what comes back. What an attack
    that sees such a victim calls a success may be none at full precision: give it the judge of the
    same attack on the victim itself.

    >>> from jaxadv.attacks.tkmia import tkmia
    >>> from jaxadv.victims import zoo
    >>> victim = zoo.load("scenes-tagger").classifier
    >>> attack = tkmia(in_bfloat16(victim))._replace(judge=tkmia(victim).judge)
    """
    names = _NETWORKS[type(victim)]
    lowered: dict[str, Any] = {name: _lowered(getattr(victim, name)) for name in names}
    return victim._replace(**lowered)


def _lowered(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def lowered(*arguments: Any) -> Any:
        low = _cast(arguments, jnp.float32, jnp.bfloat16)
        return _cast(function(*low), jnp.bfloat16, jnp.float32)

    return lowered


def _cast(tree: Any, of: Any, to: Any) -> Any:
    """Cast a tree's arrays of one type to another."""
    return jax.tree.map(lambda x: jnp.asarray(x, to) if jnp.result_type(x) == of else x, tree)
