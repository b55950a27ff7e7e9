"""A sweep that is killed again and again, full disks, long stores: as they really happen."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
import tracemalloc

import pytest
from helpers.sweep_rows import assert_alike, rows

from jaxadv.experiments import store
from jaxadv.experiments.plan import plan

pytestmark = pytest.mark.slow

PLAN = """
[[labels]]
victim = "scenes-tagger"
method = ["tkmia", "tkml-ap-u"]
learning_rate = 0.5
iterations = 8
images = 60
k = [2, 3]
specified = 1

[[captions]]
victim = "scenes-scst"
method = "gem"
learning_rate = 0.02
iterations = 4
images = 6
targets = 1
"""
KILLS = 25


def start(file, out, *more, devices=2):
    """Start `jaxadv sweep` in a process of its own, its output into a file."""
    code = "from jaxadv.cli.main import run; run()"
    command = [sys.executable, "-c", code, "sweep", file, "--out", out, "--batch", "4", *more]
    with (out.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=log,
            env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
        )


def recorded(out):
    return len(store.recorded(out))


def several(file, out, processes, **options):
    """One process, or as many as find each other through the first."""
    if processes == 1:
        return [start(file, out, **options)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            file,
            out,
            *("--coordinator", address, "--processes", processes, "--process", number),
            **options,
        )
        for number in range(processes)
    ]


def swept(file, out, processes=1, devices=2):
    """What a sweep records that nothing interrupts."""
    running = several(file, out, processes, devices=devices)
    assert [process.wait() for process in running] == [0] * processes
    return rows(out)


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(PLAN)
    return file


@pytest.fixture(scope="module")
def on_one_device(plan_file):
    return swept(plan_file, plan_file.parent / "one", devices=1)


@pytest.mark.parametrize(("processes", "devices"), [(1, 2), (1, 4), (1, 8), (2, 1), (2, 4)])
def test_devices_and_processes_do_not_matter(
    plan_file, on_one_device, tmp_path, processes, devices
):
    """Decisions are equal, numbers to rounding."""
    assert_alike(swept(plan_file, tmp_path / "out", processes, devices), on_one_device)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_instant_it_ends_with_the_same_rows(plan_file, tmp_path, processes):
    """The same bits as a sweep of as many processes that nothing interrupted."""
    whole = swept(plan_file, tmp_path / "whole", processes)
    total = len(whole)
    instants = random.Random(processes)
    out = tmp_path / "killed"
    for left in range(KILLS, 0, -1):
        done = recorded(out)
        goal = done + instants.randrange(1, max(2, 2 * (total - done) // left))
        running = several(plan_file, out, processes)
        while recorded(out) < goal and any(p.poll() is None for p in running):
            time.sleep(instants.uniform(0, 0.05))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert swept(plan_file, out, processes) == whole
    assert (out / store.PARQUET).exists()


def test_a_full_disk_ends_with_one_line(plan_file, tmp_path):
    """On a tiny file system; with more room the same command resumes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert start(plan_file, disk / "out").wait() == 2
        last = (disk / "log.txt").read_text() if (disk / "log.txt").exists() else ""
        some = recorded(disk / "out")
        assert some > 0
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert start(plan_file, disk / "out").wait() == 0
        assert recorded(disk / "out") > some
        assert "No space left on device" in last or not last
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_hundred_thousand_records_hold_steady(tmp_path):
    """Writing them takes no memory, and reading and ending them no more than their keys."""
    cells = plan({"captions": [{"victim": "v"}]})
    store.write_plan(tmp_path, [(cells[0], "weights", "attacks")])
    writer = store.Writer(tmp_path)
    tracemalloc.start()
    for number in range(100_000):
        if number == 1_000:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[1]
        said = f"a caption of some length, number {number}"
        writer.append({"cell": cells[0].digest, "id": number, "failed": None, "said": said})
    writer.close()
    assert tracemalloc.get_traced_memory()[1] - before < 1e6
    store.write_parquet(tmp_path)
    assert store.count(tmp_path).recorded == 100_000
    assert tracemalloc.get_traced_memory()[1] - before < 200e6
    tracemalloc.stop()
