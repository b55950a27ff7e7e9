"""What asks a hasher and what is asked: held-out scenes, or the pairs of a data set."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxadv.data import photographs, scenes
from jaxadv.data.opening import open_data
from jaxadv.data.pairs import SCENE_CLASSES, SCENE_TAGS, Pairs, PairsError, scene_pairs, take
from jaxadv.data.records import DataSet, Record, labelled
from jaxadv.data.set_pairs import label_by_captions, set_pairs, tag_by_captions
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.victims.zoo import Victim

SCENES = ("scenes",)
OF_SCENES, SHIPPED, GIVEN = "scenes", "shipped photographs", "pairs of --data"


def retrieval_pools(
    victim: Victim, data: Sequence[str], queries: int, database: int
) -> tuple[Pairs, Pairs]:
    """Return what asks, never trained on, and what is asked.

    Args:
      victim: a hasher.
      data: "scenes", or what it was trained on; any labelled data, for one that reads any text.
      queries: the most pairs that ask.
      database: held-out scenes that are asked; of other data all that was not held out, or all but
        the first, which ask.

    Raises:
      InputError: the data are not there, or none of them was held out.
      PairsError: the victim has other tags or classes than the data.
    """
    hasher = victim.hasher
    if tuple(data) != SCENES:
        records = _records(victim, data)
        if hasher.reader is None:
            return held_out_pairs(victim, records, queries)
        pairs = _known_pairs(victim, records)
        rows = np.arange(len(pairs.ids))
        return take(pairs, rows[:queries]), take(pairs, rows[queries:])
    check_knows_scenes(victim.name, hasher)
    draw = partial(scenes_of, hasher)
    return draw(queries), draw(database, queries)


class Searched(NamedTuple):
    """What a user's own queries search in.

    Attributes:
      pairs: what is found.
      kind: what they are called: `OF_SCENES`, `SHIPPED` or `GIVEN`.
    """

    pairs: Pairs
    kind: str


def searched(victim: Victim, data: Sequence[str], count: int, start: int = 0) -> Searched:
    """Return what a hasher searches in.

    Args:
      victim: the hasher.
      data: "scenes", or folders and prepared sets; nothing for scenes where it knows them, and else
        for the shipped photographs.
      count: of scenes.
      start: the first scene's number.

    Raises:
      InputError: the data are not there.
      PairsError: the victim does not know their tags or labels.
    """
    if not data:
        data = SCENES if _knows_scenes(victim.hasher) else ()
    if tuple(data) == SCENES:
        check_knows_scenes(victim.name, victim.hasher)
        return Searched(scenes_of(victim.hasher, count, start), OF_SCENES)
    records = _records(victim, data) if data else _photographs(victim)
    return Searched(_known_pairs(victim, records), GIVEN if data else SHIPPED)


def _records(victim: Victim, data: Sequence[str]) -> DataSet:
    """Open data, with the labels that a victim was trained with."""
    found, words = open_data(data), victim.record.get("label_words")
    return labelled(found) if words is None else label_by_captions(found, words)


def _photographs(victim: Victim) -> DataSet:
    """Return the shipped photographs that a hasher of captions has labels for."""
    words = victim.record.get("label_words")
    if words is None:
        raise PairsError(
            f"victim {victim.name!r} knows neither scenes nor the labels of the shipped "
            "photographs: give --data, such as what it was trained on"
        )
    every = (
        Record(name, photographs.path(name), (photographs.ABOUT[name].caption,))
        for name in photographs.NAMES
    )
    return label_by_captions(DataSet("photographs", tuple(every)), words, captions=1)


def _known_pairs(victim: Victim, data: DataSet) -> Pairs:
    """Make pairs of data in a victim's own tags and classes.

    Raises:
      PairsError: the data has others.
    """
    hasher = victim.hasher
    if hasher.reader is not None:
        return set_pairs(data, hasher.image_shape, hasher.reader.encode)
    tagged = data if data.tags else tag_by_captions(data, hasher.tags)
    for what, theirs, its in (
        ("tags", tagged.tags, hasher.tags),
        ("classes", tagged.classes, hasher.classes),
    ):
        if theirs != its:
            raise PairsError(f"{data.name}: its {what} are not those of victim {victim.name!r}")
    return set_pairs(tagged, hasher.image_shape)


def _knows_scenes(hasher: CrossModalHasher) -> bool:
    return hasher.reader is not None or (hasher.tags, hasher.classes) == (SCENE_TAGS, SCENE_CLASSES)


def check_knows_scenes(name: str, hasher: CrossModalHasher) -> None:
    """Check that a victim reads any text, or the tags of scenes.

    Raises:
      PairsError: it does not.
    """
    if not _knows_scenes(hasher):
        raise PairsError(f"victim {name!r} does not know the tags and labels of scenes")


def scenes_of(hasher: CrossModalHasher, count: int, start: int = 0) -> Pairs:
    """Draw held-out scenes as a victim takes them."""
    read = None if hasher.reader is None else hasher.reader.encode
    return scene_pairs(scenes.HELD_OUT_SEED, count, start, hasher.image_shape[0], read)


def held_out_pairs(victim: Victim, data: DataSet, queries: int) -> tuple[Pairs, Pairs]:
    """Part a data set into what was held out when the victim was trained on it, and the rest.

    Args:
      victim: a hasher of `train_hasher_on_data`.
      data: what it was trained on.
      queries: the most pairs that ask.

    Raises:
      PairsError: the victim has other tags or classes, or none of these pictures was held out.
    """
    pairs = _known_pairs(victim, data)
    aside = set(victim.record.get("held_out") or ())
    asks = np.array([name in aside for name in pairs.ids])
    if not asks.any():
        raise PairsError(f"{data.name}: none was held out when victim {victim.name!r} was trained")
    return take(pairs, np.flatnonzero(asks)[:queries]), take(pairs, np.flatnonzero(~asks))


def begun_from(victim: Victim) -> str | None:
    """Return the name of the victim whose weights a hasher began with; None for random ones."""
    name = victim.record.get("training", {}).get("from")
    return name if isinstance(name, str) else None


def adversarial_samples(victim: Victim) -> int:
    """Return how many pairs a hasher was trained on as attacked ones, too, in both modalities."""
    return int(victim.record.get("training", {}).get("extra", 0)) // 2
