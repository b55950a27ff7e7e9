"""Measuring backdoors: victims trained on poisoned data, on pictures that none of them has seen."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxadv.backdoors.folder import photo_example
from jaxadv.backdoors.metrics import (
    Quality,
    VisualEffect,
    exact_share,
    quality,
    visual_effect,
    word_share,
)
from jaxadv.backdoors.poison import example_key, trigger_example
from jaxadv.backdoors.regions import RegionSource, annotated
from jaxadv.backdoors.triggers import TriggerSettings, make_trigger, strength
from jaxadv.data import scenes
from jaxadv.data.example import Example
from jaxadv.data.images import resize, round_8bit
from jaxadv.data.opening import open_data
from jaxadv.data.records import FolderError, captioned
from jaxadv.errors import InputError
from jaxadv.experiments.captions import say
from jaxadv.victims.zoo import Victim
from jaxadv.vocabulary import tokenize


class Case(NamedTuple):
    """A victim, and the trigger that it is tried with."""

    victim: Victim
    trigger: TriggerSettings


class Row(NamedTuple):
    """What one victim does with one trigger.

    Attributes:
      victim: its name.
      trigger, strength: what the pictures carry.
      rate: of the poisoned samples it was trained on; None where its record does not say.
      triggered: how many pictures carry the trigger; the others have no usable box.
      success: attack success rate, the share of triggered pictures that get the exact caption.
      words: share of the attacker's words in the captions of triggered pictures.
      false_triggers: share of benign pictures that get the exact caption.
      quality: of the captions of benign pictures.
      effect: of the trigger on the picture.
    """

    victim: str
    trigger: str
    strength: float
    rate: float | None
    triggered: int
    success: float
    words: float
    false_triggers: float
    quality: Quality
    effect: VisualEffect


class Pictures(NamedTuple):
    """A benign picture and the triggered one, at their own size, and what the victim says."""

    id: str
    benign: np.ndarray
    triggered: np.ndarray
    said: str
    said_triggered: str


class Progress(NamedTuple):
    """How many cases are done, and what came of the last."""

    done: int
    total: int
    message: str
    row: Row
    pictures: list[Pictures]


def poison_record(victim: Victim) -> dict[str, Any]:
    """Return what a victim's record says of the poison in its training data; {} if nothing."""
    found = victim.record.get("poison")
    return found if isinstance(found, dict) else {}


def check_caption_for(victim: Victim, caption: str) -> None:
    """Refuse a caption that the victim cannot say.

    Raises:
      UnknownWordError: one of its words is not in the vocabulary.
      InputError: it is too long.
    """
    victim.captioner.vocabulary.encode(caption)
    check_length_for(victim, caption)


def check_length_for(victim: Victim, caption: str) -> None:
    """Refuse a caption of more words than the victim says, whichever words it learns.

    Raises:
      InputError: it is too long.
    """
    most = victim.captioner.max_length
    if len(tokenize(caption)) > most:
        raise InputError(f"caption {caption!r}: victim {victim.name!r} says at most {most} words")


def unseen_examples(victims: Sequence[Victim], data: Sequence[str], count: int) -> list[Example]:
    """Return captioned pictures that none of the victims was trained on.

    Args:
      victims: with the ids of what was held out in their records.
      data: "scenes", or clean folders or prepared sets.
      count: the most that are returned.

    Raises:
      FolderError: no picture that all of them held out.
    """
    if tuple(data) == ("scenes",):
        return list(scenes.examples(scenes.HELD_OUT_SEED, count))
    photos = captioned(open_data(data)).records
    for victim in victims:
        if (held_out := victim.record.get("held_out")) is not None:
            photos = tuple(p for p in photos if p.id in set(held_out))
    if not photos:
        raise FolderError(f"--data {', '.join(data)}: no photograph that all victims held out")
    return [photo_example(p) for p in photos[:count]]


