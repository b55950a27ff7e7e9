"""Records as the rows of a page."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.shown import Shown
from jaxadv.reports.page.content import FAILED, NO, UNKNOWN, YES, Attack

Row = Mapping[str, Any]

_MOST_NUMBERS = 12  # of a list that a person reads
_INNER = ("weights", "attacks")  # digests of a cell, which tell a person nothing
_NAMING = ("method", "setting")  # columns of their own


def attacks_of(folder: Path, cells: Mapping[str, Row], rows: Sequence[Row]) -> list[Attack]:
    """Make rows of a sweep's or an evaluation's records, in the order of its cells."""
    apart = _apart(cells)
    order = {digest: number for number, digest in enumerate(cells)}
    inorder = sorted(rows, key=lambda row: (order[row["cell"]], row["id"]))
    return [_attack_of(folder, row, apart[row["cell"]]) for row in inorder]


def _attack_of(folder: Path, row: Row, apart: Sequence[str]) -> Attack:
    family = FAMILIES.get(row["task"])
    keys = [name for name in (family.rows if family else ()) if name not in _NAMING]
    told = [_setting(name, row[name]) for name in (*keys, *apart) if row.get(name) is not None]
    name = f"{row['cell']}-{row['id']}"
    return Attack(
        id=name,
        victim=str(row["victim"]),
        method=str(row["method"]),
        setting=", ".join(filter(None, (row.get("setting"), *told))),
        image=str(row.get("image", "")),
        outcome=outcome(row),
        norm=_number(row.get("norm")),
        shown=shown(row["task"], row),
        values=told_values(row),
        benign=_kept(folder, row.get("benign_picture")),
        adversarial=_kept(folder, f"{name}.png") or _kept(folder, f"{name}.npy"),
    )


def attack_from_file(path: Path, entry: Row, task: str) -> Attack:
    """Make a row of a record that `jaxadv attack` wrote, with its pictures."""
    settings = entry.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    told = [_setting(name, entry[name]) for name in ("k", "modality") if name in entry]
    pictures = [path.with_name(f"{path.stem}.{of}.png") for of in ("benign", "adversarial")]
    return Attack(
        id=path.stem,
        victim=str(entry.get("victim", "")),
        method=str(settings.get("method", "")),
        setting=", ".join(told),
        image=Path(str(entry.get("image", entry.get("query", "")))).name or path.stem,
        outcome=outcome(entry),
        norm=_number(entry.get("norm")),
        shown=shown(task, entry),
        values=told_values({**{k: v for k, v in entry.items() if k != "settings"}, **settings}),
        benign=pictures[0] if pictures[0].is_file() else None,
        adversarial=pictures[1] if pictures[1].is_file() else None,
    )


def outcome(row: Row) -> str:
    """Say how an attack ended."""
    if row.get("failed") is not None:
        return FAILED
    success = row.get("success_8bit", row.get("success"))
    return {True: YES, False: NO}[success] if isinstance(success, bool) else UNKNOWN


def shown(task: str, row: Row) -> Shown:
    """Return what a person looks at in a record; of a failed one, why it has no outcome."""
    family, found = FAMILIES.get(task), Shown("", "", "")
    if family is not None and family.shown is not None:
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # no such record of ours
            found = family.shown(row)
    return found if row.get("failed") is None else found._replace(before="", after=row["failed"])


def told_values(row: Row) -> dict[str, Any]:
    """Return a record's values as a person reads them: without long lists of numbers."""
    return {
        str(name): _plain(value)
        for name, value in row.items()
        if name not in _INNER and value is not None and not _is_long(value)
    }


def _setting(name: str, value: Any) -> str:
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {_plain(value)}"


def _is_long(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(one, int | float) for one in value)
    return numbers and len(value) > _MOST_NUMBERS


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers with six digits, whatever is nested as text.

    >>> _plain([{"victim": "a", "ap": 0.12345678}, {"victim": "b", "ap": 1}])
    'victim a, ap 0.123457; victim b, ap 1'
    """
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        between = "; " if any(isinstance(one, Mapping) for one in value) else ", "
        return between.join(str(_plain(one)) for one in value)
    return str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _kept(folder: Path, name: Any) -> Path | None:
    """Return a picture of a folder; a name that leads elsewhere names none."""
    if not isinstance(name, str) or Path(name).name != name or "\0" in name:
        return None
    path = folder / "pictures" / name
    return path if path.is_file() else None


def _apart(cells: Mapping[str, Row]) -> dict[str, list[str]]:
    """Name the settings that tell the cells of a victim and method apart, no more than need be.

    >>> _apart({"a": {"task": "t", "victim": "v", "method": "m", "k": 1, "twice_k": 2},
    ...         "b": {"task": "t", "victim": "v", "method": "m", "k": 2, "twice_k": 4}})
    {'a': ['k'], 'b': ['k']}
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for digest, cell in cells.items():
        groups.setdefault((cell["task"], cell["victim"], cell["method"]), []).append(digest)
    found = {}
    for some in groups.values():
        names = _needed([cells[digest] for digest in some])
        found.update(dict.fromkeys(some, names))
    return found


def _needed(cells: Sequence[Row]) -> list[str]:
    def kinds(names: Sequence[str]) -> int:
        return len({json.dumps([cell.get(n) for n in names], default=str) for cell in cells})

    names = [name for name in dict.fromkeys(n for c in cells for n in c) if name not in _INNER]
    every = kinds(names)
    for name in list(reversed(names)):
        fewer = [other for other in names if other != name]
        if kinds(fewer) == every:
            names = fewer
    return names
