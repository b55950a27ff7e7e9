"""The optimisers that victims are trained with."""

from typing import Literal

import optax

Optimiser = Literal["adam", "sgd"]


def adam(learning_rate: float, steps: int, warm_up: int = 0) -> optax.GradientTransformation:
    """Return Adam with gradient clipping and a rate that decays to zero along a cosine.

    Args:
      learning_rate: the highest rate.
      steps: in all.
      warm_up: steps in which the rate grows from zero; Transformers need some.
    """
    rate = optax.cosine_decay_schedule(learning_rate, steps - warm_up)
    if warm_up:
        rising = optax.linear_schedule(0.0, learning_rate, warm_up)
        rate = optax.join_schedules([rising, rate], [warm_up])
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))


def constant(
    optimiser: Optimiser, learning_rate: float, weight_decay: float
) -> optax.GradientTransformation:
    """Return Adam, or SGD with momentum 0.9, with a constant learning rate.

    Weight decay is added to the gradient, `g + w θ`, as in PyTorch's optimisers.
    """
    steps = optax.sgd(learning_rate, momentum=0.9) if optimiser == "sgd" else None
    return optax.chain(optax.add_decayed_weights(weight_decay), steps or optax.adam(learning_rate))
