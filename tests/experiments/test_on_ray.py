"""Sweeps on a Ray cluster of several nodes on this machine: workers come, go, dawdle and die."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.sweep_rows import rows

from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.devices import over_local_devices
from jaxadv.experiments.lines import read_lines
from jaxadv.experiments.make import make_sweep
from jaxadv.experiments.on_ray import sweep_on_ray
from jaxadv.experiments.plan import plan
from jaxadv.experiments.sweep import prepare, sweep

ray = pytest.importorskip("ray", reason="Ray is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# nodes are started by fork and exec: what JAX warns of is a child that continues
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

LABELS = {
    "victim": "scenes-tagger",
    "learning_rate": 0.5,
    "iterations": 8,
    "images": 60,
    "specified": 1,
}
SMALL = {"labels": [{**LABELS, "images": 16, "method": "tkmia", "iterations": 3}]}
LARGE = {
    "labels": [{**LABELS, "method": ["tkmia", "tkml-ap-u"], "k": [2, 3]}],
    "captions": [
        {
            "victim": "scenes-scst",
            "method": "gem",
            "learning_rate": 0.02,
            "iterations": 4,
            "images": 64,
            "targets": 1,
            "settings": ["1 latent"],
        }
    ],
}
ATTACKS = 300
SLOTS = 4
RUNS = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head without room for workers, and two nodes with room for one each."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    found = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    found.shutdown()


def locally(tables, folder):
    sharding, slots = over_local_devices(SLOTS)
    for _ in sweep(prepare(plan(tables)), folder, slots=slots, sharding=sharding):
        pass
    return rows(folder)


def on_ray(cluster, tables, folder, **options):
    return sweep_on_ray(plan(tables), folder, address=cluster.address, slots=SLOTS, **options)


def workers():
    """The processes of workers that run on this machine, by Ray's name for them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(path.name))
    return found


def kill(processes):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def assert_once(folder):
    """No attack was recorded twice."""
    keys = [(line.row["cell"], line.row["id"]) for line in read_lines(folder, [])]
    assert len(keys) == len(set(keys))


def test_rows_are_those_of_a_local_sweep(cluster, tmp_path):
    """Bit for bit, with a driver that is stopped and a worker that is killed on the way."""
    out = tmp_path / "ray"
    for one in on_ray(cluster, SMALL, out, pictures="png"):
        if one.done:
            break
    before = one.done
    first, *news = on_ray_killing_one(cluster, out)
    assert 0 < before == first.done < news[-1].done == news[-1].total
    assert_once(out)
    assert rows(out) == locally(SMALL, tmp_path / "local")
    kept = [path.name for path in (out / "pictures").glob("*.png")]
    assert len([name for name in kept if not name.startswith("benign-")]) == news[-1].total


def on_ray_killing_one(cluster, out):
    news = []
    for one in on_ray(cluster, SMALL, out, pictures="png"):
        news.append(one)
        if len(news) == 2:
            kill(workers()[:1])
    return news


def test_a_problem_of_a_worker_is_one_line(cluster, tmp_path):
    missing = {"labels": [{**LABELS, "victim": str(tmp_path / "nobody")}]}
    with pytest.raises(InputError, match="nobody"):
        list(on_ray(cluster, missing, tmp_path / "out"))


def test_room_for_no_worker_is_one_line(cluster, tmp_path):
    with pytest.raises(InputError, match="no node of the cluster has 64 CPUs"):
        list(on_ray(cluster, SMALL, tmp_path / "out", devices=64))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_no_cluster_is_one_line(tmp_path, address):
    with pytest.raises(InputError, match=f"--ray {address}: no cluster answers"):
        make_sweep(SMALL, tmp_path, ray=address)


# what follows takes an hour: pytest -m slow tests/experiments/test_on_ray.py


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    found = locally(LARGE, tmp_path_factory.mktemp("local") / "records")
    assert len(found) == ATTACKS
    return found


class Driver:
    """`sweep_on_ray` in a process of its own, which can be killed."""

    def __init__(self, cluster, out):
        code = (
            "import sys; from pathlib import Path; from jaxadv.experiments.plan import plan; "
            "from jaxadv.experiments.on_ray import sweep_on_ray\n"
            f"for _ in sweep_on_ray(plan({LARGE!r}), Path(sys.argv[1]), address=sys.argv[2], "
            f"slots={SLOTS}): pass"
        )
        self.out, self.log = out, out.parent / "log.txt"
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", code, str(out), cluster.address]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_for(self, count):
        """Wait until so many attacks are recorded, or the driver has ended."""
        while self.process.poll() is None and len(store.recorded(self.out)) < count:
            time.sleep(0.2)

    def end(self):
        code = self.process.wait(timeout=900)
        assert code == 0, self.log.read_text()[-2000:]


def dawdling(process, stop):
    """Let a process run a tenth of the time."""
    while not stop.is_set():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
            time.sleep(0.9)
            os.kill(process, signal.SIGCONT)
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("run", range(RUNS))
def test_the_same_rows_whoever_is_killed(cluster, expected, tmp_path, run):
    """At a random time: a worker, a node (another one joins later), or the driver."""
    rng = random.Random(run)
    out = tmp_path / "records"
    victim = ("worker", "node", "driver")[run % 3]
    driver = Driver(cluster, out)
    driver.wait_for(rng.randrange(10, ATTACKS - 50))
    if victim == "worker":
        kill(rng.sample(workers(), 1))
    elif victim == "node":
        cluster.remove_node(rng.choice(cluster.list_all_nodes()[1:]), allow_graceful=False)
        driver.wait_for(len(store.recorded(out)) + 20)
        cluster.add_node(num_cpus=1)
    else:
        kill([driver.process.pid])
        driver.process.wait()
        driver = Driver(cluster, out)
    driver.end()
    assert rows(out) == expected
    assert_once(out)


@pytest.mark.slow
def test_the_same_rows_with_a_worker_ten_times_slower(cluster, expected, tmp_path):
    stop = threading.Event()
    driver = Driver(cluster, tmp_path / "records")
    driver.wait_for(20)
    slow = threading.Thread(target=dawdling, args=(workers()[0], stop))
    slow.start()
    try:
        driver.end()
    finally:
        stop.set()
        slow.join()
    assert rows(tmp_path / "records") == expected
    assert_once(tmp_path / "records")


@pytest.mark.slow
def test_a_node_that_joins_halfway_gets_work(cluster, expected, tmp_path):
    driver = Driver(cluster, tmp_path / "records")
    driver.wait_for(100)
    before = len(workers())
    node = cluster.add_node(num_cpus=1)
    driver.wait_for(250)
    assert len(workers()) == before + 1
    driver.end()
    cluster.remove_node(node)
    assert rows(tmp_path / "records") == expected


@pytest.mark.slow
def test_a_full_disk_of_the_driver(cluster, expected, tmp_path):
    """It ends with one line; with room again, the same call makes what is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(store.StoreError, match="the same command resumes from there"):
            list(on_ray(cluster, LARGE, disk / "records"))
        some = len(store.recorded(disk / "records"))
        assert 0 < some < ATTACKS
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        list(on_ray(cluster, LARGE, disk / "records"))
        assert rows(disk / "records") == expected
        assert_once(disk / "records")
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # nothing there is open any more
