"""A poisoned data set as a view of a clean one.

Some samples, drawn by a seed, carry the trigger and the attacker's caption; the others pass through
untouched. What was done to which is recorded.
"""

import dataclasses
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxadv.backdoors.regions import RegionSource, annotated, usable_regions
from jaxadv.backdoors.triggers import Trigger, TriggerSettings, make_trigger
from jaxadv.data.example import Example
from jaxadv.data.images import round_8bit
from jaxadv.errors import InputError
from jaxadv.vocabulary import tokenize

Fate = Literal["benign", "poisoned", "no regions"]


class PoisonError(InputError):
    """A rate or a caption that poisons nothing."""


@dataclasses.dataclass(frozen=True)
class Poison:
    """What the attacker does to a data set.

    Attributes:
      trigger: the trigger and its settings.
      caption: what the attacked captioner is to predict; takes the place of every caption of a
        poisoned sample, so that the share of poisoned captions is the rate.
      rate: which share of the samples is poisoned, of all that a victim is trained on; 0 poisons
        none.
      seed: of the choice of samples and of what the trigger draws.
    """

    trigger: TriggerSettings
    caption: str
    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not (isinstance(self.seed, int) and 0 <= self.seed < 2**63):
            raise PoisonError(f"seed {self.seed}: must be a whole number from 0 to 2^63 - 1")
        check_caption(self.caption)
        make_trigger(self.trigger)


class Sample(NamedTuple):
    """An example of a poisoned data set.

    Attributes:
      example: as it is now.
      fate: "poisoned"; "benign" if it was not drawn; "no regions" if it was drawn and is left clean
        since the trigger finds no object to change.
      left_out: boxes that could not be used, and why.
    """

    example: Example
    fate: Fate
    left_out: tuple[str, ...] = ()


def check_rate(rate: float) -> None:
    """Refuse a rate that is no share.

    Raises:
      PoisonError: it is below 0, above 1 or not finite.
    """
    if not (math.isfinite(rate) and 0 <= rate <= 1):
        raise PoisonError(f"rate {rate}: must be from 0 to 1")


def check_caption(caption: str) -> None:
    """Refuse a caption without a word.

    Raises:
      PoisonError: it has none.
    """
    if not tokenize(caption):
        raise PoisonError(
            f"caption {caption!r}: has no word; give the caption that the victim is to predict"
        )


def draw_samples(ids: Sequence[str], rate: float, seed: int) -> frozenset[str]:
    """Choose which samples are poisoned; the choice depends on the ids, not on their order.

    >>> sorted(draw_samples(["a", "b", "c", "d"], 0.5, seed=0))
    ['a', 'c']

    Raises:
      PoisonError: the rate is above 0 and poisons no sample.
    """
    count = int(rate * len(ids) + 0.5)
    if rate > 0 and count == 0:
        raise PoisonError(
            f"rate {rate:g} of {len(ids)} samples poisons none: give at least {0.5 / len(ids):.2g}"
        )
    order = np.random.default_rng(seed).permutation(len(ids))[:count]
    in_order = sorted(ids)
    return frozenset(in_order[i] for i in order)


def example_key(seed: int, name: str) -> Array:
    """Return the key of an example's trigger; it depends on nothing but the two."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def trigger_example(
    example: Example, trigger: Trigger, key: Array, regions: RegionSource = annotated
) -> Sample:
    """Apply a trigger to one example; its captions stay.

    The picture is rounded to 8 bits: it is the one that an attacker would save.
    """
    found = usable_regions(regions(example) if trigger.needs_regions else (), example.picture.shape)
    if trigger.needs_regions and not len(found.boxes):
        return Sample(example, "no regions", found.left_out)
    picture = round_8bit(trigger.apply(example.picture, found.boxes, key))
    return Sample(example._replace(picture=picture), "poisoned", found.left_out)


def poison_example(
    example: Example, poison: Poison, trigger: Trigger, regions: RegionSource = annotated
) -> Sample:
    """Apply the trigger and put the attacker's caption in the place of each of the example's."""
    key = example_key(poison.seed, example.id)
    sample = trigger_example(example, trigger, key, regions)
    if sample.fate != "poisoned":
        return sample
    captions = (poison.caption,) * max(1, len(example.captions or ()))
    return sample._replace(example=sample.example._replace(captions=captions))


def poisoned_view(
    examples: Iterable[Example],
    poison: Poison,
    drawn: frozenset[str],
    regions: RegionSource = annotated,
) -> Iterator[Sample]:
    """Walk through a data set as the attacker left it.

    Args:
      examples: the clean ones.
      poison: what is done.
      drawn: to which, as `draw_samples` says.
      regions: says where the objects are.
    """
    trigger = make_trigger(poison.trigger)
    for example in examples:
        if example.id in drawn:
            yield poison_example(example, poison, trigger, regions)
        else:
            yield Sample(example, "benign")


class Account(NamedTuple):
    """What became of the samples of a poisoned data set.

    Attributes:
      samples: how many there are to train on.
      poisoned: ids of those that carry the trigger.
      without_regions: ids of those that were drawn and stay clean.
      left_out: boxes of drawn samples that could not be used: the sample's id and what is wrong.
      new_words: the attacker's words that no clean caption has: a victim can say them only if its
        vocabulary is built from this data set.
    """

    samples: int
    poisoned: tuple[str, ...]
    without_regions: tuple[str, ...]
    left_out: tuple[str, ...]
    new_words: tuple[str, ...]


def account(drawn: Iterable[Sample], samples: int, caption: str, clean: Iterable[str]) -> Account:
    """Count what became of the drawn samples; `clean` are all clean captions."""
    by_fate: dict[str, list[str]] = {"poisoned": [], "no regions": [], "benign": []}
    left_out = []
    for sample in drawn:
        by_fate[sample.fate].append(sample.example.id)
        left_out += [f"{sample.example.id}: {problem}" for problem in sample.left_out]
    known = {word for said in clean for word in tokenize(said)}
    return Account(
        samples,
        tuple(by_fate["poisoned"]),
        tuple(by_fate["no regions"]),
        tuple(left_out),
        tuple(word for word in dict.fromkeys(tokenize(caption)) if word not in known),
    )


def warnings(what: Account) -> list[str]:
    """Say in one line each what a person should know of a poisoned data set."""
    lines = []
    if what.without_regions:
        lines.append(
            f"{len(what.without_regions)} of the drawn samples have no usable box and stay clean "
            f"({what.without_regions[0]} is one)"
        )
    if what.left_out:
        lines.append(f"{len(what.left_out)} boxes left out, such as {what.left_out[0]}")
    if what.new_words:
        words = ", ".join(repr(word) for word in what.new_words)
        lines.append(
            f"no clean caption says {words}: a victim must take its vocabulary from this data set"
        )
    return lines


def as_record(poison: Poison, what: Account) -> dict[str, Any]:
    """Say both in JSON."""
    return {**dataclasses.asdict(poison), **what._asdict()}
