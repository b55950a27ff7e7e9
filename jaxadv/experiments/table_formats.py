"""A table as text, Markdown, LaTeX or CSV."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxadv.experiments.tables import Table, Value

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "‖": r"$\|$",
    "α": r"$\alpha$",
    "ε": r"$\epsilon$",
    "ζ": r"$\zeta$",
    "₂": r"$_2$",
    "Δ": r"$\Delta$",
    "δ": r"$\delta$",
    "λ": r"$\lambda$",
    "|": r"$|$",
    "<": r"$<$",
    ">": r"$>$",
}


def as_text(table: Table) -> str:
    """Write for a terminal: columns of one width, numbers to the right, notes below.

    >>> print(as_text(Table("T", ("method", "SR"), (("gem", 0.5), ("ssvm", None)), ("a note",))))
    T
    <BLANKLINE>
    method      SR
    gem     0.5000
    ssvm         -
    <BLANKLINE>
    - a note
    """
    lines = [list(table.columns), *([said(v) or "-" for v in row] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    right = to_the_right(table)
    body = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, "", *body, "", *(f"- {note}" for note in table.notes)])


def as_markdown(table: Table) -> str:
    """Write as a Markdown table between its title and its notes."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|")

    rule = ["---:" if number else "---" for number in to_the_right(table)]
    rows = ([cell(said(value)) for value in row] for row in table.rows)
    lines = [line([cell(c) for c in table.columns]), line(rule), *map(line, rows)]
    notes = [f"- {cell(note)}" for note in table.notes]
    return "\n".join([f"**{cell(table.title)}**", "", *lines, "", *notes])


def as_latex(table: Table) -> str:
    """Write as a LaTeX table that needs no package; the notes are below it."""
    align = "".join("r" if number else "l" for number in to_the_right(table))
    rows = [table.columns, *(tuple(said(value) for value in row) for row in table.rows)]
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    notes = [f"\\par\\footnotesize {_escaped(note)}" for note in table.notes]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(table.title)}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
        ]
    )


def as_csv(table: Table) -> str:
    """Write the columns and the rows, numbers in full; without the title and the notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return text.getvalue().rstrip("\n")


def as_record(tables: Sequence[Table], made_with: Mapping[str, Any], command: str) -> str:
    """Write tables as JSON with what they were made with, as `docs/results/records` keeps them.

    Args:
      tables: of one folder.
      made_with: of `store.made_with`; nothing for the paper's own numbers.
      command: that prints them.
    """
    record = {
        "tables": [table._asdict() for table in tables],
        "command": "\n".join(filter(None, (made_with.get("command_line"), command))),
        **{name: made_with.get(name, "") for name in ("measured", "machine")},
        "versions": made_with.get("versions", {}),
    }
    return json.dumps(record, ensure_ascii=False, indent=1)


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}


def said(value: Value) -> str:
    """Say a value with the papers' four decimals; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def to_the_right(table: Table) -> list[bool]:
    """Return which columns hold numbers."""
    return [
        all(isinstance(row[i], int | float | None) for row in table.rows)
        for i in range(len(table.columns))
    ]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
