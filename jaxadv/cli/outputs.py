"""What commands write beside pictures: records, whole or not at all, and names for files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxadv.cli.console import console


def write_json(path: Path, entry: dict[str, Any]) -> None:
    """Write a record to a temporary name and move it into place."""
    write_text(path, json.dumps(entry, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text to a temporary name and move it into place."""
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


def append_jsonl(path: Path, settings: dict[str, Any], entries: Sequence[dict[str, Any]]) -> None:
    """Append records, a line each, that all begin with the same settings."""
    with path.open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps({**settings, **entry}) + "\n")


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Stems of the files, numbered where two are alike.

    >>> unique_names([Path("a/x.png"), Path("b/x.jpg")])
    ['x', 'x-2']
    """
    names: list[str] = []
    for path in paths:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}-{number}", number + 1
        names.append(name)
    return names


def yes(success: bool) -> str:
    """Say a truth value in a table."""
    return "yes" if success else "no"


def advise(successes: Sequence[bool], advice: str) -> None:
    """Say what to try next where something was not fooled."""
    if not all(successes):
        console.print(f"not fooled? {advice}", highlight=False, soft_wrap=True)
