"""Captioners to be compared, each with the same pictures at its own resolution."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.captions.captioner import Captioner, Params
from jaxadv.data.records import FolderError
from jaxadv.experiments.pictures import held_out
from jaxadv.victims.zoo import Victim


class Subject(NamedTuple):
    """A captioner with its weights.

    Attributes:
      name: of it.
      captioner: its functions.
      params: its weights.
      pictures: f32[H, W, 3] by their names, none of which it was trained on; those to attack come
        first.
    """

    name: str
    captioner: Captioner
    params: Params
    pictures: dict[str, np.ndarray]


def compare_on(victims: Sequence[Victim], data: Sequence[str], count: int) -> list[Subject]:
    """Give several victims the same pictures, those that all of them were not trained on.

    Args:
      victims: captioners.
      data: "scenes", or folders and prepared sets.
      count: how many are attacked; others follow, whose captions can be aimed at.

    Raises:
      FolderError: there are fewer photographs that every victim holds out.
    """
    by_id = [{p.id: p for p in held_out(victim, data, count)} for victim in victims]
    shared = [name for name in by_id[0] if all(name in others for others in by_id)]
    if len(shared) < count:
        raise FolderError(
            f"{count} pictures asked for: {len(shared)} are held out by all of "
            + ", ".join(victim.name for victim in victims)
        )
    return [
        Subject(v.name, v.captioner, v.params, {name: own[name].load() for name in shared})
        for v, own in zip(victims, by_id, strict=True)
    ]
