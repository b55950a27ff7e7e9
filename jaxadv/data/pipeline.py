"""Pictures for attacks and training: decoded, resized and on the device before they are wanted.

Threads decode and resize (both are C that lets other threads run), a batch ahead of the one that is
in use goes to the device. The order is that of the records, whatever the number of threads.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array

from jaxadv.data.example import Box, Example
from jaxadv.data.images import ImageError, resize
from jaxadv.data.records import DataSet, Record, example, load
from jaxadv.errors import InputError

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
Given = TypeVar("Given")
Made = TypeVar("Made")


class Batch(NamedTuple):
    """Examples at a victim's resolution; pictures are on the device, the rest is not.

    Attributes:
      examples: as many as there are pictures, each with its resized picture and boxes.
      pictures: f32[B, H, W, 3].
    """

    examples: tuple[Example, ...]
    pictures: Array


def resized(
    data: DataSet, record: Record, shape: tuple[int, int] | None, rule: Resize = resize
) -> Example:
    """Decode a record, and resize its picture and boxes; features stay as they are.

    Args:
      data: what the record is of.
      record: the record.
      shape: height and width that the victim wants, or None for the picture's own.
      rule: the victim's own resize rule.

    Raises:
      ImageError: its picture cannot be read.
    """
    found = example(data, record)
    if shape is None or found.picture.ndim != 3:
        return found
    height, width = found.picture.shape[:2]
    boxes = found.boxes
    if boxes is not None:
        down, across = shape[0] / height, shape[1] / width
        boxes = tuple(
            Box(b.label, b.left * across, b.top * down, b.right * across, b.bottom * down)
            for b in boxes
        )
    return found._replace(picture=rule(found.picture, shape), boxes=boxes)


def read_examples(
    data: DataSet,
    shape: tuple[int, int] | None = None,
    *,
    rule: Resize = resize,
    workers: int | None = None,
    report: Callable[[str], None] | None = None,
) -> Iterator[Example]:
    """Decode and resize all records in parallel, in their order.

    Args:
      data: the records.
      shape: height and width that the victim wants, or None for each picture's own.
      rule: the victim's own resize rule.
      workers: threads; one a core by default.
      report: is told of a picture that cannot be read, which is then left out; without it, the
        picture is an error.

    Raises:
      ImageError: a picture cannot be read, and there is no `report`.
    """

    def read(record: Record) -> Example | ImageError:
        try:
            return resized(data, record, shape, rule)
        except ImageError as problem:
            return problem

    for found in _in_order(read, data.records, workers):
        if not isinstance(found, ImageError):
            yield found
        elif report is None:
            raise found
        else:
            report(str(found))


def read_pictures(
    records: Sequence[Record],
    shape: tuple[int, int],
    *,
    rule: Resize = resize,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode and resize the pictures alone, in parallel and in order, some ahead of their use.

    Args:
      records: whose pictures.
      shape: height and width that the victim wants.
      rule: the victim's own resize rule.
      workers: threads; one a core by default.

    Raises:
      ImageError: a picture cannot be read.
    """

    def read(record: Record) -> np.ndarray:
        return rule(load(record), shape)

    return _in_order(read, records, workers)


def batches(
    data: DataSet,
    shape: tuple[int, int] | None,
    size: int,
    *,
    rule: Resize = resize,
    workers: int | None = None,
    report: Callable[[str], None] | None = None,
    host: tuple[int, int] | None = None,
    placement: jax.Device | jax.sharding.Sharding | None = None,
) -> Iterator[Batch]:
    """Read this host's share of the records in batches, the next while one is in use.

    Args:
      data: the records.
      shape: height and width that the victim wants.
      size: pictures a batch; the last one has what is left.
      rule: the victim's own resize rule.
      workers: threads; one a core by default.
      report: as in `read_examples`.
      host: this process's number and how many there are; JAX's own by default.
      placement: device or sharding of the pictures; JAX's default device if not given.

    Raises:
      ImageError: a picture cannot be read, and there is no `report`.
      InputError: `size` or `workers` is below 1, or `host` is none of those there are.
    """
    _check_count(size, "size")
    mine = data._replace(records=share(data.records, host))
    read = read_examples(mine, shape, rule=rule, workers=workers, report=report)

    def make() -> Iterator[Batch]:
        while some := tuple(islice(read, size)):
            pictures = np.stack([e.picture for e in some])
            yield Batch(some, jax.device_put(pictures, placement))

    return _ahead(make(), 2)


def share(records: Sequence[Record], host: tuple[int, int] | None = None) -> tuple[Record, ...]:
    """Give a host's records: every n-th, so that shares differ by one record at most.

    >>> share(("a", "b", "c", "d", "e"), (1, 2))
    ('b', 'd')
    """
    number, hosts = (jax.process_index(), jax.process_count()) if host is None else host
    if not 0 <= number < hosts:
        raise InputError(f"host: number {number} of {hosts}; give (number, hosts) from (0, 1) on")
    return tuple(records[number::hosts])


def _check_count(count: int, what: str) -> None:
    if count < 1:
        raise InputError(f"{what}: must be at least 1, not {count}")


def _in_order(
    make: Callable[[Given], Made], given: Sequence[Given], workers: int | None
) -> Iterator[Made]:
    """Map in threads, in order, a few ahead of what is asked for: all of it may not fit."""
    workers = (os.cpu_count() or 1) if workers is None else workers
    _check_count(workers, "workers")
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in given:
                waiting.append(pool.submit(make, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _ahead(items: Iterator[Made], count: int) -> Iterator[Made]:
    """Make items in a thread, at most `count` ahead; what it raises is raised here."""
    ready: queue.Queue[tuple[Made | None, BaseException | None]] = queue.Queue(count)
    stop = threading.Event()

    def put(item: Made | None, problem: BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put((item, problem), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stop.is_set():
                    return
        except BaseException as problem:
            put(None, problem)
        else:
            put(None, None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, problem = ready.get()
            if problem is not None:
                raise problem
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
