"""Processes that join for their numbers, load their victims, and from then on work alone."""

import socket
import subprocess
import sys

import pytest

CODE = """
import os, sys, time
import jax, jax.numpy as jnp
from jaxadv.experiments.devices import join_processes, leave_processes, over_local_devices
from jaxadv.victims import zoo
share = join_processes(sys.argv[1], 2, int(sys.argv[2]))
sharding, slots = over_local_devices(3)
zoo.load("scenes-transformer")
leave_processes()
numbers = jax.device_put(jnp.arange(float(slots)), sharding)
print(share.number, share.of, len(numbers.devices()), jax.jit(jnp.sum)(numbers), flush=True)
if share.number == int(sys.argv[3]):
    os._exit(7)  # as if it had been killed
time.sleep(4)
"""


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_costs_its_own_share_only(lost):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, address, str(number), str(lost)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for number, process in enumerate(running):
        said, problem = process.communicate(timeout=200)
        assert said.split() == [str(number), "2", "2", "6.0"], problem
        assert process.returncode == (7 if number == lost else 0), problem