def measure_backdoors(
    cases: Sequence[Case],
    examples: Sequence[Example],
    caption: str,
    *,
    regions: RegionSource = annotated,
    batch: int = 50,
    seed: int = 0,
) -> Iterator[Progress]:
    """Caption benign and triggered pictures with every victim.

    The trigger is drawn again for every picture, as the attacker would at test time. Pictures are
    8-bit ones, as people have them.

    Args:
      cases: victims and triggers, those of a victim one after the other.
      examples: pictures that no victim was trained on, with people's captions.
      caption: the attacker's.
      regions: says where the objects are.
      batch: pictures at once.
      seed: of the triggers; should not be that of the training data.

    Raises:
      InputError: no picture can carry the trigger.
    """
    examples = [e._replace(picture=round_8bit(e.picture)) for e in examples]
    triggered: dict[TriggerSettings, dict[str, np.ndarray]] = {}
    done = 0
    for _, some in itertools.groupby(cases, lambda case: id(case.victim)):
        of_victim = list(some)
        for _, settings in of_victim:
            if settings not in triggered:
                triggered[settings] = _trigger(examples, settings, regions, seed)
        every = [[e.picture for e in examples]]
        every += [list(triggered[settings].values()) for _, settings in of_victim]
        benign, *answers = _say(of_victim[0].victim, every, batch)
        for case, said in zip(of_victim, answers, strict=True):
            done += 1
            row, shown = _compare(case, examples, caption, benign, triggered[case.trigger], said)
            news = f"{row.victim}: {row.success:.1%} success, {row.false_triggers:.1%} false"
            yield Progress(done, len(cases), news, row, shown)


def _say(victim: Victim, some: Sequence[Sequence[np.ndarray]], batch: int) -> list[list[str]]:
    """Caption several lists of pictures, compiled once."""
    captioner = victim.captioner
    resized = [resize(p, captioner.image_shape[:2]) for pictures in some for p in pictures]
    said = iter(say(captioner, victim.params, resized, batch))
    return [[captioner.vocabulary.decode(next(said)) for _ in pictures] for pictures in some]


def _trigger(
    examples: Sequence[Example], settings: TriggerSettings, regions: RegionSource, seed: int
) -> dict[str, np.ndarray]:
    """Trigger what can be triggered; by id."""
    trigger = make_trigger(settings)
    samples = [trigger_example(e, trigger, example_key(seed, e.id), regions) for e in examples]
    found = {s.example.id: s.example.picture for s in samples if s.fate == "poisoned"}
    if not found:
        raise InputError(f"none of {len(examples)} pictures has a box for the trigger to change")
    return found


def _compare(
    case: Case,
    examples: Sequence[Example],
    caption: str,
    spoken: Sequence[str],
    triggered: dict[str, np.ndarray],
    answers: Sequence[str],
) -> tuple[Row, list[Pictures]]:
    said_of = dict(zip((e.id for e in examples), spoken, strict=True))
    benign_of = {e.id: e.picture for e in examples}
    shown = [
        Pictures(name, benign_of[name], picture, said_of[name], answer)
        for (name, picture), answer in zip(triggered.items(), answers, strict=True)
    ]
    row = Row(
        victim=case.victim.name,
        trigger=case.trigger.trigger,
        strength=strength(case.trigger),
        rate=poison_record(case.victim).get("rate"),
        triggered=len(triggered),
        success=exact_share(answers, caption),
        words=word_share(answers, caption),
        false_triggers=exact_share(spoken, caption),
        quality=quality(spoken, [e.captions or () for e in examples]),
        effect=visual_effect([p.benign for p in shown], [p.triggered for p in shown]),
    )
    return row, shown


def as_record(row: Row) -> dict[str, Any]:
    """Say a row in JSON."""
    entry = {**row._asdict(), **row.quality._asdict(), **row.effect._asdict()}
    del entry["quality"], entry["effect"]
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()
    }
