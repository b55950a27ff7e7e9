"""What a sweep is made of: cells, their settings and what they attack."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxadv.backdoors import methods as backdoor_methods
from jaxadv.captions import methods as caption_methods
from jaxadv.core.method import Chosen, Method
from jaxadv.experiments.hash_attacks import CONTEXT
from jaxadv.hashing import methods as hash_methods
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


Design = CaptionDesign | LabelDesign | RetrievalDesign | BackdoorDesign
TASKS: dict[str, tuple[Sequence[Method], type[Design]]] = {
    "captions": (caption_methods.METHODS, CaptionDesign),
    "labels": (label_methods.METHODS, LabelDesign),
    "retrieval": (hash_methods.METHODS, RetrievalDesign),
    "backdoor": (backdoor_methods.METHODS, BackdoorDesign),
}

DRAWING = 2
"""Counts up when other targets are drawn from the same captions, so that no cell mixes both."""
OLD_NAMES = {"rounds": "iterations"}
"""What options were called before, in sweep files (until the next version) and in records."""
VERSION = 2
"""Of digests; counts up when an option that is not given comes to mean something else."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A victim, a method with its options, and what is attacked.

    Attributes:
      task: a key of `TASKS`.
      victim: its name or folder.
      seed: of the choice of targets and of what the attacks draw.
      method: the method with its options.
      design: what is attacked.
    """

    task: str
    victim: str
    seed: int
    method: Chosen
    design: Design

    @property
    def columns(self) -> dict[str, Any]:
        """What its records say of it: the victim, and every option that the method uses."""
        return {"task": self.task, "victim": self.victim, "seed": self.seed, **self.method.used}

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for all of it.

        They are of what differs from the defaults, so that an option that is added later changes no
        digest of a cell that does not use it.
        """
        everything = {
            "version": VERSION,
            "task": self.task,
            "victim": self.victim,
            "seed": self.seed,
            "method": self.method.name,
            "options": _given(self.method.options),
            "design": _given(self.design),
        }
        if isinstance(self.design, CaptionDesign) and not self.design.requests:
            everything["drawing"] = DRAWING
        text = json.dumps(everything, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _given(of: Any) -> dict[str, Any]:
    """Return the fields that are not at their defaults."""
    fields = dataclasses.fields(of)
    return {f.name: getattr(of, f.name) for f in fields if getattr(of, f.name) != f.default}


def renamed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored cell's columns as they are called now."""
    return {OLD_NAMES.get(name, name): value for name, value in columns.items()}


def same_cell(stored: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Return whether columns that an earlier version stored are those of a cell of today.

    An option that came later is at its default there; one that the method does not read is passed
    over.
    """
    if stored["task"] != cell["task"] or stored["method"] != cell["method"]:
        return False
    methods = {method.name: method for method in TASKS[cell["task"]][0]}
    if cell["method"] not in methods:
        return False
    own = Chosen(methods[cell["method"]], methods[cell["method"]].options()).used
    return all(
        (own.get(name) if stored.get(name) is None else stored[name]) == value
        for name, value in cell.items()
    )
