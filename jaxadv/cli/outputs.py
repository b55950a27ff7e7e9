"""What commands write other than pictures: records, whole or not at all, and names for files."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv.cli.console import console
from jaxadv.formats.files import write_text

_LONGEST_STEM = 180  # bytes: ".adversarial.png" and a number come behind it


def write_json(path: Path, entry: dict[str, Any]) -> None:
    """Write a record; the file is whole or absent."""
    write_text(path, json.dumps(entry, indent=1) + "\n")


def append_jsonl(path: Path, settings: dict[str, Any], entries: Sequence[dict[str, Any]]) -> None:
    """Append records, a line each, that all begin with the same settings."""
    with path.open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps({**settings, **entry}) + "\n")


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Stems of the files, cut where they are long and numbered where two are alike.

    Names that differ by case alone are alike: not every file system can tell them apart.

    >>> unique_names([Path("a/x.png"), Path("b/X.jpg")])
    ['x', 'X-2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = os.fsencode(path.stem)[:_LONGEST_STEM].decode(errors="ignore") or "picture"
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def yes(success: bool) -> str:
    """Say a truth value in a table."""
    return "yes" if success else "no"


def advise(successes: Sequence[bool], hints: Mapping[str, bool]) -> None:
    """Say what to try next where something was not fooled.

    Args:
      successes: of the attacks.
      hints: what may help, and whether it was not tried yet.
    """
    untried = [hint for hint, worth in hints.items() if worth]
    if not all(successes) and untried:
        console.print(f"not fooled? try {', or '.join(untried)}")
