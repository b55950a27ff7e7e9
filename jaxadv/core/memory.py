"""How many attacks fit a device at once."""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv import checks
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.core.run import check_attack, compiled
from jaxadv.errors import InputError

SPARE = 0.1  # of what is free is left: what others compile and copy
TRIED = (2, 4)  # batches that are compiled to see what an example more takes


class Fit(NamedTuple):
    """The largest batch that fits, by what the compiler says that its program sets aside.

    Attributes:
      batch: examples at once.
      needed: bytes that they take.
      free: bytes that there were.
      device: where.
    """

    batch: int
    needed: int
    free: int
    device: str

    def __str__(self) -> str:
        """Say it in a line."""
        needed, free = self.needed / 2**30, self.free / 2**30
        return f"batch {self.batch}: {needed:.2g} of {free:.2g} GiB that are free on {self.device}"


def largest_batch(
    attack: Attack,
    params: Params,
    image: Array | np.ndarray,
    target: Target,
    *,
    iterations: int,
    most: int,
    free: int | None = None,
) -> Fit:
    """Find how many attacks like this one fit the first device at once; compiles a few times.

    Args:
      attack: any attack.
      params: the victim's parameters.
      image: f32[H, W, 3], an example; which one does not matter.
      target: its target; likewise.
      iterations: most steps an example.
      most: the most that are wanted.
      free: bytes; what the device, or the machine's memory, has by default.

    Raises:
      InputError: not even one fits, or an argument is outside its range.
    """
    check_attack(attack, params)
    checks.in_range(iterations=iterations)
    if image is None or np.ndim(image) not in (1, 3):
        raise checks.wrong("image", image, "one picture f32[H, W, 3], or one text f32[T]")
    checks.whole("most", most, 1)
    if free is not None:
        checks.whole("free", free, 1)
    device = jax.local_devices()[0]
    free = free_bytes(device) if free is None else free
    room = int(free * (1 - SPARE))
    few, more = (_needed(attack, params, image, target, iterations, batch) for batch in TRIED)
    each = max((more - few) // (TRIED[1] - TRIED[0]), 1)
    batch = min(most, max(1, TRIED[0] + (room - few) // each))
    while (needed := _needed(attack, params, image, target, iterations, batch)) > room:
        if batch == 1:
            raise InputError(
                f"one attack takes {needed / 2**20:,.0f} MiB: {device} has {room / 2**20:,.0f} free"
            )
        batch = max(1, batch * room // needed)
    return Fit(batch, needed, free, f"{device.platform}:{device.id}")


def _needed(
    attack: Attack, params: Params, image: Any, target: Target, iterations: int, batch: int
) -> int:
    """Return the bytes of `run` for `batch` examples: arguments, results and temporaries."""

    def many(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *jnp.shape(x)), jnp.result_type(x))

    program: Any = compiled(
        attack,
        params,
        many(image),  # type: ignore[arg-type]  # shapes are all that is asked
        jax.tree.map(many, target),
        jax.random.key(0),
        jnp.arange(batch),
        iterations=iterations,
    )
    found = program.memory_analysis()
    return int(found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes)


def free_bytes(device: jax.Device) -> int:
    """Return the bytes that a device, or the machine where it is a CPU, has left."""
    if (found := device.memory_stats()) is not None:
        return int(found["bytes_limit"] - found["bytes_in_use"])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
