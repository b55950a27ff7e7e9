"""Sweep files: which attacks a sweep makes, read from TOML and checked before anything runs.

A file is a list of grids. Each table `[[captions]]`, `[[labels]]`, `[[retrieval]]` or
`[[backdoor]]` stands for every combination of the values of its lists: a *cell* is one victim with
one method, its settings and a seed. What is not given is the paper's.

    [[captions]]
    victim = ["scenes-scst", "scenes-show-tell"]
    method = ["gem", "ssvm"]
    iterations = 100                # a setting: a list of these would be an axis of the grid
    images = 40                     # what each cell attacks
    targets = 3
"""

import difflib
import itertools
import logging
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jaxadv import checks
from jaxadv.core.method import Chosen, Method, choose, kinds
from jaxadv.errors import InputError
from jaxadv.experiments.cells import OLD_NAMES, Cell, Design, PlanError
from jaxadv.experiments.families import FAMILIES
from jaxadv.formats.errors import quoted
from jaxadv.formats.text import read_toml

MOST_CELLS = 10_000
MOST_ATTACKS = 10_000_000  # of a cell
MOST_THINGS = 10_000_000  # pictures, queries, labels
LARGEST_SEED = 2**32 - 1  # JAX's keys drop what is above
_log = logging.getLogger(__name__)

_RANGES: dict[str, Callable[[str, Any], None]] = {
    **checks.RANGES,
    "seed": partial(checks.whole, least=0, most=LARGEST_SEED),
}
_COUNT = partial(checks.whole, least=1, most=MOST_THINGS)


def read_plan(path: Path) -> tuple[Cell, ...]:
    """Read a sweep file.

    Raises:
      InputError: no TOML, an unknown key or value; the message names it and what is allowed.
    """
    tables = read_toml(path)
    try:
        return plan(tables)
    except PlanError as problem:
        raise PlanError(f"{path}: {problem}") from None


def plan(tables: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Expand a sweep file's tables into cells.

    >>> cells = plan({"labels": [{"victim": "scenes-tagger", "method": ["tkmia", "kfool"]}]})
    >>> [(cell.victim, cell.method.name) for cell in cells]
    [('scenes-tagger', 'tkmia'), ('scenes-tagger', 'kfool')]
    """
    _known(tables, FAMILIES, "the file")
    left = MOST_CELLS
    cells: dict[str, Cell] = {}  # what two grids or combinations share is made once
    for task, grids in tables.items():
        if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
            raise PlanError(f"{task}: write [[{task}]], a table for each grid")
        for number, grid in enumerate(grids, start=1):
            try:
                found = _cells(task, grid, left)
            except InputError as problem:
                raise PlanError(f"[[{task}]] number {number}: {problem}") from None
            left -= len(found)
            for cell in found:
                cells.setdefault(_what_is_made(cell), cell)
    if not cells:
        raise PlanError(
            f"no attack: write a table {' or '.join(f'[[{task}]]' for task in FAMILIES)}"
        )
    return tuple(cells.values())


def _what_is_made(cell: Cell) -> str:
    """Tell cells apart by what they do: a setting that the method does not read is none of it."""
    return repr((cell.columns, cell.design))


def _cells(task: str, grid: Mapping[str, Any], most: int) -> list[Cell]:
    methods, design_type = FAMILIES[task].methods, FAMILIES[task].design
    grid = _renamed(grid)
    axes = {"victim": str, "seed": int, "method": str, **_options(methods)}
    design_keys = typing.get_type_hints(design_type)
    _known(grid, {**axes, **design_keys}, f"[[{task}]]")
    if "victim" not in grid:
        raise PlanError("no victim: give a victim's name, or a list of them")
    design = design_type(
        **{key: _value(key, grid[key], kind) for key, kind in design_keys.items() if key in grid}
    )
    _check_design(design, grid)
    given = {key: _listed(key, grid[key]) for key in axes if key in grid}
    if (count := math.prod(map(len, given.values()))) > most:
        raise PlanError(f"{count:,} cells: a sweep file may have at most {MOST_CELLS:,}")
    lists = {key: [_value(key, one, axes[key]) for one in some] for key, some in given.items()}
    cells = []
    for values in itertools.product(*lists.values()):
        options = dict(zip(lists, values, strict=True))
        victim, seed = options.pop("victim"), options.pop("seed", 0)
        name = options.pop("method", methods[0].name)
        cells.append(Cell(task, victim, seed, _chosen(methods, name, options), design))
    read = {key for cell in cells for key in lists if cell.method.reads(key)}
    if unread := [key for key in lists if key not in {*read, "victim", "seed", "method"}]:
        names = dict.fromkeys(cell.method.name for cell in cells)
        raise PlanError(f"{unread[0]}: is not read by {', '.join(names)} with these settings")
    return cells


def _options(methods: Sequence[Method]) -> dict[str, Any]:
    """Return the types of the options of several methods, by name."""
    return {name: kind for method in methods for name, kind in kinds(method).items()}


def _chosen(methods: Sequence[Method], name: str, options: Mapping[str, Any]) -> Chosen:
    """Choose a method with those options of a grid that it has; what it does not read is unset."""
    checks.one_of("method", name, [method.name for method in methods])
    (method,) = (method for method in methods if method.name == name)
    own = {key: value for key, value in options.items() if key in kinds(method)}
    found = Chosen(method, method.options(**own))
    return choose(methods, name, **{key: v for key, v in own.items() if found.reads(key)})


def _renamed(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Read the spellings of the version before, with a warning that names the new ones."""
    renamed = {}
    for key, value in grid.items():
        new = OLD_NAMES.get(key, key)
        if new != key:
            if new in grid:
                raise PlanError(f"{key}: is called {new} now, which is given, too")
            _log.warning("%s: is called %s now", key, new)
        renamed[new] = value
    return renamed


def _check_design(design: Design, grid: Mapping[str, Any]) -> None:
    """Check how many attacks a cell has, and that every key that is given is read."""
    for why, keys in design.unread.items():
        if given := [key for key in keys if key in grid]:
            raise PlanError(f"{given[0]}: is not read with {why}")
    if design.attacks > MOST_ATTACKS:
        raise PlanError(f"{design.attacks:,} attacks a cell: at most {MOST_ATTACKS:,} can be made")


def _listed(key: str, value: Any) -> list[Any]:
    if value == []:
        raise PlanError(f"{key} = []: give at least one value")
    return value if isinstance(value, list) else [value]


def _value(key: str, value: Any, kind: Any) -> Any:
    """Check a value against a field's type and its range, and return it as such."""
    if get_origin(kind) is tuple:
        return tuple(_value(key, one, get_args(kind)[0]) for one in _listed(key, value))
    if isinstance(value, list | dict):
        what = "list" if isinstance(value, list) else "table"
        raise PlanError(f"{key}: a {what}, where one value is expected")
    name = f"{key} ="
    if get_origin(kind) is Literal:
        checks.one_of(name, value, get_args(kind))
        return value
    (accepted,) = [k for k in _alternatives(kind) if k is not types.NoneType]
    if accepted is bool:
        checks.true_or_false(name, value)
    elif accepted is int:
        _RANGES.get(key, _COUNT)(name, value)
    elif accepted is float:
        _RANGES.get(key, checks.finite)(name, value)
        return float(value)
    elif not isinstance(value, str) or not value or not value.isprintable():
        raise checks.wrong(name, value, "text, on one line")
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _known(given: Mapping[str, Any], allowed: Mapping[str, Any], where: str) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(
                f"unknown key {quoted(key)}: {hint}{where} may have {', '.join(allowed)}"
            )
