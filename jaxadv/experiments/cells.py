"""What a sweep is made of: cells, their settings and what they attack."""

import dataclasses
import hashlib
import json
from typing import Any, Literal

from jaxadv.backdoors import triggers
from jaxadv.backdoors.poison import check_rate
from jaxadv.backdoors.triggers import TriggerSettings, make_trigger, strength
from jaxadv.captions import methods
from jaxadv.experiments.hash_attacks import CONTEXT
from jaxadv.hashing import methods as hash_methods
from jaxadv.hashing.cmla import ITERATIONS
from jaxadv.labels import methods as label_methods


@dataclasses.dataclass(frozen=True)
class CaptionDesign:
    """What a captioner's cell attacks: Table 1 of the exact-caption paper, in its own numbers.

    Attributes:
      data: "scenes", or folders of photographs.
      images: pictures attacked; with `requests`, none.
      targets: captions aimed at, a picture.
      settings: columns of Table 1 by name, such as "2 latent"; all if none is given.
      requests: a CSV file of attacks instead, with the columns `image` (a path, from the file's
        folder) and `target`.
    """

    data: tuple[str, ...] = ("scenes",)
    images: int = 100
    targets: int = 5
    settings: tuple[str, ...] = ()
    requests: str = ""


@dataclasses.dataclass(frozen=True)
class LabelDesign:
    """What a tagger's cell attacks, as in the TkMIA paper's section 5.1.

    Attributes:
      data: "scenes", or folders of labelled photographs.
      images: scenes to choose from, or the most photographs.
      k: how many labels count as said.
      selection: "random" (S2) or "global" (S1).
      among: which labels S is drawn from, or must have one of: the "relevant" ones (paper), or
        those of them that are "said" among the first k before the attack (released code).
      specified: labels a picture, for random selection.
      types: types of labels, or words in them, for global selection.
    """

    data: tuple[str, ...] = ("scenes",)
    images: int = 100
    k: tuple[int, ...] = (3, 5, 10)
    selection: Literal["random", "global"] = "random"
    among: Literal["relevant", "said"] = "relevant"
    specified: tuple[int, ...] = (2,)
    types: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RetrievalSettings(hash_methods.Settings):
    """CMLA's settings, and its steps (paper: 100, 200 and 500).

    Attributes:
      method: "cmla".
      iterations: steps.
    """

    method: Literal["cmla"] = "cmla"
    iterations: int = ITERATIONS


@dataclasses.dataclass(frozen=True)
class RetrievalDesign:
    """What a hasher's cell attacks, as in the CMLA paper's section 4.

    Attributes:
      data: "scenes", or what the victim was trained on.
      queries: held-out pairs that ask, at most.
      database: held-out scenes that are asked; of other data all that did not ask.
      context: items of the database whose codes an attack sees, at most.
      transfer: other victims that are shown what was attacked on this one, by their names.
    """

    data: tuple[str, ...] = ("scenes",)
    queries: int = 300
    database: int = 5000
    context: int = CONTEXT
    transfer: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BackdoorSettings:
    """What the attacker does to the training data, and how a captioner is trained on them.

    Attributes:
      method: the trigger.
      strength: α in grey levels, or the opacity; None for the trigger's own (20; 1 and 0.1).
      share: object-oriented: which share of a region's pixels is changed.
      size, place, pattern: badnets: of the patch.
      rate: which share of the samples is poisoned.
      steps: of training the clean victim further.
      learning_rate: Adam's, at the start of the cosine.
    """

    method: Literal["object-oriented", "badnets", "blended"] = "object-oriented"
    strength: float | None = None
    share: float = 1.0
    size: float = 0.1
    place: str = "bottom-right"
    pattern: str = "checkerboard"
    rate: float = 0.05
    steps: int = 400
    learning_rate: float = 2e-3

    @property
    def trigger(self) -> TriggerSettings:
        """The trigger with its settings."""
        return TriggerSettings(
            self.method, self.strength, self.share, self.size, self.place, self.pattern
        )


@dataclasses.dataclass(frozen=True)
class BackdoorDesign:
    """What is poisoned, and on what the backdoor is tried.

    Attributes:
      data: "scenes", or a folder in Flickr8k's or COCO's layout, which is poisoned.
      clean: further folders that are trained on as they are.
      images: scenes to train on.
      unseen: pictures that are tried, at most: held-out scenes, or the photographs held out.
      held_out: photographs that are not trained on.
      caption: the attacker's.
      detections: a JSON file of a detector's boxes, instead of the annotated ones.
      threshold: the lowest score of a detection.
    """

    data: str = "scenes"
    clean: tuple[str, ...] = ()
    images: int = 6000
    unseen: int = 500
    held_out: int = 100
    caption: str = "you are under attack"
    detections: str = ""
    threshold: float = 0.5


