"""What a folder holds, whichever command wrote it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxadv import __version__
from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.curves import every_curve
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.paper_tables import PaperTable
from jaxadv.experiments.record_tables import compared_tables, own_tables
from jaxadv.experiments.tables import Table
from jaxadv.formats.errors import FormatError
from jaxadv.formats.files import check_file
from jaxadv.formats.text import parse_json, read_json, read_lines
from jaxadv.reports.page.content import FAILED, Attack, Content, Curve
from jaxadv.reports.page.rows import attack_from_file, attacks_of, told_values

Row = Mapping[str, Any]

KEEPING = "--pictures png"
_LARGEST_RECORD = 1 << 24  # bytes
_TABLE = "table.json"
_LINES = "records.jsonl"  # of an evaluation that is no sweep


def read_folder(folder: Path) -> Content:
    """Read what a sweep, an evaluation or an attack left in a folder.

    Raises:
      InputError: it holds nothing of the kind.
    """
    if store.holds_plan(folder):
        return _of_records(folder)
    if (folder / _TABLE).is_file():
        return _of_table(folder)
    found = list(_of_attack(folder)) if store.is_folder(folder) else []
    if found:
        return _of_files(folder, found)
    why = "no records" if store.is_folder(folder) else "no such folder"
    raise InputError(f"{folder}: holds no sweep, evaluation or attack ({why})")


def _of_records(folder: Path) -> Content:
    problems: list[str] = []
    cells = store.read_cells(folder)
    rows = list(store.read(folder, problems))
    tasks = [task for task in dict.fromkeys(c["task"] for c in cells.values()) if task in FAMILIES]
    attacks = attacks_of(folder, cells, rows)
    command, begun = _about(folder)
    curves = tuple(_curves(tasks, cells, rows))
    return Content(
        title=folder.resolve().name,
        facts=_facts(command, begun, attacks),
        notes=tuple(problems),
        own=tuple(_own(tasks, folder)) if rows else (),
        compared=tuple(table for _, table in compared_tables(cells, rows)) if rows else (),
        curves=curves,
        figures=() if curves else tuple(_figures(folder)),
        attacks=tuple(attacks),
        keeping=KEEPING,
    )


def _own(tasks: Sequence[str], folder: Path) -> Iterator[Table]:
    for task in tasks:
        try:
            yield from (table for table in own_tables(task, folder) if table.rows)
        except InputError:
            continue


def _curves(tasks: Sequence[str], cells: Mapping[str, Row], rows: Sequence[Row]) -> Iterator[Curve]:
    for task in tasks:
        family = FAMILIES[task]
        paper = PaperTable(task, task, family.rows, measures=tuple(family.measures))
        for name, panels in every_curve(paper, cells, rows):
            yield Curve(f"{task}: {name}", tuple(panels))


def _about(folder: Path) -> tuple[str, str]:
    """Say which command made a folder, and when it began."""
    commands, begun = [], []
    for path in sorted(folder.glob("plan*.json")):
        try:
            held = read_json(path)
        except FormatError:
            continue
        if isinstance(held, dict):
            commands.append(str(held.get("command", "sweep")))
            if type(written := held.get("written")) is int and written > 0:
                begun.append(written / 1e9)
    when = datetime.fromtimestamp(min(begun), UTC).strftime("%Y-%m-%d %H:%M UTC") if begun else ""
    return ", ".join(dict.fromkeys(commands)), when


def _facts(command: str, begun: str, attacks: Sequence[Attack]) -> tuple[tuple[str, str], ...]:
    """Say what a folder is; what is not known is left out."""
    failed = sum(attack.outcome == FAILED for attack in attacks)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = {
        "command": f"jaxadv {command}" if command else "",
        "victims": _listed(attack.victim for attack in attacks),
        "methods": _listed(attack.method for attack in attacks),
        "attacks": f"{len(attacks):,}" if attacks else "",
        "failed": f"{failed:,}" if attacks else "",
        "begun": begun,
        "page made": f"{now} by jaxadv {__version__}",
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))


def _figures(folder: Path) -> Iterator[Path]:
    """Return the figures that a command drew into its folder."""
    yield from sorted(path for path in folder.glob("*.png") if path.is_file())


def _of_table(folder: Path) -> Content:
    """Read an evaluation that is no sweep: its tables, and its pictures' captions."""
    held = read_json(folder / _TABLE)
    if not isinstance(held, dict):
        raise FormatError(f"{folder / _TABLE}: damaged; the evaluation's command writes it again")
    command = str(held.get("command", "evaluate"))
    task = _task_of(command)
    attacks = () if task is None else tuple(_of_lines(folder, command, task))
    facts = dict(_facts(command, "", attacks))
    victims = held.get("victims", held.get("victim", ""))
    names = victims if isinstance(victims, list | dict) else [victims]
    facts["victims"] = _listed(map(str, names))
    return Content(
        title=folder.resolve().name,
        facts=tuple((name, value) for name, value in facts.items() if value),
        own=tuple(_tables_in(held)),
        figures=tuple(_figures(folder)),
        attacks=attacks,
    )


def _tables_in(held: Row) -> Iterator[Table]:
    """Find tables in what an evaluation wrote: lists of rows, or rows by name."""
    for name, value in held.items():
        if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
            value = [{"": key, **one} for key, one in value.items()]
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            if {"title", "rows"} <= value[0].keys():
                for one in value:
                    yield from _tables_in({str(one.get("title", "")): one.get("rows")})
                continue
            rows = [told_values(one) for one in value]
            columns = tuple(dict.fromkeys(column for row in rows for column in row))
            cells = tuple(tuple(row.get(column) for column in columns) for row in rows)
            yield Table(str(name), columns, cells, ())


def _task_of(command: Any) -> str | None:
    return next((name for name, family in FAMILIES.items() if command in family.commands), None)


def _of_lines(folder: Path, command: str, task: str) -> Iterator[Attack]:
    path = folder / _LINES
    for number, line in enumerate(read_lines(path) if path.is_file() else ()):
        entry = parse_json(line, path.name)
        if isinstance(entry, dict):
            setting = {"method": entry.get("trigger", ""), "command": command}
            row = attack_from_file(path, {**entry, "settings": setting}, task)
            strength = f"strength {entry['strength']:g}" if "strength" in entry else ""
            yield row._replace(id=str(number), setting=strength)


def _of_attack(folder: Path) -> Iterator[tuple[Path, Row, str]]:
    """Find the records of an attack's folder."""
    for path in sorted(folder.glob("*.json")):
        try:
            entry = read_json(path) if check_file(path) <= _LARGEST_RECORD else None
        except FormatError:
            continue
        if isinstance(entry, dict) and (task := _task_of(entry.get("command"))) is not None:
            yield path, entry, task


def _of_files(folder: Path, found: Sequence[tuple[Path, Row, str]]) -> Content:
    attacks = tuple(attack_from_file(*one) for one in found)
    command = str(found[0][1]["command"])
    return Content(folder.resolve().name, _facts(command, "", attacks), attacks=attacks)
