"""The attacks on a captioner that a cell of a sweep stands for."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxadv.captions.captioner import Captioner, Params, with_unknown_words
from jaxadv.captions.methods import METHODS
from jaxadv.captions.sensible import sensible
from jaxadv.captions.target import TargetError, write_target
from jaxadv.core import stream
from jaxadv.core.method import Chosen
from jaxadv.core.run import Result
from jaxadv.data.images import ImageError
from jaxadv.experiments.banks import params_with_bank
from jaxadv.experiments.caption_curves import by_location
from jaxadv.experiments.captions import (
    distinct_targets,
    outcome,
    read_target,
    requests_for,
    say,
    settings_named,
    width,
)
from jaxadv.experiments.cells import Cell, Design, PlanError
from jaxadv.experiments.family import Family, column, norm_of_success
from jaxadv.experiments.job import Job, Planned, Shared
from jaxadv.experiments.pictures import Picture, held_out, read_resized
from jaxadv.experiments.shown import Row, Shown, texts
from jaxadv.formats.errors import listed
from jaxadv.formats.text import read_csv
from jaxadv.victims.zoo import Victim

DRAWING = 2
"""Counts up when other targets are drawn of the same captions."""


@dataclasses.dataclass(frozen=True)
class CaptionDesign(Design):
    """What a captioner's cell attacks: Table 1 of the exact-caption paper, in its own numbers.

    Attributes:
      data: "scenes", or folders of photographs.
      images: pictures attacked; with `requests`, none.
      targets: captions aimed at, a picture.
      settings: columns of Table 1 by name, such as "2 latent"; all if none is given.
      requests: a CSV file of attacks instead, with the columns `image` (a path, from the file's
        folder) and `target`.
      unknown_words: whether captions may contain the mark of unknown words.
    """

    data: tuple[str, ...] = ("scenes",)
    images: int = 100
    targets: int = 5
    settings: tuple[str, ...] = ()
    requests: str = ""
    unknown_words: bool = False

    @property
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""
        return self.images * self.targets * max(len(self.settings), 1)

    @property
    def unread(self) -> dict[str, tuple[str, ...]]:
        """The keys that are not read as the others are set, by why."""
        return {"requests": ("data", "images", "targets", "settings")} if self.requests else {}

    @property
    def drawing(self) -> int:
        """Which targets are drawn; none are where they are listed."""
        return 0 if self.requests else DRAWING


def caption_job(cell: Cell, victim: Victim, shared: Shared) -> Job:
    """Choose a cell's targets, as the exact-caption paper does or from its own list.

    Raises:
      InputError: a setting out of range, or data that is not there.
    """
    design, method = cell.design, cell.method
    assert isinstance(design, CaptionDesign)
    if design.unknown_words:
        victim = victim._replace(functions=with_unknown_words(victim.captioner))
    planned, notes = (
        (list(_listed(victim, method, Path(design.requests))), ())
        if design.requests
        else _drawn(cell, victim, method, design, shared)
    )
    parts = ("decoder", "backbone")
    network = {part: str(getattr(victim.architecture, part, "")) for part in parts}
    params = params_with_bank(method, victim, design.data)
    if method.method.with_bank is not None:
        notes = (*notes, _about_bank(method, len(params.bank.captions)))
    return caption_attacks(victim.captioner, params, method, planned, network, notes)


def _about_bank(method: Chosen, count: int) -> str:
    answers = "left out" if method.value("exclude") else "used, too"
    return (
        f"{method.name}: a bank of {count} pictures from {method.value('bank') or 'the data'}; "
        f"those whose own caption has the target are {answers}"
    )


def caption_attacks(
    victim: Captioner,
    params: Params,
    method: Chosen,
    planned: Sequence[Planned],
    network: Mapping[str, str] = MappingProxyType({}),
    notes: tuple[str, ...] = (),
) -> Job:
    """Make a job of attacks on a captioner.

    Args:
      victim: the captioner.
      params: its parameters.
      method: the attack.
      planned: pictures and targets; attacks of like cost next to each other.
      network: columns that tell what the captioner is.
      notes: lines about what is attacked.
    """

    def describe(what: Planned, request: stream.Request, result: Result) -> dict[str, Any]:
        return {**outcome(victim, request.target, method.report(result), result), **network}

    return Job(
        attack=method.attack(victim),
        params=params,
        iterations=method.iterations,
        planned=planned,
        together=True,
        picture=lambda result: np.asarray(method.report(result).image),
        describe=describe,
        notes=notes,
    )


def _drawn(
    cell: Cell, victim: Victim, method: Chosen, design: CaptionDesign, shared: Shared
) -> tuple[list[Planned], tuple[str, ...]]:
    """Choose targets in the settings of Table 1; of an untargeted method, the benign captions."""
    source = (design.data, design.images)
    pictures = shared.once(source, lambda: held_out(victim, design.data, design.images))
    captions = shared.once(
        ("captions", *source, design.unknown_words), lambda: _captions(victim, pictures)
    )
    try:
        requests = requests_for(
            method,
            captions,
            settings_named(design.settings),
            design.targets,
            range(design.images),
            victim.captioner.max_length,
            victim.captioner.vocabulary,
            cell.seed,
        )
    except TargetError as problem:
        raise PlanError(f"{_name(cell)}: {problem}") from None
    vocabulary = victim.captioner.vocabulary
    planned = [
        Planned(
            number,
            {
                "image": pictures[request.image].id,
                "setting": request.setting,
                "target": write_target(request.target, vocabulary),
            },
            partial(_load, pictures[request.image].load, request.target),
        )
        for number, request in enumerate(requests)
    ]
    in_order = sorted(planned, key=lambda p: width(requests[p.id].target))
    told = sensible(list(map(vocabulary.words_of, captions)), vocabulary.unknown)
    notes = (
        f"{victim.name}'s captions of {told.captions} pictures: {told.distinct} distinct, "
        f"{told.repeated_bigrams:.2f} with a repeated bigram, {told.unknown_words:.2f} of the "
        "words unknown",
        f"{method.name} on {victim.name}: {len(requests)} attacks, {distinct_targets(requests)} "
        "distinct targets",
    )
    return in_order, notes


def _load(picture: Callable[[], np.ndarray], target: Any) -> tuple[np.ndarray, Any]:
    return picture(), target


def _captions(victim: Victim, pictures: Sequence[Picture]) -> list[list[int]]:
    """Caption pictures; of one that cannot be read nothing is said."""
    captions: list[list[int]] = [[] for _ in pictures]
    read: list[int] = []

    def readable() -> Iterator[np.ndarray]:
        for number, picture in enumerate(pictures):
            try:
                image = picture.load()
            except ImageError:
                continue  # its attacks will say so
            read.append(number)
            yield image

    for number, said in zip(read, say(victim.captioner, victim.params, readable()), strict=True):
        captions[number] = said
    return captions


def _listed(victim: Victim, method: Chosen, path: Path) -> Iterator[Planned]:
    """Read attacks from a CSV file; a target that makes no sense fails when its turn comes."""
    shape = victim.captioner.image_shape[:2]
    table = read_csv(path)
    if not {"image", "target"} <= set(table.columns):
        raise PlanError(
            f"{path}: its first line must name the columns image and target, not "
            f"{listed(table.columns)}"
        )
    if not table.rows and not table.problems:
        raise PlanError(f"{path}: no attack: write a line for each below the first")
    number = -1
    for number, (line, row) in enumerate(table.rows):
        about = {"image": row["image"], "setting": "listed", "target": row["target"]}
        picture = partial(_picture, path, line, row["image"], shape)
        target = partial(read_target, victim.captioner, method, row["target"])
        yield Planned(number, about, partial(_read, picture, target))
    for place, problem in enumerate(table.problems, start=number + 1):
        about = {"image": "", "setting": "listed", "target": ""}
        yield Planned(place, about, partial(_refuse, problem))


def _picture(path: Path, line: int, name: str, shape: tuple[int, int]) -> np.ndarray:
    if not name.strip() or "\0" in name:
        raise PlanError(f"{path}, line {line}: names no picture")
    return read_resized(path.parent / name, shape)


def _refuse(problem: str) -> tuple[np.ndarray, Any]:
    raise PlanError(problem)


def _read(picture: Callable[[], np.ndarray], target: Callable[[], Any]) -> tuple[np.ndarray, Any]:
    return picture(), target()


def _name(cell: Cell) -> str:
    return f"method {cell.method.name!r}"


def shown_captions(row: Row) -> Shown:
    """Show the captions before and after."""
    return texts(row, "target", "benign", ("said_8bit", "said"))


CAPTIONS = Family(
    name="captions",
    methods=METHODS,
    design=CaptionDesign,
    job=caption_job,
    measures={
        "‖ε‖₂": column("norm"),
        "SR": column("success"),
        "Prec": column("precision"),
        "Rec": column("recall"),
        "‖ε‖₂ of successes": norm_of_success,
        "SR 8-bit": column("success_8bit"),
        "already": column("already"),
        "seconds": column("seconds"),
    },
    rows=("method", "setting"),
    curves=("SR", "‖ε‖₂"),
    panels={"location": lambda records: by_location(records.named)},
    shown=shown_captions,
    commands=("attack caption",),
)
