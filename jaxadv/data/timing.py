"""How fast pictures are read, compared with the decoder alone: what the JPEGs cost at least."""

import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxadv.data.images import read_bytes
from jaxadv.data.pipeline import read_examples
from jaxadv.data.records import DataSet, Record


class Cost(NamedTuple):
    """The best of several rounds.

    Attributes:
      rate: pictures a second, by the clock.
      cpu: milliseconds of processor time a picture, whatever else the machine does.
    """

    rate: float
    cpu: float


class Pace(NamedTuple):
    """What reading costs (read, decoded, resized, as float32), and the decoder alone."""

    read: Cost
    decoded: Cost


def measure(
    data: DataSet, shape: tuple[int, int], *, workers: int | None = None, rounds: int = 3
) -> Pace:
    """Time reading and the decoder alone in turns, on the same pictures and threads.

    Args:
      data: records whose pictures are files or encoded.
      shape: height and width to resize to.
      workers: threads; one a core by default.
      rounds: how often; the best counts, as others may use the machine.
    """
    threads = workers or os.cpu_count() or 1

    def decode_all() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_decode, data.records))

    def read_all() -> None:
        for _ in read_examples(data, shape, workers=threads):
            pass

    both = [(_seconds(read_all), _seconds(decode_all)) for _ in range(rounds + 1)][1:]
    best = np.min(both, axis=0) / len(data.records)
    reading, decoding = (Cost(float(1 / clock), float(1e3 * cpu)) for clock, cpu in best)
    return Pace(reading, decoding)


def _decode(record: Record) -> None:
    picture = record.picture
    if isinstance(picture, np.ndarray):
        return
    contents = read_bytes(picture) if isinstance(picture, Path) else picture.read()
    if isinstance(contents, bytes):
        with Image.open(io.BytesIO(contents)) as image:
            image.load()


def _seconds(job: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    clock, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - cpu
