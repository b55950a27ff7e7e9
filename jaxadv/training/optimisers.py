"""The optimisers that victims are trained with."""

from typing import Literal

import optax

Optimiser = Literal["adam", "sgd"]


def adam(
    learning_rate: float, steps: int, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return AdamW with gradient clipping and a rate that decays to zero along a cosine.

    Args:
      learning_rate: initial learning rate.
      steps: number of steps until it is zero.
      weight_decay: decoupled weight decay; 0 is Adam.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    rule = (
        optax.adamw(schedule, weight_decay=weight_decay) if weight_decay else optax.adam(schedule)
    )
    return optax.chain(optax.clip_by_global_norm(5.0), rule)


def constant(
    optimiser: Optimiser, learning_rate: float, weight_decay: float
) -> optax.GradientTransformation:
    """Return Adam, or SGD with momentum 0.9, with a constant learning rate.

    Weight decay is added to the gradient, `g + w θ`, as in PyTorch's optimisers.
    """
    steps = optax.sgd(learning_rate, momentum=0.9) if optimiser == "sgd" else None
    return optax.chain(optax.add_decayed_weights(weight_decay), steps or optax.adam(learning_rate))
