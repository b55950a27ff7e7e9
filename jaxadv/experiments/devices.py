"""The devices and processes that a sweep is spread over, on JAX's own runtime."""

import os

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxadv.errors import InputError
from jaxadv.experiments.sweep import Shard
from jaxadv.formats.errors import quoted


def over_local_devices(slots: int) -> tuple[NamedSharding | None, int]:
    """Spread the slots over this process's devices.

    Returns:
      the sharding, None for a single device, and the slots, rounded up to a whole share a device.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return None, slots
    mesh = jax.make_mesh((len(devices),), ("slots",), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec("slots")), -(-slots // len(devices)) * len(devices)


def join_processes(coordinator: str | None, processes: int | None, process: int | None) -> Shard:
    """Join the processes of one job, and return this one's share.

    Every process makes its own attacks on its own devices and writes its own records, so that no
    process holds everything and none waits for another. On SLURM and on TPU pods JAX finds the
    others by itself; elsewhere say where the first one listens.

    Args:
      coordinator: "host:port" of the first process; None where JAX knows.
      processes: how many there are.
      process: which this one is, from 0.

    Raises:
      InputError: they do not find each other.
    """
    if (coordinator is None) != (processes is None) or (processes is None) != (process is None):
        raise InputError("--coordinator, --processes and --process: give all three, or none")
    if processes is not None and not 0 <= (process or 0) < processes:
        raise InputError(f"--process {process}: must be from 0 to {processes - 1}")
    # no sum goes from process to process: gloo's would need the others to the end
    jax.config.update("jax_cpu_collectives_implementation", None)
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as problem:
        reason = quoted(str(problem).splitlines()[0])
        raise InputError(
            f"--distributed: the processes do not find each other ({reason})"
        ) from None
    return Shard(jax.process_index(), jax.process_count())


def leave_processes() -> None:
    """Let each process continue alone, once all have loaded what they need (Orbax waits for all).

    Those that stay joined wait for the last at their end, some minutes and no more, and one that is
    lost takes all with it.
    """
    jax.distributed.shutdown()


def parse_shard(text: str | None) -> Shard:
    """Read a share such as "3/8" (from 0); by default a SLURM job array's own, or everything.

    >>> parse_shard("3/8")
    Shard(number=3, of=8)
    """
    if text is None:
        number, of = os.environ.get("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_ARRAY_TASK_COUNT")
        if number is None or of is None:
            return Shard()
        first, last = (os.environ.get(f"SLURM_ARRAY_TASK_{end}") for end in ("MIN", "MAX"))
        if not all(n is None or (n.isascii() and n.isdecimal()) for n in (number, of, first, last)):
            raise InputError(
                f"SLURM_ARRAY_TASK_ID={quoted(number)}: no number; say the share, --shard i/n"
            )
        share = Shard(int(number) - int(first or 0), int(of))
        if share.number >= share.of or (last and int(last) - int(first or 0) + 1 != share.of):
            raise InputError(
                f"the job array's tasks {first} to {last} are not {of} in a row: say each one's "
                "share, --shard i/n"
            )
        return share
    number, _, of = text.partition("/")
    numbers = all(n.isascii() and n.isdecimal() and len(n) < 10 for n in (number, of))
    if not numbers or int(number) >= int(of):
        raise InputError(f"--shard {quoted(text)}: write i/n with i from 0 to n-1, such as 0/4")
    return Shard(int(number), int(of))
