"""A sweep in one call, from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv import checks
from jaxadv.experiments import store
from jaxadv.experiments.devices import over_local_devices
from jaxadv.experiments.ledger import Progress
from jaxadv.experiments.on_ray import sweep_on_ray
from jaxadv.experiments.plan import plan
from jaxadv.experiments.sweep import prepare, sweep


def make_sweep(
    tables: Mapping[str, Any],
    folder: Path | str,
    batch: int = 50,
    ray: str | None = None,
    devices_per_worker: int = 1,
) -> Progress:
    """Make all attacks of a sweep, and print how far it is.

    The same call on a folder that holds some of them resumes from there. `read_records` reads what
    came of them.

    Args:
      tables: what a sweep file holds: `{"captions": [{"victim": ..., "method": ...}]}`.
      folder: of the records.
      batch: attacks at once; on Ray by each worker.
      ray: the address of a Ray cluster, "auto" for the one that this machine is in, or "local" for
        one of this machine alone; the local devices if not given.
      devices_per_worker: of a Ray cluster's GPUs, TPU chips or, where it has neither, CPU cores.

    Returns:
      how many attacks were made, and how many failed.

    Raises:
      InputError: an unknown key or value, a victim that is not there, a folder of another sweep.
    """
    checks.whole("batch", batch, 1)
    checks.whole("devices_per_worker", devices_per_worker, 1)
    cells = plan(tables)
    if ray is None:
        sharding, slots = over_local_devices(batch)
        job = sweep(prepare(cells), Path(folder), slots=slots, sharding=sharding)
    else:
        job = sweep_on_ray(
            cells, Path(folder), address=ray, devices=devices_per_worker, slots=batch
        )
    news = None
    for news in job:
        print(f"\r{news.done} of {news.total} attacks, {news.message}", end="", flush=True)
    print()
    assert news is not None  # one comes before the first attack
    return news


def read_records(folder: Path | str) -> list[dict[str, Any]]:
    """Read the records of a sweep's attacks, with the settings of each, in no order.

    Raises:
      StoreError: it is no folder of a sweep.
    """
    return list(store.read(Path(folder)))
