"""The papers' own numbers, transcribed: what a sweep's table is compared with.

Numbers are in `papers/PAPER.csv`, what they are in `papers/PAPER.toml`. Where a number cannot be
right as printed (a share that is no multiple of one over the count of samples), a note says so and
the number stays; a cell that cannot be read is empty.
"""

import csv
import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.errors import InputError

FOLDER = Path(__file__).parent / "papers"
PAPERS = ("exact-caption", "tkmia", "cmla", "backdoor")
COUNT = "n"


class TableError(InputError):
    """A table that no paper has, or that cannot be made."""


class PaperRow(NamedTuple):
    """A row of a paper's table.

    Attributes:
      keys: what tells it from the others, by column.
      values: its numbers, by measure.
    """

    keys: dict[str, Any]
    values: dict[str, float]


class PaperTable(NamedTuple):
    """A table of a paper.

    Attributes:
      name: such as "exact-caption-1".
      task: the kind of a sweep's grids that it is of.
      keys: the columns that tell rows apart.
      title: the paper and the table's number.
      caption: what it shows.
      data: what the paper attacked.
      victim: what it attacked it with.
      named: words in the names of victims like the paper's.
      where: which records are of this table: allowed values, by column.
      settings: the paper's, where they are not the method's own; a table for a method alone.
      measures: the columns of numbers, as the paper writes them.
      curve: the picture that goes with it; "" for none.
      notes: doubts about the paper's numbers, and what else to know.
      rows: the paper's.
    """

    name: str
    task: str
    keys: tuple[str, ...]
    title: str = ""
    caption: str = ""
    data: str = ""
    victim: str = ""
    named: tuple[str, ...] = ()
    where: Mapping[str, list[Any]] = {}
    settings: Mapping[str, Any] = {}
    measures: tuple[str, ...] = ()
    curve: str = ""
    notes: tuple[str, ...] = ()
    rows: tuple[PaperRow, ...] = ()


@functools.cache
def paper_tables() -> dict[str, PaperTable]:
    """Read all tables, by name.

    >>> table = paper_tables()["exact-caption-1"]
    >>> table.rows[0].keys, table.rows[0].values["SR"]
    ({'method': 'gem', 'setting': '0 latent'}, 0.9926)
    """
    found = {}
    for paper in PAPERS:
        about = tomllib.loads((FOLDER / f"{paper}.toml").read_text(encoding="utf-8"))
        tables = about.pop("tables")
        with (FOLDER / f"{paper}.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        for number, entry in tables.items():
            own = [line for line in lines if line["table"] == number]
            found[f"{paper}-{number}"] = _table(paper, number, {**about, **entry}, own)
    return found


def paper_table(name: str) -> PaperTable:
    """Return a table by its name.

    Raises:
      TableError: there is none of that name.
    """
    tables = paper_tables()
    if name not in tables:
        raise TableError(f"unknown table {name!r}: must be one of {', '.join(tables)}")
    return tables[name]


def _table(
    paper: str, number: str, entry: dict[str, Any], lines: list[dict[str, str]]
) -> PaperTable:
    keys = tuple(entry["keys"])
    rows = tuple(
        PaperRow(
            {key: _value(line[key]) for key in keys},
            {m: float(x) for m, x in line.items() if m in _MEASURES and x},
        )
        for line in lines
    )
    printed = {measure for row in rows for measure in row.values}
    what, _, number = number.rpartition("-")
    usual = {
        "": f"Table {number}",
        "figure": f"Figure {number}",
        "supplement": f"Supplement, Table {number}",
    }
    where = entry.get("where_printed") or usual[what]
    expected = (*printed, *entry.get("measures", ()))
    return PaperTable(
        name="-".join(filter(None, (paper, what, number))),
        title=f"{entry['paper']}: {where}",
        caption=entry["caption"],
        task=entry["task"],
        data=entry["data"],
        victim=entry["victim"],
        named=tuple(entry.get("named", ())),
        keys=keys,
        where=entry.get("where", {}),
        settings=entry.get("settings", {}),
        measures=tuple(m for m in _MEASURES if m in expected and m != COUNT),
        curve=entry.get("curve", ""),
        notes=tuple(entry.get("notes", ())),
        rows=rows,
    )


_MEASURES = (
    "‖ε‖₂", "SR", "Prec", "Rec",
    "ΔTkAcc", "ΔP@k", "ΔmAP@k", "ΔNDCG@k", "Δl", "APer", "|S|",
    "MAP", "D", "ASR", "words", "FTR", "BLEU-4", "clean BLEU-4", "PSNR", "SSIM", "mAP", "seconds",
    COUNT,
)  # fmt: skip


def _value(text: str) -> str | int | float:
    """Read a key: a whole number, a number or a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
