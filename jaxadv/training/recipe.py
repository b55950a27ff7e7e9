"""What all recipes share: their shape, and how one is run.

A recipe says how a victim is trained and measured. The functions that make one read its data first,
and like `train` they yield their progress.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data import scenes
from jaxadv.data.records import FolderError, Record
from jaxadv.progress import Progress
from jaxadv.training.fit import Report
from jaxadv.victims import zoo
from jaxadv.victims.architectures import Architecture, Names, Params


class Trained(NamedTuple):
    """A victim after some steps.

    Attributes:
      step: number of steps taken.
      message: one line about them.
      variables: what is saved if training ends here.
      training: further entries of the record's `training`.
      measures: further entries of the record's `measures`.
    """

    step: int
    message: str
    variables: Params
    training: Mapping[str, Any] = {}
    measures: Mapping[str, Any] = {}


class Storage(NamedTuple):
    """How a victim's weights are stored.

    Attributes:
      stored: one of `zoo.STORED`; measured are the weights as they are stored.
      backbone_of: a victim of the same folder with the same backbone; None stores its own.
    """

    stored: str = "float32"
    backbone_of: str | None = None


PLAIN = Storage()


class Recipe(NamedTuple):
    """How a victim is trained, measured and recorded.

    Attributes:
      architecture: what is trained.
      names: the names of its inputs and outputs, as `architecture.named` asks.
      fit: the training, data and optimiser included; its last item is saved.
      steps: number of steps in total.
      source: how the victim was made, for its record.
      training: the settings, for its record.
      measure: `variables -> measures` on held-out examples, for its record.
      summary: `record -> message`, the last line of the progress.
      record: further entries of its record; must be JSON.
      read: number of pictures read beforehand, which count as progress.
      storage: how the weights are stored.
    """

    architecture: Architecture
    names: Names
    fit: Iterator[Trained]
    steps: int
    source: str
    training: Mapping[str, Any]
    measure: Callable[[Params], Mapping[str, Any]]
    summary: Callable[[Mapping[str, Any]], str]
    record: Mapping[str, Any] = {}
    read: int = 0
    storage: Storage = PLAIN


def train(folder: Path, recipe: Recipe) -> Iterator[Progress]:
    """Train a victim, measure it, and write its folder.

    Args:
      folder: the victim's folder.
      recipe: what is trained, and how.

    Yields:
      Progress; the last item sums up the measures.
    """
    total = recipe.read + recipe.steps
    for trained in recipe.fit:
        yield Progress(recipe.read + trained.step, total, trained.message)
    variables = zoo.rounded(trained.variables, recipe.storage.stored)
    measures = {**trained.measures, **recipe.measure(variables)}
    record = {
        "source": recipe.source,
        "training": {**recipe.training, **trained.training},
        **({"measures": measures} if measures else {}),
        **recipe.record,
    }
    zoo.save(
        folder,
        recipe.architecture,
        recipe.names,
        variables,
        **recipe.storage._asdict(),
        **record,
    )
    yield Progress(total, total, recipe.summary(record))


def with_messages(job: Iterator[tuple[Report, Params]], loss: str) -> Iterator[Trained]:
    """Describe the reports of a training loop, such as by "loss {:.3f} a word"."""
    for report, variables in job:
        yield Trained(report.step, loss.format(report.loss), variables)


def hold_out(
    photos: Sequence[Record], count: int, before: Collection[str] = ()
) -> tuple[list[Record], list[Record]]:
    """Split photographs into a training set and a held-out set; deterministic.

    Args:
      photos: all photographs.
      count: number of photographs to hold out.
      before: ids that earlier training held out; if any of them is among `photos`, these are held
        out instead.

    Returns:
      The training set and the held-out set.

    Raises:
      FolderError: there are too few photographs.
    """
    if any(photo.id in before for photo in photos):
        known = set(before)
        return [p for p in photos if p.id not in known], [p for p in photos if p.id in known]
    if count >= len(photos):
        raise FolderError(f"{len(photos)} photographs: cannot hold out {count} of them")
    order = np.random.default_rng(scenes.HELD_OUT_SEED).permutation(len(photos))
    return [photos[i] for i in order[count:]], [photos[i] for i in sorted(order[:count])]
