"""How fast pictures are read, beside the decoder alone: what the disk's JPEGs cost at least."""

import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jaxadv.data.images import read_bytes
from jaxadv.data.pipeline import read_examples
from jaxadv.data.records import DataSet, Record


class Pace(NamedTuple):
    """Pictures a second, the best of the rounds of each.

    Attributes:
      read: read, decoded, resized, as float32.
      decoded: the decoder alone.
    """

    read: float
    decoded: float


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

    times = [(_seconds(read_all), _seconds(decode_all)) for _ in range(rounds + 1)][1:]
    reading, decoding = (min(column) for column in zip(*times, strict=True))
    return Pace(len(data.records) / reading, len(data.records) / decoding)


def _decode(record: Record) -> None:
    picture = record.picture
    contents = read_bytes(picture) if isinstance(picture, Path) else picture.read()  # type: ignore[union-attr]
    with Image.open(io.BytesIO(bytes(contents))) as image:
        image.load()


def _seconds(job: Callable[[], None]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
