"""What a sweep on Ray costs over the same sweep without, and how it scales with workers.

    python -m benchmarks.on_ray --workers 1 2 4

Every process computes on one thread, so that a worker is a core. From the moment that targets are
chosen to the last record: one victim's cells, compiled again by each worker. Cores share memory and
caches, so workers are also compared with as many processes without Ray, each with its share.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
SLOTS = 10


def tables(cells: int, images: int) -> dict[str, Any]:
    """Return a sweep of equal cells."""
    grid = {"victim": "scenes-scst", "method": "gem", "seed": list(range(cells))}
    design = {"images": images, "targets": 1, "settings": ["0 latent"], "iterations": 300}
    return {"captions": [{**grid, **design, "learning_rate": 0.005}]}


def seconds(news: Iterator[Any]) -> float:
    """Return how long a sweep takes once it knows what to attack."""
    next(news)
    began = time.perf_counter()
    for _ in news:
        pass
    return time.perf_counter() - began


def processes(count: int, words: list[str]) -> float:
    """Return how long the slowest of some processes without Ray takes, each with its share."""
    command = [sys.executable, "-m", "benchmarks.on_ray", *words, "--share"]
    running = [
        subprocess.Popen([*command, f"{i}/{count}"], stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    told = [one.communicate()[0] for one in running]
    return max(float(line.split()[2]) for line in told)


def main() -> None:
    """Print the seconds of a sweep on this process, and on Ray with some numbers of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--images", type=int, default=40, help="of each cell")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--share", default="0/1", help="i/n: these cells alone, without Ray")
    given = parser.parse_args()
    os.environ["XLA_FLAGS"] = ONE_THREAD

    import ray

    from jaxadv.experiments.on_ray import sweep_on_ray
    from jaxadv.experiments.plan import plan
    from jaxadv.experiments.sweep import prepare, sweep

    share, of = map(int, given.share.split("/"))
    cells = plan(tables(given.cells, given.images))[share::of]
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        alone = seconds(sweep(prepare(cells), Path(folder) / "alone", slots=SLOTS))
        print(f"without Ray   {alone:7.1f} s", flush=True)
        if of > 1:
            return
        both = processes(cores, ["--cells", str(given.cells), "--images", str(given.images)])
        print(f"{cores} processes   {both:7.1f} s, without Ray, at once", flush=True)
        for count in given.workers:
            ray.init(num_cpus=count, include_dashboard=False, logging_level=logging.ERROR)
            found = seconds(sweep_on_ray(cells, Path(folder) / str(count), slots=SLOTS))
            ray.shutdown()
            best = alone / min(count, cores)
            print(
                f"{count} workers     {found:7.1f} s, {best / found:.2f} of {best:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
