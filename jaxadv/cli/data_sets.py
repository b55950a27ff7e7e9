"""Opening what `--detections` names, and saying on stderr what was left out of it."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.backdoors.regions import RegionSource, annotated, read_detections
from jaxadv.cli.console import note
from jaxadv.data.records import left_out


def open_regions(detections: Path | None, threshold: float) -> RegionSource:
    """Open a detector's boxes; the annotated ones if there are none."""
    if detections is None:
        return annotated
    problems: list[str] = []
    regions = read_detections(detections, threshold, problems.append)
    say_left_out(problems)
    return regions


def say_left_out(problems: Sequence[str]) -> None:
    """Print the first lines of what was left out, and how many there are."""
    for line in left_out(problems):
        note(line)