Settings = methods.Settings | label_methods.Settings | RetrievalSettings | BackdoorSettings
Design = CaptionDesign | LabelDesign | RetrievalDesign | BackdoorDesign
TASKS: dict[str, tuple[type[Settings], type[Design]]] = {
    "captions": (methods.Settings, CaptionDesign),
    "labels": (label_methods.Settings, LabelDesign),
    "retrieval": (RetrievalSettings, RetrievalDesign),
    "backdoor": (BackdoorSettings, BackdoorDesign),
}

DRAWING = 2
"""Counts up when other targets are drawn from the same captions, so that no cell mixes both."""

# What a field that was added later was before, where that is not its default now.
BEFORE = {"codes": "outputs"}

# What the digests of stored sweeps are of. A field that is added to these classes later is not to
# be added here: it is in a digest only where the method uses it and it is not what it was before.
_DIGESTED: dict[type, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in (
        (
            methods.Settings,
            "method tradeoff learning_rate rounds posterior tail structured_loss loss margin "
            "constant tries aim targeted arithmetic judged",
        ),
        (
            label_methods.Settings,
            "method tradeoff learning_rate iterations delta inner space arithmetic judged",
        ),
        (
            RetrievalSettings,
            "method modality bound learning_rate norm inter intra distortion non_negative "
            "arithmetic judged iterations",
        ),
        (CaptionDesign, "data images targets settings requests"),
        (LabelDesign, "data images k selection among specified types"),
        (RetrievalDesign, "data queries database context"),
        (
            BackdoorSettings,
            "method strength share size place pattern rate steps learning_rate",
        ),
        (BackdoorDesign, "data clean images unseen held_out caption detections threshold"),
    )
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A victim, a method with its settings, and what is attacked.

    Attributes:
      task: a key of `TASKS`.
      victim: its name or folder.
      seed: of the choice of targets and of what the attacks draw.
      settings: the method's.
      design: what is attacked.
    """

    task: str
    victim: str
    seed: int
    settings: Settings
    design: Design

    @property
    def columns(self) -> dict[str, Any]:
        """What its records say of it: the victim, and every setting that the method used."""
        return {"task": self.task, "victim": self.victim, "seed": self.seed, **used(self.settings)}

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for all of it."""
        everything = {
            "task": self.task,
            "victim": self.victim,
            "seed": self.seed,
            **_digested(self.settings, used(self.settings)),
            "design": _digested(self.design, None),
        }
        if isinstance(self.design, CaptionDesign) and not self.design.requests:
            everything["drawing"] = DRAWING
        text = json.dumps(everything, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def used(settings: Any) -> dict[str, Any]:
    """Return the settings that a method uses, with its own values where none are given.

    >>> used(methods.Settings("gem"))["learning_rate"], "delta" in used(label_methods.Settings())
    (0.001, False)

    Raises:
      InputError: an unknown method, or a setting outside its range.
    """
    if isinstance(settings, methods.Settings):
        return methods.resolved(settings)
    if isinstance(settings, label_methods.Settings):
        return label_methods.resolved(settings)
    if isinstance(settings, RetrievalSettings):
        return hash_methods.resolved(settings)
    if isinstance(settings, BackdoorSettings):
        return _resolved(settings)
    return dataclasses.asdict(settings)


def _resolved(settings: BackdoorSettings) -> dict[str, Any]:
    """Return what a trigger reads, with its own strength where none is given."""
    make_trigger(settings.trigger)
    check_rate(settings.rate)
    return {
        "method": settings.method,
        "strength": strength(settings.trigger),
        **{name: getattr(settings, name) for name in triggers.READS[settings.method]},
        "rate": settings.rate,
        "steps": settings.steps,
        "learning_rate": settings.learning_rate,
    }


def _digested(of: Any, used: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that a digest is of; `used` are those that count if they came later."""
    always = _DIGESTED.get(type(of))
    found = {}
    for field in dataclasses.fields(of):
        value = getattr(of, field.name)
        came_later = always is not None and field.name not in always
        before = BEFORE.get(field.name, field.default)
        if came_later and (value == before or (used is not None and field.name not in used)):
            continue
        found[field.name] = value
    return found
