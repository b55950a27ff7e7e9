"""Sweep files: which attacks a sweep makes, read from TOML and checked before anything runs.

A file is a list of grids. Each table `[[captions]]`, `[[labels]]` or `[[retrieval]]` stands for
every combination of the values of its lists: a *cell* is one victim with one method, its settings
and a seed. What is not given is the paper's.

    [[captions]]
    victim = ["scenes-scst", "scenes-show-tell"]
    method = ["gem", "ssvm"]
    rounds = 100                    # a setting: a list of these would be an axis of the grid
    images = 40                     # what each cell attacks
    targets = 3
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jaxadv.attacks import hash_methods, label_methods, methods
from jaxadv.attacks.cmla import ITERATIONS
from jaxadv.errors import InputError
from jaxadv.sweeps.hash_attacks import CONTEXT


class PlanError(InputError):
    """A sweep file that cannot be carried out; the message names the key and what is allowed."""


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
    """

    data: tuple[str, ...] = ("scenes",)
    queries: int = 300
    database: int = 5000
    context: int = CONTEXT


Settings = methods.Settings | label_methods.Settings | RetrievalSettings
Design = CaptionDesign | LabelDesign | RetrievalDesign
TASKS: dict[str, tuple[type[Settings], type[Design]]] = {
    "captions": (methods.Settings, CaptionDesign),
    "labels": (label_methods.Settings, LabelDesign),
    "retrieval": (RetrievalSettings, RetrievalDesign),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A victim, a method with its settings, and what is attacked: what shares a compilation.

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
        """Everything that tells it from other cells, by name."""
        settings = dataclasses.asdict(self.settings)
        return {"task": self.task, "victim": self.victim, "seed": self.seed, **settings}

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for all of it."""
        everything = {**self.columns, "design": dataclasses.asdict(self.design)}
        text = json.dumps(everything, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_plan(path: Path) -> tuple[Cell, ...]:
    """Read a sweep file.

    Raises:
      PlanError: no TOML, an unknown key or value; the message names it and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return plan(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise PlanError(f"{path}: {problem}") from None
    except PlanError as problem:
        raise PlanError(f"{path}: {problem}") from None


def plan(tables: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Expand a sweep file's tables into cells.

    >>> cells = plan({"labels": [{"victim": "scenes-tagger", "method": ["tkmia", "kfool"]}]})
    >>> [(cell.victim, cell.settings.method) for cell in cells]
    [('scenes-tagger', 'tkmia'), ('scenes-tagger', 'kfool')]
    """
    _known(tables, TASKS, "the file")
    cells: dict[str, Cell] = {}
    for task, grids in tables.items():
        if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
            raise PlanError(f"{task}: write [[{task}]], a table for each grid")
        for number, grid in enumerate(grids, start=1):
            try:
                found = list(_cells(task, grid))
            except PlanError as problem:
                raise PlanError(f"[[{task}]] number {number}: {problem}") from None
            cells |= {cell.digest: cell for cell in found}  # what two grids share is made once
    if not cells:
        raise PlanError(f"no attack: write a table {' or '.join(f'[[{task}]]' for task in TASKS)}")
    return tuple(cells.values())


def _cells(task: str, grid: Mapping[str, Any]) -> Iterator[Cell]:
    settings_type, design_type = TASKS[task]
    axes = {"victim": str, "seed": int, **typing.get_type_hints(settings_type)}
    design_keys = typing.get_type_hints(design_type)
    _known(grid, {**axes, **design_keys}, f"[[{task}]]")
    if "victim" not in grid:
        raise PlanError("no victim: give a victim's name, or a list of them")
    design = design_type(
        **{key: _value(key, grid[key], kind) for key, kind in design_keys.items() if key in grid}
    )
    for key, value in dataclasses.asdict(design).items():
        if few := [n for n in (value if isinstance(value, tuple) else (value,)) if _too_few(n)]:
            raise PlanError(f"{key} = {few[0]}: must be at least 1")
    lists = {
        key: [_value(key, value, kind) for value in _listed(key, grid[key])]
        for key, kind in axes.items()
        if key in grid
    }
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        victim, seed = chosen.pop("victim"), chosen.pop("seed", 0)
        yield Cell(task, victim, seed, settings_type(**chosen), design)


def _too_few(value: Any) -> bool:
    """Whether it is a number of things, but not of any."""
    return type(value) is int and value < 1


def _listed(key: str, value: Any) -> list[Any]:
    if value == []:
        raise PlanError(f"{key} = []: give at least one value")
    return value if isinstance(value, list) else [value]


def _value(key: str, value: Any, kind: Any) -> Any:
    """Check a value against a field's type, and return it as such."""
    if get_origin(kind) is tuple:
        return tuple(_value(key, one, get_args(kind)[0]) for one in _listed(key, value))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            allowed = ", ".join(map(str, get_args(kind)))
            raise PlanError(f"{key} = {value!r}: must be one of {allowed}")
        return value
    accepted = [k for k in _alternatives(kind) if k is not types.NoneType]
    if float in accepted and type(value) is int:
        return float(value)
    if type(value) not in accepted:
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise PlanError(f"{key} = {value!r}: must be {words[accepted[0]]}")
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _known(given: Mapping[str, Any], allowed: Mapping[str, Any], where: str) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"unknown key {key!r}: {hint}{where} may have {', '.join(allowed)}")
