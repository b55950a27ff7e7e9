"""Fill the tables of measurements into the documentation's pages, from `docs/results/records`.

python docs/result_tables.py

A record is what `jaxadv table NAME FOLDER --format json` writes: tables, and the command, the date,
the machine and the versions that they are of. A page shows it between two lines,
`<!-- record: NAME -->` and `<!-- end of record -->`; what is between them is written by this script
alone, and a test fails where a page says anything else than its record.
"""

import re
from pathlib import Path
from typing import Any

from jaxadv.experiments.table_formats import as_markdown
from jaxadv.experiments.tables import Table
from jaxadv.formats.text import read_json

HERE = Path(__file__).parent
RECORDS = HERE / "results" / "records"
BLOCK = re.compile(r"(?<=<!-- record: )([\w-]+)( -->\n).*?(?=<!-- end of record -->)", re.DOTALL)


def pages() -> list[Path]:
    """Return the pages that show a record."""
    every = sorted((*HERE.glob("*.md"), *HERE.glob("results/*.md")))
    return [page for page in every if BLOCK.search(page.read_text(encoding="utf-8"))]


def filled(text: str) -> str:
    """Return a page with its records' tables in it."""
    return BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{block(found[1])}\n", text)


def block(name: str) -> str:
    """Write a record: its tables, the command that measured it, when and where."""
    record = read_json(RECORDS / f"{name}.json")
    parts = [_table(table) for table in record["tables"]]
    if record["command"]:
        parts.append(f"```bash\n{record['command']}\n```\n")
    return "\n".join([*parts, _when(record)])


def _table(held: dict[str, Any]) -> str:
    rows = tuple(map(tuple, held["rows"]))
    text = as_markdown(Table(held["title"], tuple(held["columns"]), rows, tuple(held["notes"])))
    return (text if held["title"] else text.removeprefix("****\n\n")).rstrip() + "\n"


def _when(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    said = f"{record['measured']}, {record['machine']}, {versions or 'versions not recorded'}"
    return f"<small>Measured {said}.</small>\n"


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
